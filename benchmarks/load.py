"""A local exchange in a process of its own, and a recorder measured against it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd

from microstream_lab.live.pipeline import PipelineOptions
from microstream_lab.live.recorder import Recorder
from microstream_lab.market.exchange import LocalExchange, Manners
from microstream_lab.market.stream import StreamOptions
from microstream_lab.market.wire import trades_frame
from microstream_lab.schema import BAR_VALUES, PARTIAL, interval_us
from microstream_lab.settings import Settings
from microstream_lab.store import Store

START = 1_704_067_220_000_000
"""Within a minute, as starts are: the first bar is stored well before memory is looked at."""
MINUTE = 60_000_000
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
Rates = list[tuple[float, float]]
"""Stretches of (seconds, trades a second)."""


def make_trades(symbol: str, rates: Rates, seed: int) -> pd.DataFrame:
    """Trades of one stretch after the other."""
    rng = np.random.default_rng(seed)
    parts, begin = [], float(START)
    for seconds, rate in rates:
        parts.append(np.sort(rng.uniform(begin, begin + seconds * 1e6, int(seconds * rate))))
        begin += seconds * 1e6
    times = np.concatenate(parts).astype(np.int64)
    n = len(times)
    counts = rng.integers(1, 4, n)
    last = counts.cumsum() + 1_000_000
    columns = {
        "agg_id": np.arange(n) + 500_000,
        "price": (500_000 + rng.integers(-1, 2, n).cumsum()) / 100,
        "quantity": rng.integers(1, 10_000, n) / 1e5,
        "first_id": last - counts + 1,
        "last_id": last,
        "trade_time": times,
        "buyer_is_maker": rng.random(n) < 0.5,
    }
    return trades_frame(columns, symbol, "sim")


def _pin(core: int) -> None:
    """Stay on one core, where the system can be told so."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def _serve(pipe: Connection, rates: Rates, seed: int, interval: str) -> None:
    _pin(1)
    asyncio.run(_exchange(pipe, rates, seed, interval))


