"""How many messages a second the local exchange sends on one core, and what a trade costs it.

Clients run in a process of their own: one that only takes bytes off the socket, and one that is the
`websockets` library. Each figure is of its own exchange, playing as fast as the client takes it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable

import websockets

from microstream_lab import LocalExchange, simulate_market
from microstream_lab.market.exchange import Faults
from microstream_lab.market.simulate import SimulatedMarket

GOAL = 100_000
N_BARS = 20 * 1440
PATHS = {
    "aggTrade, raw": "/ws/simusdt@aggTrade",
    "aggTrade, combined, us": "/stream?streams=simusdt@aggTrade&timeUnit=MICROSECOND",
    "aggTrade + kline_1m": "/stream?streams=simusdt@aggTrade/simusdt@kline_1m",
    "aggTrade + trade + bookTicker": (
        "/stream?streams=simusdt@aggTrade/simusdt@trade/simusdt@bookTicker"
    ),
}


async def take_bytes(url: str, path: str) -> None:
    """Read and forget, until there is nothing for a while."""
    host, port = url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    while await reader.read(1 << 20):
        pass


async def take_messages(url: str, path: str) -> None:
    """Receive message after message, as bytes."""
    async with websockets.connect(url + path, compression=None, ping_interval=None) as connection:
        while True:
            await connection.recv(decode=False)


def client(take: Callable[[str, str], Awaitable[None]], url: str, path: str) -> None:
    """What runs in the other process."""
    asyncio.run(take(url, path))  # type: ignore[arg-type]


async def measure(
    market: SimulatedMarket,
    take: Callable[[str, str], Awaitable[None]],
    path: str,
    faults: Faults | None = None,
) -> tuple[float, float]:
    """Trades a second, and microseconds of this process's CPU a trade."""
    async with LocalExchange(market, speed=None, faults=faults, batch=2048) as exchange:
        process = multiprocessing.get_context("spawn").Process(
            target=client, args=(take, exchange.ws_url, path), daemon=True
        )
        process.start()
        while exchange.is_standing:
            await asyncio.sleep(0.001)
        began, cpu = time.perf_counter(), time.process_time()
        await exchange.finished()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        process.terminate()
        process.join()
    n_trades = len(market.trades)
    return n_trades / took, cpu / n_trades * 1e6


def main() -> None:
    """Print a table."""
    market = simulate_market("2024-01-01", N_BARS)
    print(f"{len(market.trades):,} aggregate trades; goal {GOAL:,} a second")
    print(f"{'client':12} {'streams':32} {'trades/s':>10} {'CPU us/trade':>13}")
    for name, path in PATHS.items():
        rate, cost = asyncio.run(measure(market, take_bytes, path))
        print(f"{'bytes':12} {name:32} {rate:10,.0f} {cost:13.2f}")
    first = next(iter(PATHS))
    spoilt = Faults(drop=0.001, duplicate=0.001, reorder=0.001, malformed=0.001, wrong_type=0.001)
    rate, cost = asyncio.run(measure(market, take_bytes, PATHS[first], spoilt))
    print(f"{'bytes':12} {first + ', faults':32} {rate:10,.0f} {cost:13.2f}")
    rate, cost = asyncio.run(measure(market, take_messages, PATHS[first]))
    print(f"{'websockets':12} {first:32} {rate:10,.0f} {cost:13.2f}")


if __name__ == "__main__":
    main()
