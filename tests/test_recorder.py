from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import chaos
import pandas as pd
import pytest
from exchange_client import run_async
from msgspec.structs import replace

from microstream_lab.bars import bars_from_trades
from microstream_lab.errors import GeoBlockedError, OfflineError, StoreError
from microstream_lab.live.pipeline import Pipeline, PipelineOptions
from microstream_lab.live.recorder import Recorder
from microstream_lab.live.records import Batch, Patience
from microstream_lab.market.exchange import Fault, Faults, LocalExchange
from microstream_lab.market.exchange.recorded import read_recording
from microstream_lab.market.feed.messages import Kline
from microstream_lab.market.files import read_agg_trades
from microstream_lab.schema import BAR_VALUES, AggTrade, Gap, Watermark, as_micros
from microstream_lab.store import Store

MINUTE, START = chaos.MINUTE, chaos.START
SYMBOL = chaos.SYMBOLS[0]


def make_trades(minutes: list[int], symbol: str = SYMBOL, first_id: int = 50) -> pd.DataFrame:
    """A few trades in each of some minutes."""
    times = [START + minute * MINUTE + 1_000 * k for minute in minutes for k in range(1, 6)]
    n = len(times)
    columns = {
        "agg_id": pd.RangeIndex(first_id, first_id + n).to_numpy(),
        "price": [(10_000 + k) / 100 for k in range(n)],
        "quantity": [(1_000 + k) / 1_000 for k in range(n)],
        "first_id": pd.RangeIndex(900, 900 + n).to_numpy(),
        "last_id": pd.RangeIndex(900, 900 + n).to_numpy(),
        "trade_time": pd.to_datetime(times, unit="us", utc=True),
        "buyer_is_maker": [k % 2 == 0 for k in range(n)],
    }
    return pd.DataFrame(columns).assign(market="sim", symbol=symbol)


def make_recorder(exchange: LocalExchange, store: Store, **options: object) -> Recorder:
    chosen = replace(chaos.QUICK, **options)  # type: ignore[arg-type]
    settings = chaos.settings_for(exchange)
    return Recorder(list(exchange.symbols), "1m", "sim", store, None, settings, chosen)


async def record_until(
    recorder: Recorder, is_done: Callable[[], bool], limit_s: float = 45.0
) -> None:
    """Record until something is the case."""
    running = asyncio.create_task(recorder.run())

    async def watch() -> None:
        while not (running.done() or is_done()):
            await asyncio.sleep(0.02)

    try:
        await asyncio.wait_for(watch(), limit_s)
    finally:
        recorder.stop()
        await running


def reached(recorder: Recorder, time: int) -> Callable[[], bool]:
    """Whether all symbols are stored up to `time`."""
    symbols = recorder._symbols
    return lambda: all(recorder.watermarks.get(symbol, 0) >= time for symbol in symbols)


