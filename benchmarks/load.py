"""A local exchange in a process of its own, and a recorder measured against it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from microstream_lab.live.pipeline import PipelineOptions
from microstream_lab.live.recorder import Recorder
from microstream_lab.market.exchange import LocalExchange
from microstream_lab.market.wire import trades_frame
from microstream_lab.schema import BAR_VALUES, PARTIAL
from microstream_lab.settings import Settings
from microstream_lab.store import Store

START = 1_704_067_200_000_000
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")


def make_trades(symbol: str, rates: list[tuple[float, float]], seed: int) -> pd.DataFrame:
    """Trades of stretches of (seconds, trades a second), one after the other."""
    rng = np.random.default_rng(seed)
    parts, begin = [], float(START)
    for seconds, rate in rates:
        parts.append(np.sort(rng.uniform(begin, begin + seconds * 1e6, int(seconds * rate))))
        begin += seconds * 1e6
    times = np.concatenate(parts).astype(np.int64)
    n = len(times)
    steps = rng.integers(-1, 2, n).cumsum()
    counts = rng.integers(1, 4, n)
    last = counts.cumsum() + 1_000_000
    columns = {
        "agg_id": np.arange(n) + 500_000,
        "price": (5_000_000 + steps) / 100,
        "quantity": rng.integers(1, 100_000, n) / 1e5,
        "first_id": last - counts + 1,
        "last_id": last,
        "trade_time": times,
        "buyer_is_maker": rng.random(n) < 0.5,
    }
    return trades_frame(columns, symbol, "sim")


def _serve(pipe: Connection, rates: list[tuple[float, float]], seed: int) -> None:
    """Serve, tell where, and answer with the truth when asked."""
    asyncio.run(_exchange(pipe, rates, seed))


async def _exchange(pipe: Connection, rates: list[tuple[float, float]], seed: int) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    share = [(seconds, rate / len(SYMBOLS)) for seconds, rate in rates]
    market = [make_trades(s, share, seed + k) for k, s in enumerate(SYMBOLS)]
    exchange = LocalExchange(market, 1.0, play_from=START)
    exchange_task = asyncio.create_task(_until_asked(exchange, pipe))
    await exchange_task


async def _until_asked(exchange: LocalExchange, pipe: Connection) -> None:
    async with exchange:
        exchange.pause()
        pipe.send((exchange.ws_url, exchange.rest_url))
        while not exchange.n_connections:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        exchange.resume()
        await exchange.finished()
        interval = await asyncio.to_thread(pipe.recv)
        bars = {symbol: exchange.bars(symbol, interval) for symbol in exchange.symbols}
        ends = {s: int(b.index[-1].value) for s, b in bars.items()}
        pipe.send((bars, ends, {s: exchange.n_trades(s) for s in exchange.symbols}))
        await asyncio.to_thread(pipe.recv)


@contextmanager
def exchange_process(rates: list[tuple[float, float]], seed: int = 0) -> Any:
    """Pipe to an exchange on the last core."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, rates, seed), daemon=True)
    process.start()
    try:
        yield pipe
    finally:
        pipe.send("done")
        process.join(5)
        process.terminate()


def rss_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@dataclass
class Measured:
    """What was seen while recording."""

    trades: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    lags_ms: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    dropped: int = 0
    gaps: int = 0
    problems: list[str] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """A quantile of the lags in ms."""
        return float(np.quantile(self.lags_ms or [0.0], share))
