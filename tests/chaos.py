"""A recorder and a local exchange where everything goes wrong, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from microstream_lab.live.pipeline import PipelineOptions
from microstream_lab.live.recorder import Recorder
from microstream_lab.live.segments import Segments
from microstream_lab.market.exchange import (
    DIAL_FAULTS,
    REST_FAULTS,
    STREAM_FAULTS,
    Fault,
    Faults,
    LocalExchange,
)
from microstream_lab.market.stream import StreamOptions
from microstream_lab.market.wire import trades_frame
from microstream_lab.schema import BAR_VALUES
from microstream_lab.settings import Settings
from microstream_lab.store import Store

START = 1_704_067_200_000_000
MINUTE = 60_000_000
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")

# Connections end all the time here; the back-off must not grow over all of them.
QUICK = PipelineOptions(
    stream=StreamOptions(stable_s=0.05, overlap_s=0.3, watch_s=0.2),
    quiet_s=1.0,
    tick_s=0.05,
    backfill_s=30.0,
)


def make_trades(symbol: str, n_trades: int, minutes: int, seed: int) -> pd.DataFrame:
    """Trades in bursts and lulls; some minutes are quiet."""
    rng = np.random.default_rng(seed)
    busy = np.flatnonzero(rng.random(minutes) < 0.9)
    chosen = rng.choice(busy, n_trades, p=rng.dirichlet(np.full(len(busy), 2.0)))
    times = np.sort(START + chosen * MINUTE + rng.integers(0, MINUTE, n_trades))
    counts = rng.integers(1, 4, n_trades)
    last = counts.cumsum() + 10_000
    columns = {
        "agg_id": np.arange(n_trades) + 1_000 * seed,
        "price": (5_000_000 + rng.integers(-3, 4, n_trades).cumsum()) / 100,
        # As on the exchange price and size have eight decimals together, so that sums are exact.
        "quantity": rng.integers(1, 10**6, n_trades) / 1e6,
        "first_id": last - counts + 1,
        "last_id": last,
        "trade_time": times,
        "buyer_is_maker": rng.random(n_trades) < 0.5,
    }
    return trades_frame(columns, symbol, "sim")


def make_market(n_trades: int, minutes: int, seed: int = 0) -> list[pd.DataFrame]:
    """Three symbols, the last one thinly traded."""
    shares = (0.55, 0.4, 0.05)
    return [
        make_trades(symbol, int(share * n_trades), minutes, seed + number + 1)
        for number, (symbol, share) in enumerate(zip(SYMBOLS, shares, strict=True))
    ]


def all_faults(n_each: int, minutes: int, seed: int) -> Faults:
    """Every kind of stream fault `n_each` times, at random moments, and all kinds as a drizzle."""
    rng = np.random.default_rng(seed)
    script = [
        Fault(kind, START + int(at))
        for kind in STREAM_FAULTS
        for at in rng.uniform(0.02, 0.97, n_each) * minutes * MINUTE
    ]
    return Faults(
        drop=1e-4,
        duplicate=1e-4,
        reorder=1e-4,
        malformed=2e-5,
        refuse=0.3,
        slow=0.05,
        lag=0.1,
        too_many=0.03,
        ban=0.03,
        slow_s=0.05,
        retry_after_s=1.0,
        oversize_bytes=1 << 20,
        script=script,
    )


def settings_for(exchange: LocalExchange) -> Settings:
    """Settings that lead to the exchange."""
    return Settings(
        binance_ws_url=exchange.ws_url,
        binance_rest_url=exchange.rest_url,
        microstream_offline=True,
    )


def make_recorder(settings: Settings, store: Store, folder: Path | None) -> Recorder:
    """A recorder of all symbols that writes its trades every now and then."""
    return Recorder(
        SYMBOLS,
        "1m",
        "sim",
        store,
        folder,
        settings,
        QUICK,
        lambda folder, market: Segments(folder, market, roll_s=0.5),
    )


async def record_until_told(settings: Settings, home: Path) -> None:
    """Record until SIGTERM, or whatever else ends the process."""
    recorder = make_recorder(settings, Store(home / "store.duckdb"), home / "trades")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, recorder.stop)
    await recorder.run()


async def record_all(
    exchange: LocalExchange, store: Store, folder: Path | None, limit_s: float
) -> Recorder:
    """Record until every bar of the exchange is stored."""
    recorder = make_recorder(settings_for(exchange), store, folder)
    running = asyncio.create_task(recorder.run())
    await asyncio.wait(
        [running, asyncio.create_task(exchange.finished())],
        timeout=limit_s,
        return_when=asyncio.FIRST_COMPLETED,
    )
    deadline = time.monotonic() + limit_s
    while not running.done() and time.monotonic() < deadline:
        if is_all_stored(exchange, recorder):
            break
        await asyncio.sleep(0.1)
    recorder.stop()
    await running
    return recorder


def is_all_stored(exchange: LocalExchange, recorder: Recorder) -> bool:
    """Whether every bar that is over is stored, and nothing is owed."""
    end, marks = exchange.now // MINUTE * MINUTE, recorder.watermarks
    if any(marks.get(symbol, 0) < end for symbol in SYMBOLS):
        return False
    counts = recorder.status()
    return not counts.gaps_open and not counts.gaps_given_up and not counts.unstored


def problems_of_bars(exchange: LocalExchange, store: Store) -> list[str]:
    """Where the store differs from the exchange's truth; empty if nowhere."""
    found = []
    for symbol in SYMBOLS:
        theirs, ours = exchange.bars(symbol, "1m"), store.bars(symbol, "1m", market="sim")
        if missing := len(theirs.index.difference(ours.index)):
            first = theirs.index.difference(ours.index)[0]
            found.append(f"{symbol}: {missing} bars missing from {first:%H:%M}")
        if surplus := len(ours.index.difference(theirs.index)) + int(ours.index.duplicated().sum()):
            found.append(f"{symbol}: {surplus} bars too many")
        both = ours.index.intersection(theirs.index)
        for name in BAR_VALUES:
            n_other = int((ours.loc[both, name] != theirs.loc[both, name]).sum())
            if n_other:
                found.append(f"{symbol}: {name} differs in {n_other} bars")
        if n_partial := int((ours["quality"] == "partial").sum()):
            found.append(f"{symbol}: {n_partial} bars partial")
    return found