async def _exchange(pipe: Connection, rates: Rates, seed: int, interval: str) -> None:
    """Play once somebody listens, then answer with the truth."""
    share = [(seconds, rate / len(SYMBOLS)) for seconds, rate in rates]
    market = [make_trades(s, share, seed + k) for k, s in enumerate(SYMBOLS)]
    # As a server does that holds no more than so much for a client that does not keep up.
    manners = Manners(slow_clients="drop", max_backlog=16 << 20)
    async with LocalExchange(market, 1.0, play_from=START, manners=manners) as exchange:
        exchange.pause()
        pipe.send((exchange.ws_url, exchange.rest_url))
        while not exchange.n_connections:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        exchange.resume()
        last = START + int(sum(seconds for seconds, _ in rates) * 1e6)
        step = interval_us(interval)
        await exchange.reached(-(-last // step) * step + 1)
        exchange.pause()
        pipe.send({symbol: exchange.bars(symbol, interval) for symbol in exchange.symbols})
        await asyncio.to_thread(pipe.recv)


@contextlib.contextmanager
def exchange_process(rates: Rates, seed: int = 0, interval: str = "1m") -> Iterator[Connection]:
    """Pipe to an exchange on the other core: its addresses, then the bars of `interval` it made."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, rates, seed, interval), daemon=True)
    process.start()
    try:
        yield pipe
    finally:
        with contextlib.suppress(OSError):
            pipe.send("done")
        process.join(5)
        process.terminate()


def rss_mb() -> float:
    """Resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def json_loads_us(n: int = 20_000) -> float:
    """CPU microseconds that ``json.loads`` takes for one combined aggTrade message."""
    data = (
        '{"e":"aggTrade","E":1704067200000900,"s":"AAAUSDT","a":500123,"p":"5001.23000000",'
        '"q":"0.04217000","f":1000234,"l":1000236,"T":1704067200000000,"m":true,"M":true}'
    )
    message = f'{{"stream":"aaausdt@aggTrade","data":{data}}}'
    start = time.process_time()
    for _ in range(n):
        json.loads(message)
    return (time.process_time() - start) / n * 1e6


@dataclass
class Measured:
    """What was seen of one recorder."""

    trades: int = 0
    busy_s: float = 0.0
    cpu_s: float = 0.0
    dropped: int = 0
    gaps: int = 0
    fetched: int = 0
    partial_first: int = 0
    settled_s: float = 0.0
    lags_ms: array[float] = field(default_factory=lambda: array("f"))  # many: four bytes each
    rss: list[tuple[float, float]] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def lag_ms(self, share: float) -> float:
        """A quantile of the lags in ms."""
        return float(np.quantile(self.lags_ms, share)) if self.lags_ms else 0.0

    def rss_after(self, seconds: float) -> float:
        """Memory (MB) at the first look after so many seconds."""
        return next((mb for at, mb in self.rss if at >= seconds), self.rss[-1][1])


async def _watch(recorder: Recorder, measured: Measured) -> None:
    """Look at lags and memory, over and over."""
    begun = time.monotonic()
    while True:
        await asyncio.sleep(0.25)
        pipeline = recorder.pipeline
        if pipeline is None or not pipeline.assembler.counts.trades:
            begun = time.monotonic()
            continue
        if pipeline.assembler.counts.trades > measured.trades:
            measured.trades = pipeline.assembler.counts.trades
            measured.busy_s = time.monotonic() - begun
        measured.lags_ms.extend([lag * 1e3 for lag in pipeline.lags_s])
        pipeline.lags_s.clear()
        measured.rss.append((time.monotonic() - begun, rss_mb()))


async def _record(pipe: Connection, store: Store, options: PipelineOptions) -> Measured:
    ws_url, rest_url = await asyncio.to_thread(pipe.recv)
    settings = Settings(binance_ws_url=ws_url, binance_rest_url=rest_url, microstream_offline=True)
    recorder, measured = Recorder(SYMBOLS, "1m", "sim", store, None, settings, options), Measured()
    running = asyncio.create_task(recorder.run())
    watching = asyncio.create_task(_watch(recorder, measured))
    cpu = time.process_time()
    truth = await asyncio.to_thread(pipe.recv)
    waited = time.monotonic()
    while not running.done() and not _is_settled(recorder, truth):
        await asyncio.sleep(0.1)
    measured.settled_s = time.monotonic() - waited
    measured.cpu_s = time.process_time() - cpu
    watching.cancel()
    assert recorder.pipeline is not None
    counts = recorder.pipeline.assembler.counts
    measured.dropped = recorder.pipeline.stream.inbox.dropped
    measured.gaps, measured.fetched = counts.gaps_repaired, counts.repaired
    measured.partial_first = counts.partial
    recorder.stop()
    await running
    measured.differing = _differing(store, truth)
    return measured


def _is_settled(recorder: Recorder, truth: dict[str, pd.DataFrame]) -> bool:
    marks = recorder.watermarks
    ends = {s: bars.index[-1].as_unit("us").asm8.astype(int) + MINUTE for s, bars in truth.items()}
    if any(marks.get(symbol, 0) < end for symbol, end in ends.items()):
        return False
    status = recorder.status()
    return not (status.gaps_open or status.gaps_given_up or status.unstored)


def _differing(store: Store, truth: dict[str, pd.DataFrame]) -> list[str]:
    found = []
    for symbol, theirs in truth.items():
        ours = store.bars(symbol, "1m", market="sim")
        if not ours.index.equals(theirs.index) or (ours["quality"] == PARTIAL).any():
            found.append(f"{symbol}: {len(ours)} bars of {len(theirs)}, or partial ones")
            continue
        for name in BAR_VALUES:
            far = (ours[name] - theirs[name]).abs() > 1.001e-8 + 2e-16 * theirs[name]
            found += [f"{symbol}: {name}"] if far.any() else []
    return found


def measure(rates: Rates, max_frames: int = 131_072) -> Measured:
    """Record all of a market on one core, while the exchange has the other one."""
    _pin(0)
    with tempfile.TemporaryDirectory() as folder, exchange_process(rates) as pipe:
        os.environ["MICROSTREAM_HOME"] = folder
        options = PipelineOptions(stream=StreamOptions(max_frames=max_frames))
        return asyncio.run(_record(pipe, Store(Path(folder) / "store.duckdb"), options))
