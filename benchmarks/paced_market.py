"""A local exchange in a process of its own, whose trades come at a given pace and carry their time.

Trades are stamped with the moment at which they are due; what the exchange is late by counts as
latency, too. Their history goes through calm and wild hours, and a bundle is trained on it.

Usage: ``python benchmarks/paced_market.py RATE INTERVAL HOME [PRESENT [REGIMES]]``. The bundle, of
three REGIMES unless told otherwise, goes into the registry of that home; PRESENT is the wildness of
the last hour, 1 (calm) to 8. One line of JSON says where the exchange is, and the end of its input
ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from microstream_lab import Registry, bars_from_trades, train_bundle
from microstream_lab.market.exchange import LocalExchange
from microstream_lab.market.wire import trades_frame
from microstream_lab.schema import interval_us

SYMBOL = "BTCUSDT"
N_BARS, PER_BAR = 6_000, 6
PLAYED_S, MOST_PLAYED = 420, 5_000_000
WILDNESS = np.repeat([1.0, 3.0, 1.0, 8.0], 90)  # of consecutive bars, over and over
LATELY = 60  # bars


def main(rate: float, interval: str, home: Path, present: float = 1.0, n_regimes: int = 3) -> None:
    """Train a bundle, then serve until the input ends."""
    trades, now = paced_trades(1, interval, present), pd.Timestamp.now("UTC")
    bars = bars_from_trades(trades[trades["trade_time"] < now], interval)
    registry = Registry(home / "models")
    registry.promote(SYMBOL, interval, registry.save(train_bundle(bars, "seed", n_regimes)))
    asyncio.run(serve(paced_trades(rate, interval, present)))


def paced_trades(rate: float, interval: str, present: float) -> pd.DataFrame:
    """Some trades a bar until now, and so many a second from now on."""
    rng = np.random.default_rng(0)
    now = time.time_ns() // 1_000
    step = interval_us(interval)
    start = (now // step - N_BARS) * step
    past = np.sort(rng.uniform(start, now, N_BARS * PER_BAR))
    n_played = int(min(PLAYED_S * rate, MOST_PLAYED))
    jitter = 0.7 if rate < 10 else 0.0
    seconds = rng.uniform(1 - jitter, 1 + jitter, n_played).cumsum() / rate
    times = np.concatenate([past, now + 1e6 + seconds * 1e6]).astype(np.int64)
    bars, n = (times - start) // step, len(times)
    wildness = np.where(bars < N_BARS - LATELY, WILDNESS[bars % len(WILDNESS)], present)
    steps = rng.normal(0, 1, len(times)) * wildness
    steps[len(past) :] *= min(1.0, (PER_BAR * 1e6 / step / rate) ** 0.5)
    quantity = rng.integers(1, 10_000, n) / 1e5
    quantity[len(past) :] *= min(1.0, PER_BAR * 1e6 / step / rate)  # as much a bar as before
    price = 60_000 * np.exp(1e-4 * steps.cumsum())
    columns = {
        "agg_id": np.arange(n) + 1,
        "price": price.round(2),
        "quantity": quantity.round(8).clip(1e-8),
        "first_id": np.arange(n) + 1,
        "last_id": np.arange(n) + 1,
        "trade_time": times,
        "buyer_is_maker": rng.random(n) < 0.5,
    }
    return trades_frame(columns, SYMBOL, "spot")


async def serve(trades: pd.DataFrame) -> None:
    """Play them at their own time."""
    async with LocalExchange(trades, 1.0, play_from=lambda: pd.Timestamp.now("UTC")) as exchange:
        addresses = {"BINANCE_WS_URL": exchange.ws_url, "BINANCE_REST_URL": exchange.rest_url}
        print(json.dumps(addresses), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    rate, interval, home, *more = sys.argv[1:]
    main(float(rate), interval, Path(home), float((more or ["1"])[0]), int((more[1:] or ["3"])[0]))