def problems_of_gaps(store: Store) -> list[str]:
    """Gaps without a cause, or not repaired whole."""
    gaps = store.gaps(market="sim")
    n_ids = gaps["to_id"] - gaps["from_id"] + 1
    bad = gaps[gaps["repaired_at"].isna() | (gaps["n_repaired"] != n_ids) | (gaps["cause"] == "")]
    return [f"gap {row.symbol} {row.from_id}..{row.to_id}: {row.cause}" for row in bad.itertuples()]


def problems_of_segments(exchange: LocalExchange, folder: Path) -> list[str]:
    """Trades doubled, missing or other than the exchange's, as DuckDB reads them."""
    found = []
    for symbol in SYMBOLS:
        ours = duckdb.sql(
            f"FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true) "
            f"SELECT agg_id, price, quantity, epoch_us(trade_time) WHERE symbol = '{symbol}' "
            "ORDER BY agg_id"
        ).fetchnumpy()
        theirs = exchange.trades(symbol)
        if len(ours["agg_id"]) != len(theirs):
            found.append(f"{symbol}: {len(ours['agg_id'])} trades kept, {len(theirs)} traded")
        else:
            found += [
                f"{symbol}: {name} differs"
                for name in ("agg_id", "price", "quantity")
                if (ours[name] != theirs[name].to_numpy()).any()
            ]
    return found


def tell(text: str) -> None:
    """Show figures to whoever runs pytest with ``-s``."""
    sys.stderr.write(f"\n{text}\n")


def kinds_unmet(counts: Counter[str]) -> set[str]:
    """Kinds of faults that have not happened."""
    return {*STREAM_FAULTS, *REST_FAULTS, *DIAL_FAULTS} - counts.keys()
