"""Through every fault at once, and killed at any moment: what is stored is the exchange's truth.

The full length takes minutes and runs by ``make chaos``.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import chaos
import pytest
from chaos import MINUTE, START, SYMBOLS
from recorder_process import kill, start_recorder

from microstream_lab.market.exchange import LocalExchange
from microstream_lab.store import Store

FULL = os.environ.get("MICROSTREAM_CHAOS") == "full"
N_TRADES, MINUTES, N_EACH, LIMIT_S = (1_000_000, 600, 16, 900.0) if FULL else (40_000, 40, 1, 60.0)
KILLED_TRADES, KILLED_MINUTES, KILLS = (400_000, 600, 20) if FULL else (30_000, 60, 3)


@pytest.mark.slow
def test_recorder_through_all_faults_stores_what_the_exchange_says(tmp_path: Path) -> None:
    asyncio.run(through_all_faults(tmp_path))


async def through_all_faults(home: Path) -> None:
    market = chaos.make_market(N_TRADES, MINUTES)
    faults = chaos.all_faults(N_EACH, MINUTES, seed=0)
    async with LocalExchange(market, None, faults, seed=1) as exchange:
        store = Store(home / "store.duckdb")
        recorder = await chaos.record_all(exchange, store, home / "trades", LIMIT_S)
        counts = exchange.fault_counts
        chaos.tell(f"{counts.total()} faults: {dict(counts)}\n{recorder.status()}")
        assert chaos.problems_of_bars(exchange, store) == []
        assert chaos.problems_of_gaps(store) == []
        assert chaos.problems_of_segments(exchange, home / "trades") == []
        assert chaos.kinds_unmet(counts) == set()
        assert counts.total() >= (200 if FULL else 20)
        assert recorder.pipeline is not None
        assert len(store.gaps(market="sim")) == recorder.pipeline.feed.counters.gaps
        assert recorder.pipeline.check.compared > MINUTES
        assert recorder.pipeline.check.mismatches == 0


@pytest.mark.slow
def test_recorder_killed_again_and_again_ends_with_what_the_exchange_says(tmp_path: Path) -> None:
    asyncio.run(killed_again_and_again(tmp_path))


async def killed_again_and_again(home: Path) -> None:
    market = chaos.make_market(KILLED_TRADES, KILLED_MINUTES, seed=5)
    store, length_us = Store(home / "store.duckdb"), KILLED_MINUTES * MINUTE
    async with LocalExchange(market, KILLED_MINUTES * 60 / (KILLS * 3.0)) as exchange:
        exchange.pause()
        for number in range(KILLS):
            process = start_recorder(exchange, home)
            await listened_to(exchange)
            exchange.resume()
            await exchange.reached(START + (number + 1) * length_us // (KILLS + 1))
            kill(process)
        process = start_recorder(exchange, home)
        await exchange.finished()
        await stored_up_to(store, exchange)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0
        assert chaos.problems_of_bars(exchange, store) == []
        assert chaos.problems_of_gaps(store) == []
        assert chaos.problems_of_segments(exchange, home / "trades") == []
        causes = store.gaps(market="sim")["cause"]
        assert (causes == "restart").sum() >= KILLS


async def listened_to(exchange: LocalExchange) -> None:
    """Return when somebody listens."""
    while not exchange.n_connections:
        await asyncio.sleep(0.02)


async def stored_up_to(store: Store, exchange: LocalExchange) -> None:
    """Return when every bar that is over is stored, or after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        marks = await asyncio.to_thread(store.watermarks, "1m", "sim")
        if all(
            s in marks and marks[s].open_time >= exchange.now // MINUTE * MINUTE for s in SYMBOLS
        ):
            return
        await asyncio.sleep(0.2)