def assert_same_bars(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    names = list(BAR_VALUES)
    pd.testing.assert_frame_equal(
        ours[names], theirs[names], check_exact=True, check_freq=False, check_dtype=False
    )


@pytest.mark.parametrize("klines", [True, False])
def test_quiet_bars_are_closed_by_the_exchanges_word(klines: bool, tmp_path: Path) -> None:
    @run_async
    async def check() -> None:
        async with LocalExchange(make_trades([0, 1, 5, 9]), None) as exchange:
            store = Store(tmp_path / "store.duckdb")
            recorder = make_recorder(exchange, store, klines=klines, quiet_s=0.2)
            await record_until(recorder, reached(recorder, START + 10 * MINUTE))
            bars = store.bars(SYMBOL, "1m", market="sim")
            assert_same_bars(bars, exchange.bars(SYMBOL, "1m"))
            assert set(bars["quality"]) == {"complete"}

    check()


def test_last_trade_of_a_silent_symbol_is_fetched_if_it_was_lost(tmp_path: Path) -> None:
    @run_async
    async def check() -> None:
        trades = make_trades([0, 1, 2])
        lost = int(trades["trade_time"].iloc[-1].value // 1_000)
        faults = Faults(script=[Fault("drop", lost)])
        async with LocalExchange(trades, None, faults) as exchange:
            store = Store(tmp_path / "store.duckdb")
            recorder = make_recorder(exchange, store, klines=False, quiet_s=0.2)
            await record_until(recorder, reached(recorder, START + 3 * MINUTE))
            assert exchange.fault_counts["drop"] == 1
            assert_same_bars(store.bars(SYMBOL, "1m", market="sim"), exchange.bars(SYMBOL, "1m"))
            (gap,) = store.gaps(market="sim").itertuples()
            assert (gap.from_id, gap.to_id, gap.cause) == (64, 64, "silence")
            assert gap.n_repaired == 1

    check()


def test_recorder_begins_its_first_bar_at_the_opening(tmp_path: Path) -> None:
    @run_async
    async def check() -> None:
        start = START + 2_500  # two trades of the first bar are past
        trades = make_trades([0, 1, 2])
        async with LocalExchange(trades, None, play_from=start) as exchange:
            store = Store(tmp_path / "store.duckdb")
            recorder = make_recorder(exchange, store)
            await record_until(recorder, reached(recorder, START + 3 * MINUTE))
            bars = store.bars(SYMBOL, "1m", market="sim")
            assert_same_bars(bars, exchange.bars(SYMBOL, "1m"))
            assert list(bars["quality"]) == ["repaired", "complete", "complete"]
            (gap,) = store.gaps(market="sim").itertuples()
            assert (gap.from_id, gap.to_id, gap.cause) == (50, 51, "start")

    check()


def test_bars_published_partial_are_published_again_once_rest_answers(tmp_path: Path) -> None:
    @run_async
    async def check() -> None:
        trades = make_trades(list(range(8)))
        at = START + 2 * MINUTE + 2_500
        faults = Faults(script=[Fault("drop", at)], lag=1.0, lag_s=600.0)
        async with LocalExchange(trades, None, faults) as exchange:
            store = Store(tmp_path / "store.duckdb")
            patience = Patience(wait_us=200_000)
            recorder = make_recorder(exchange, store, patience=patience, backfill_s=0.1)
            seen: list[str] = []

            def is_repaired() -> bool:
                if not reached(recorder, START + MINUTE)():
                    return False
                bars = store.bars(SYMBOL, "1m", market="sim")
                seen.extend(bars["quality"].astype(str))
                if "partial" in seen:
                    object.__setattr__(exchange._floor.faults, "lag_s", 0.0)
                is_whole = "partial" in seen and "partial" not in set(bars["quality"])
                return is_whole and reached(recorder, end)() and not store.open_gaps("sim")

            end = START + 8 * MINUTE
            await record_until(recorder, is_repaired)
            bars = store.bars(SYMBOL, "1m", market="sim")
            assert_same_bars(bars, exchange.bars(SYMBOL, "1m"))
            assert "partial" in seen
            assert "partial" not in set(bars["quality"])
            revisions = store.sql("SELECT max(revision) AS most FROM bars")
            assert revisions["most"].item() >= 1
            (gap,) = store.gaps(market="sim").itertuples()
            assert gap.n_repaired == 1
            assert gap.repaired_at is not pd.NaT

    check()


def test_restart_pays_what_the_run_before_owed(tmp_path: Path) -> None:
    @run_async
    async def check() -> None:
        trades = make_trades(list(range(8)))
        async with LocalExchange(trades, None, play_from=START + 6 * MINUTE) as exchange:
            truth = bars_from_trades(trades, "1m")
            store = Store(tmp_path / "store.duckdb")
            held = trades.iloc[[*range(12), *range(14, 26)]]  # 62 and 63, of minute 2, are missing
            bars = bars_from_trades(held, "1m").iloc[:5]
            store.write_bars(bars)
            mark = Watermark(SYMBOL, "1m", 74, 924, START + 5 * MINUTE, 100.24, "sim")
            at = START + 2 * MINUTE
            gap = Gap(SYMBOL, 62, 63, at + 2_000, at + 5_000, "stream", 1, market="sim")
            store.write_live([], [gap], [mark])
            recorder = make_recorder(exchange, store)
            await record_until(
                recorder,
                lambda: (
                    reached(recorder, START + 8 * MINUTE)()
                    and not store.open_gaps("sim")
                    and recorder.status().unstored == 0
                ),
            )
            assert_same_bars(store.bars(SYMBOL, "1m", market="sim"), truth)
            assert store.bars(SYMBOL, "1m", market="sim")["quality"].iloc[2] == "repaired"
            causes = store.gaps(market="sim")["cause"].tolist()
            assert causes == ["stream", "restart"]

    check()


def test_restart_pays_for_partial_bars_that_no_gap_explains(tmp_path: Path) -> None:
    @run_async
    async def check() -> None:
        trades = make_trades(list(range(8)))
        async with LocalExchange(trades, None, play_from=START + 6 * MINUTE) as exchange:
            store = Store(tmp_path / "store.duckdb")
            known = bars_from_trades(trades, "1m").iloc[:5].copy()
            known.iloc[2, known.columns.get_loc("volume")] = 0.0  # a trade came late, say
            known.iloc[[0, 2], known.columns.get_loc("quality")] = "partial"
            store.write_bars(known)
            mark = Watermark(SYMBOL, "1m", 74, 924, START + 5 * MINUTE, 100.24, "sim")
            hopeless = Gap(
                *(SYMBOL, 1, 2, START - 1, START, "stream; unknown to the exchange", 1),
                market="sim",
            )
            store.write_live([], [hopeless], [mark])
            recorder = make_recorder(exchange, store)
            await record_until(
                recorder,
                lambda: (
                    reached(recorder, START + 8 * MINUTE)()
                    and store.bars(SYMBOL, "1m", market="sim")["quality"].iloc[2] == "repaired"
                ),
            )
            bars = store.bars(SYMBOL, "1m", market="sim")
            assert_same_bars(bars, bars_from_trades(trades, "1m"))
            assert bars["quality"].iloc[0] == "partial"

    check()


def test_doctored_kline_is_logged_by_the_pipeline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @run_async
    async def check() -> None:
        async with LocalExchange(make_trades([0, 1, 2, 3]), None) as exchange:
            recorder = make_recorder(exchange, Store(tmp_path / "store.duckdb"))
            running = asyncio.create_task(recorder.run())
            while recorder.pipeline is None:
                await asyncio.sleep(0.01)
            assembler = recorder.pipeline.assembler
            doctor(assembler)
            while not reached(recorder, START + 4 * MINUTE)():
                await asyncio.sleep(0.02)
            recorder.stop()
            await running
            assert recorder.status().mismatches == 1

    def doctor(assembler: object) -> None:
        note = assembler._note  # type: ignore[attr-defined]

        def doctored(event: object, now: int, batch: Batch) -> None:
            if isinstance(event, Kline) and event.is_closed and event.bar.open_time == START:
                event = replace(event, bar=replace(event.bar, high=event.bar.high + 1))
            note(event, now, batch)

        assembler._note = doctored  # type: ignore[attr-defined]

    with caplog.at_level(logging.ERROR):
        check()
    (text,) = [record.getMessage() for record in caplog.records if "differ" in record.getMessage()]
    assert "bars differ in high" in text
    assert "ours" in text
    assert "exchange" in text


def test_store_that_is_busy_delays_storing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @run_async
    async def check() -> None:
        store = Store(tmp_path / "store.duckdb")
        write, refusals = store.write_live, iter(range(2))

        def sometimes(*batch: object, **options: object) -> object:
            if next(refusals, None) is not None:
                raise StoreError("busy")
            return write(*batch, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "write_live", sometimes)
        async with LocalExchange(make_trades([0, 1, 2]), None) as exchange:
            recorder = make_recorder(exchange, store)
            await record_until(recorder, reached(recorder, START + 3 * MINUTE))
            assert_same_bars(store.bars(SYMBOL, "1m", market="sim"), exchange.bars(SYMBOL, "1m"))

    check()
    assert "not stored yet: busy" in caplog.text


def test_exchange_that_refuses_us_ends_the_recorder_with_its_reason(tmp_path: Path) -> None:
    @run_async
    async def check() -> None:
        async with LocalExchange(make_trades([0]), None) as exchange:
            recorder = make_recorder(exchange, Store(tmp_path / "store.duckdb"))
            running = asyncio.create_task(recorder.run())
            while recorder.pipeline is None:
                await asyncio.sleep(0.01)
            recorder.pipeline.stream.inbox.close(GeoBlockedError("not here"))
            with pytest.raises(GeoBlockedError, match="not here"):
                await running

    check()


def test_pipeline_is_refused_offline_before_anything_is_dialled() -> None:
    with pytest.raises(OfflineError):
        Pipeline(["BTCUSDT"], "1m", options=PipelineOptions())


def test_record_command_stores_bars_and_trades_and_ends_cleanly(tmp_path: Path) -> None:
    @run_async
    async def check() -> None:
        async with LocalExchange(make_trades(list(range(30))), None) as exchange:
            environment = {
                **os.environ,
                "BINANCE_WS_URL": exchange.ws_url,
                "BINANCE_REST_URL": exchange.rest_url,
                "MICROSTREAM_HOME": str(tmp_path),
            }
            command = "from microstream_lab.cli import main; main()"
            words = ["record", SYMBOL.lower(), "--interval", "1m", "--market", "sim", "--trades"]
            process = subprocess.Popen(
                [sys.executable, "-c", command, *words], env=environment, stdout=subprocess.PIPE
            )
            store = Store(tmp_path / "data" / "microstream.duckdb")
            while await asyncio.to_thread(lambda: len(store.watermarks("1m", "sim"))) == 0:
                assert process.poll() is None
                await asyncio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            output, _ = await asyncio.to_thread(process.communicate)
            assert process.returncode == 0
            assert b"gaps 0 open" in output
            assert b"last bar AAAUSDT 01-01" in output
            assert list((tmp_path / "data" / "trades").rglob("*.parquet"))
            assert len(store.bars(SYMBOL, "1m", market="sim")) >= 1

    check()


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["BTCUSDC-aggTrades-2025-10-08.zip", "binance_trades_2025-10-10_TRXUSDT.csv.gz"],
    ids=["BTCUSDC", "TRXUSDT"],
)
def test_recorded_day_played_by_the_exchange_gives_the_bars_of_its_file(
    name: str, real_data: Path, tmp_path: Path
) -> None:
    path = real_data / "trades" / name

    @run_async
    async def check() -> None:
        is_archive = path.suffix == ".zip"
        trades = read_agg_trades(path) if is_archive else read_recording(str(path))[0]
        symbol = str(trades["symbol"].iloc[0])
        expected = bars_from_trades(trades, "1m")
        end = as_micros(expected.index[-1]) + MINUTE
        async with LocalExchange(path, None) as exchange:
            store = Store(tmp_path / "store.duckdb")
            options = replace(chaos.QUICK, quiet_s=1.0)
            settings = chaos.settings_for(exchange)
            recorder = Recorder([symbol], "1m", "spot", store, None, settings, options)
            await record_until(recorder, reached(recorder, end), limit_s=55)
            bars, gaps = store.bars(symbol, "1m"), store.gaps(symbol)
            assert_same_bars(bars, expected)
            partial = bars.index[bars["quality"] == "partial"]
            assert list(partial) == list(expected.index[expected["quality"] == "partial"])
            # What a slow machine drops at this speed is fetched again; only unknown ids stay open.
            hopeless = gaps[gaps["repaired_at"].isna()]
            if is_archive:
                assert hopeless.empty
                assert recorder.status().mismatches == 0
            else:
                (gap,) = hopeless.itertuples()
                assert gap.to_id - gap.from_id + 1 == 8
                assert gap.repaired_at is pd.NaT
                assert gap.cause.endswith("unknown to the exchange")
                assert len(partial) >= 1

    check()


def test_records_are_told_apart() -> None:
    """What a pipeline yields carries bars, gaps, trades and watermarks, and is false if empty."""
    trade = AggTrade(SYMBOL, 1, 1.0, 1.0, 1, 1, START, False)
    assert not Batch()
    assert Batch(trades=[trade])
    first, second = Batch(), Batch()
    first.trades.append(trade)
    assert not second.trades, "batches share nothing"
