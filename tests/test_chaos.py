"""Through every fault at once, and killed at any moment: what is stored is the exchange's truth.

The full length takes minutes and runs by ``make chaos``.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import chaos
import pytest
from chaos import MINUTE, START, SYMBOLS
from recorder_process import kill, start_recorder

from microstream_lab.market.exchange import LocalExchange
from microstream_lab.schema import Watermark
from microstream_lab.store import Store

FULL = os.environ.get("MICROSTREAM_CHAOS") == "full"
N_TRADES, MINUTES, N_EACH, LIMIT_S = (1_000_000, 600, 16, 900.0) if FULL else (40_000, 40, 1, 60.0)
KILLED_TRADES, KILLED_MINUTES, KILLS, SPEED = (
    (400_000, 600, 20, 200.0) if FULL else (20_000, 40, 3, 400.0)
)


@pytest.mark.slow
def test_recorder_through_all_faults_stores_what_the_exchange_says(tmp_path: Path) -> None:
    asyncio.run(through_all_faults(tmp_path))


async def through_all_faults(home: Path) -> None:
    market = chaos.make_market(N_TRADES, MINUTES)
    faults = chaos.all_faults(N_EACH, MINUTES, seed=0)
    async with LocalExchange(market, None, faults, seed=1988) as exchange:
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
        # What is lost before a silence no later trade can tell the feed; the exchange is asked.
        told = ~store.gaps(market="sim")["cause"].str.startswith("silence")
        assert told.sum() == recorder.pipeline.feed.counters.gaps
        assert recorder.pipeline.check.compared > MINUTES
        assert recorder.pipeline.check.mismatches == 0


@pytest.mark.slow
def test_recorder_killed_again_and_again_ends_with_what_the_exchange_says(tmp_path: Path) -> None:
    asyncio.run(killed_again_and_again(tmp_path))


async def killed_again_and_again(home: Path) -> None:
    market = chaos.make_market(KILLED_TRADES, KILLED_MINUTES, seed=5)
    store, rng = Store(home / "store.duckdb"), random.Random(7)
    every_us = KILLED_MINUTES * MINUTE // (KILLS + 1)
    async with LocalExchange(market, SPEED, play_from=START) as exchange:
        exchange.pause()
        for number in range(KILLS):
            process = start_recorder(exchange, home)
            await listened_to(exchange)
            known = await marks_of(store)
            exchange.resume()
            await exchange.reached(START + number * every_us + rng.randrange(1, every_us // 2))
            exchange.pause()
            await stored_more_than(store, known)
            exchange.resume()
            # Now at any moment: while it reads, assembles or writes.
            await exchange.reached(exchange.now + rng.randrange(every_us // 4))
            kill(process)
            await exchange.reached(exchange.now + rng.randrange(every_us // 4))
            exchange.pause()
        process = start_recorder(exchange, home)
        await listened_to(exchange)
        exchange.resume()
        await exchange.finished()
        exchange.pause()  # or quiet bars would go on for ever
        await stored_up_to(store, exchange)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0
        assert chaos.problems_of_bars(exchange, store) == []
        assert chaos.problems_of_gaps(store) == []
        assert chaos.problems_of_segments(exchange, home / "trades") == []
        gaps = store.gaps(market="sim")
        chaos.tell(f"{KILLS} kills, {len(gaps)} gaps, {gaps['n_repaired'].sum()} trades fetched")
        assert (gaps["cause"] == "restart").sum() >= KILLS


async def listened_to(exchange: LocalExchange) -> None:
    """Return when somebody listens."""
    while not exchange.n_connections:
        await asyncio.sleep(0.02)


async def marks_of(store: Store) -> dict[str, Watermark]:
    return await asyncio.to_thread(store.watermarks, "1m", "sim")


async def stored_more_than(store: Store, known: dict[str, Watermark]) -> None:
    """Return when more is stored of every symbol, or after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        marks = await marks_of(store)
        if all(s in marks and marks[s] != known.get(s) for s in SYMBOLS):
            return
        await asyncio.sleep(0.05)


async def stored_up_to(store: Store, exchange: LocalExchange) -> None:
    """Return when every bar that is over is stored, or after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        marks, end = await marks_of(store), exchange.now // MINUTE * MINUTE
        if all(s in marks and marks[s].open_time >= end for s in SYMBOLS):
            return
        await asyncio.sleep(0.2)
