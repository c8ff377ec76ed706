"""From files, the archive and REST into the store: nothing lost, nothing twice, all of it told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from archive_server import Answer, ArchiveServer, as_read, serve_klines, trades_frame
from factories import make_bars

from microstream_lab.bars import bars_from_trades
from microstream_lab.errors import (
    ChecksumError,
    DataError,
    GeoBlockedError,
    OfflineError,
    SettingsError,
)
from microstream_lab.ingest import IngestReport, import_path, ingest
from microstream_lab.market.files import find_files, read_agg_trades, write_agg_trades, write_klines
from microstream_lab.market.packed import read_content
from microstream_lab.schema import Gap, as_micros
from microstream_lab.settings import Settings
from microstream_lab.store import Store

NOW = "2024-03-03T12:00:30"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.duckdb")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        monkeypatch.setenv("BINANCE_ARCHIVE_URL", server.url)
        monkeypatch.setenv("BINANCE_REST_URL", server.url)
        yield server


def publish(server: ArchiveServer, bars: pd.DataFrame, folder: Path, *days: str) -> None:
    """February as a month, the given days of March singly, everything over REST."""
    server.publish_bars(bars[bars.index < "2024-03-01"], folder, monthly=True)
    for day in days:
        server.publish_bars(bars[bars.index.strftime("%Y-%m-%d") == day], folder, monthly=False)
    serve_klines(server, bars, now=NOW)


def hours() -> pd.DataFrame:
    return make_bars(33 * 24, interval="1h", start="2024-01-31")


def bring(store: Store, start: str | None, end: str | None = None, **options: Any) -> IngestReport:
    def clock() -> float:
        return as_micros(NOW) / 1e6

    return ingest(store, "BTCUSDT", "1h", start, end, progress=False, clock=clock, **options)


# Files.


def test_klines_of_a_folder_land_once(store: Store, tmp_path: Path) -> None:
    bars = make_bars(100, interval="1h", start="2024-01-30")
    write_klines(bars, tmp_path / "in")
    report = import_path(store, tmp_path / "in", progress=False)
    assert (len(report.files), report.counts.new) == (2, 100)
    assert report.coverage[0].n_missing == 0
    assert import_path(store, tmp_path / "in", progress=False).counts.new == 0
    stored = store.bars("BTCUSDT", "1h")
    pd.testing.assert_frame_equal(stored, as_read(bars), check_exact=True, check_freq=False)


def test_bad_file_stops_the_import_and_leaves_the_files_before_it(
    store: Store, tmp_path: Path
) -> None:
    first, second = write_klines(make_bars(100, interval="1h", start="2024-01-30"), tmp_path / "in")
    second.write_bytes(second.read_bytes()[:-5])
    with pytest.raises(ChecksumError, match=r"BTCUSDT-1h-2024-02\.zip"):
        import_path(store, tmp_path / "in", progress=False)
    assert len(store.bars("BTCUSDT", "1h")) == 48
    assert first.is_file()


def test_trades_become_the_bars_they_make_over_midnight(store: Store, tmp_path: Path) -> None:
    trades = trades_frame(2_000, start="2024-01-01T23:55:10")
    write_agg_trades(trades, tmp_path / "in")
    report = import_path(store, tmp_path / "in", interval="1m", progress=False)
    expected = bars_from_trades(trades, "1m", until="2024-01-03")
    stored = store.bars("BTCUSDT", "1m")
    pd.testing.assert_frame_equal(stored, expected, check_exact=True, check_freq=False)
    assert (stored["quality"] == "complete").all()
    assert (len(report.files), report.n_gaps) == (2, 0)
    assert import_path(store, tmp_path / "in", interval="1m", progress=False).counts.new == 0


def test_quiet_start_of_a_day_takes_its_price_from_the_day_before(
    store: Store, tmp_path: Path
) -> None:
    trades = trades_frame(60, start="2024-01-01T23:59:50")
    midnight = pd.Timestamp("2024-01-02", tz="UTC")
    late = trades["trade_time"] >= midnight
    trades.loc[late, "trade_time"] += pd.Timedelta("5min")
    write_agg_trades(trades, tmp_path / "in")
    import_path(store, tmp_path / "in", interval="1m", progress=False)
    stored = store.bars("BTCUSDT", "1m", end="2024-01-02T00:10")
    assert len(stored) == 11
    quiet = stored.loc["2024-01-02T00:00":"2024-01-02T00:04"]
    assert (quiet["volume"] == 0).all()
    assert (quiet["close"] == trades.loc[~late, "price"].iloc[-1]).all()


def test_hole_in_the_ids_is_put_on_record_and_its_bars_are_partial(
    store: Store, tmp_path: Path
) -> None:
    trades = trades_frame(200, start="2024-01-01T23:58:00").drop(index=range(50, 58))
    write_agg_trades(trades, tmp_path / "in")
    report = import_path(store, tmp_path / "in", interval="1s", progress=False)
    (gap,) = store.gaps("BTCUSDT").to_dict("records")
    assert (gap["from_id"], gap["to_id"]) == (1_050, 1_057)
    assert gap["repaired_at"] is pd.NaT
    bars = store.bars("BTCUSDT", "1s")
    partial = bars.index[bars["quality"] == "partial"]
    assert partial.strftime("%H:%M:%S").tolist() == ["23:58:12", "23:58:13", "23:58:14"]
    assert report.n_gaps == 1
    assert "1 gap in the trade ids" in report.summary()


def test_import_again_does_not_open_a_gap_that_was_repaired(store: Store, tmp_path: Path) -> None:
    trades = trades_frame(200, start="2024-01-01T23:58:00").drop(index=range(50, 58))
    write_agg_trades(trades, tmp_path / "in")
    import_path(store, tmp_path / "in", interval="1s", progress=False)
    store.write_gaps([Gap("BTCUSDT", 1_050, 1_057, 1, 2, "x", 3, repaired_at=4, n_repaired=8)])
    import_path(store, tmp_path / "in", interval="1s", progress=False)
    (gap,) = store.gaps("BTCUSDT", start="1970-01-01").to_dict("records")
    assert gap["n_repaired"] == 8


def test_ids_missing_between_two_days_make_the_bars_on_both_sides_partial(
    store: Store, tmp_path: Path
) -> None:
    trades = trades_frame(200, start="2024-01-01T23:59:30")
    trades.loc[:117, "trade_time"] -= pd.Timedelta("1min")  # nothing trades at 23:59
    midnight = int((trades["trade_time"] < pd.Timestamp("2024-01-02", tz="UTC")).sum())
    write_agg_trades(trades.drop(index=range(midnight - 2, midnight + 3)), tmp_path / "in")
    import_path(store, tmp_path / "in", interval="1m", progress=False)
    bars = store.bars("BTCUSDT", "1m")
    partial = bars.index[bars["quality"] == "partial"]
    assert partial.strftime("%H:%M").tolist() == ["23:58", "23:59", "00:00"]
    (gap,) = store.gaps("BTCUSDT").to_dict("records")
    assert (gap["from_id"], gap["to_id"]) == (1_000 + midnight - 2, 1_000 + midnight + 2)
    again = import_path(store, tmp_path / "in", interval="1m", progress=False)
    assert (again.counts.unchanged, again.n_gaps) == (again.counts.rows, 0)


def test_bad_file_of_trades_leaves_those_before_it(store: Store, tmp_path: Path) -> None:
    _, second = write_agg_trades(trades_frame(100), tmp_path / "in")
    second.write_bytes(b"")
    with pytest.raises(ChecksumError):
        import_path(store, tmp_path / "in", interval="1s", progress=False)
    assert len(store.bars("BTCUSDT", "1s")) == 10


def test_days_that_are_not_there_are_missing_and_no_gap(store: Store, tmp_path: Path) -> None:
    for start in ("2024-01-01T12:00", "2024-01-03T12:00"):
        write_agg_trades(trades_frame(20, start=start), tmp_path / "in")
    trades = read_agg_trades(find_files(tmp_path / "in")[1])
    trades[["agg_id", "first_id", "last_id"]] += 10_000
    write_agg_trades(trades, tmp_path / "in")
    report = import_path(store, tmp_path / "in", interval="1m", progress=False)
    assert report.n_gaps == 0
    assert (store.bars("BTCUSDT", "1m")["quality"] == "complete").all()
    assert report.coverage[0].n_missing == 1440 + 720


def test_trades_without_a_date_in_the_name_have_open_ends(store: Store, tmp_path: Path) -> None:
    (file,) = write_agg_trades(trades_frame(50, start="2024-01-01T23:58:00"), tmp_path)
    bare = tmp_path / "BTCUSDT-aggTrades.csv"
    bare.write_bytes(read_content(file).text)
    import_path(store, bare, interval="1s", progress=False)
    quality = store.bars("BTCUSDT", "1s")["quality"].tolist()
    assert (quality[0], quality[-1], set(quality[1:-1])) == ("partial", "partial", {"complete"})


def test_folder_may_hold_klines_and_trades_of_several_symbols(store: Store, tmp_path: Path) -> None:
    write_klines(make_bars(10, symbol="ETHUSDT"), tmp_path)
    for symbol in ("BTCUSDT", "ADAUSDT"):
        trades = trades_frame(20, start="2024-01-01T12:00")
        trades["symbol"] = pd.Categorical([symbol] * 20)
        write_agg_trades(trades, tmp_path)
    report = import_path(store, tmp_path, progress=False)
    assert {(each.symbol, each.interval) for each in report.files} == {
        *(("ETHUSDT", "1m"), ("BTCUSDT", "1m"), ("ADAUSDT", "1m"))
    }


# Downloads.


def test_range_comes_from_month_days_and_rest_without_a_seam(
    store: Store, server: ArchiveServer, tmp_path: Path
) -> None:
    bars = hours()
    publish(server, bars, tmp_path, "2024-03-01")
    report = bring(store, "2024-02-01", "2024-04-01")
    assert [each.file.name for each in report.files] == [
        "BTCUSDT-1h-2024-02.zip",
        "BTCUSDT-1h-2024-03-01.zip",
    ]
    assert report.missing_days == (date(2024, 3, 2), date(2024, 3, 3))
    assert report.rest.new == 36
    (coverage,) = report.coverage
    assert (coverage.n_missing, coverage.last) == (0, pd.Timestamp("2024-03-03T11:00", tz="UTC"))
    stored = store.bars("BTCUSDT", "1h")
    expected = bars["2024-02-01":"2024-03-03T11:00"]
    pd.testing.assert_frame_equal(stored, as_read(expected), check_exact=True, check_freq=False)
    assert "over REST: 36 rows" in report.summary()


def test_again_nothing_is_new_and_no_file_is_fetched(
    store: Store, server: ArchiveServer, tmp_path: Path
) -> None:
    publish(server, hours(), tmp_path, "2024-03-01")
    bring(store, "2024-02-01")
    server.requests.clear()
    again = bring(store, "2024-02-01")
    assert again.counts.new == 0
    assert [path for path, _ in server.requests if path.endswith(".zip")] == []


def test_without_a_start_it_goes_on_from_the_last_bar_stored(
    store: Store, server: ArchiveServer, tmp_path: Path
) -> None:
    bars = hours()
    publish(server, bars, tmp_path, "2024-03-01", "2024-03-02")
    store.write_bars(bars[:"2024-03-01T05:00"])
    report = bring(store, None)
    assert not any("2024-02" in path for path, _ in server.requests)
    assert report.coverage[0].n_missing == 0
    assert store.coverage("BTCUSDT", "1h").n_missing == 0


def test_day_that_neither_archive_nor_rest_has_is_told_as_missing(
    store: Store, server: ArchiveServer, tmp_path: Path
) -> None:
    bars = hours()
    hole = (bars.index >= "2024-03-01") & (bars.index < "2024-03-02")
    publish(server, bars[~hole], tmp_path, "2024-03-02")
    report = bring(store, "2024-02-01")
    assert report.missing_days[0] == date(2024, 3, 1)
    (missing,) = report.coverage[0].missing
    assert (missing.start, missing.n_bars) == (pd.Timestamp("2024-03-01", tz="UTC"), 24)


def test_days_before_the_listing_are_not_asked_for(
    store: Store, server: ArchiveServer, tmp_path: Path
) -> None:
    publish(server, hours(), tmp_path, "2024-03-01", "2024-03-02")
    report = bring(store, "2017-01-01")
    assert not any("2023" in path or "2017" in path for path, _ in server.requests)
    assert report.coverage[0].first == pd.Timestamp("2024-01-31", tz="UTC")


def test_archive_alone_is_stored_where_rest_is_not_served(
    store: Store, server: ArchiveServer, tmp_path: Path
) -> None:
    publish(server, hours(), tmp_path)
    server.routes["/api/v3/klines"] = lambda query: Answer(status=451)
    with pytest.raises(GeoBlockedError):
        bring(store, "2024-02-01")
    assert store.coverage("BTCUSDT", "1h").present == 29 * 24


def test_archive_alone_is_enough_where_it_has_every_day(
    store: Store, server: ArchiveServer, tmp_path: Path
) -> None:
    publish(server, hours(), tmp_path)
    server.routes["/api/v3/klines"] = lambda query: Answer(status=451)
    assert bring(store, "2024-02-01", "2024-03-01").coverage[0].n_missing == 0


def test_unknown_symbol_is_told_before_anything_is_fetched(
    store: Store, server: ArchiveServer
) -> None:
    body = b'{"code":-1121,"msg":"Invalid symbol."}'
    server.routes["/api/v3/klines"] = lambda query: Answer(status=400, body=body)
    with pytest.raises(SettingsError, match="BTCUSDT"):
        bring(store, "2024-02-01")
    assert len(server.requests) == 1


def test_range_without_any_bar_is_an_error_and_makes_no_store(
    store: Store, server: ArchiveServer
) -> None:
    serve_klines(server, make_bars(2, start="2020-01-01"), now=NOW)
    server.routes["/api/v3/klines"] = lambda query: []
    with pytest.raises(DataError, match="no bars in the archive nor over REST"):
        bring(store, "2024-03-01")
    assert not store.path.exists()


@pytest.mark.parametrize(
    ("start", "end"),
    [("2024-03-02", "2024-03-01"), ("2024-03-03T12:00", None), ("2030-01-01", None)],
)
def test_range_without_a_closed_bar_is_refused(store: Store, start: str, end: str | None) -> None:
    with pytest.raises(SettingsError, match="expected closed bars"):
        bring(store, start, end)


def test_simulated_market_cannot_be_downloaded(store: Store) -> None:
    with pytest.raises(SettingsError, match="'sim'"):
        bring(store, "2024-03-01", market="sim")


@pytest.mark.parametrize(
    ("symbol", "start", "complaint"),
    [
        ("BTC/USDT", None, "symbol: found 'BTC/USDT'"),
        ("BTCUSDT", "01/02/2022", "found '01/02/2022'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_dialled(
    store: Store, symbol: str, start: str | None, complaint: str
) -> None:
    nowhere = Settings(binance_rest_url="https://api.binance.com", microstream_offline=True)
    with pytest.raises(SettingsError, match=complaint):
        ingest(store, symbol, "1m", start, settings=nowhere, progress=False)
    with pytest.raises(OfflineError):
        ingest(store, "BTCUSDT", "1m", "2022-01-01", settings=nowhere, progress=False)


def test_it_works_inside_a_running_loop_as_in_a_notebook(
    store: Store, server: ArchiveServer, tmp_path: Path
) -> None:
    publish(server, hours(), tmp_path)

    async def cell() -> IngestReport:
        return bring(store, "2024-02-01", "2024-03-01")

    assert asyncio.run(cell()).counts.new == 29 * 24


# Real files.


@pytest.mark.realdata
def test_real_year_imports_whole_and_only_once(store: Store, real_data: Path) -> None:
    report = import_path(store, real_data / "klines_1m", "um", progress=False)
    (coverage,) = report.coverage
    assert (report.counts.new, coverage.ratio, coverage.zero_volume) == (525_600, 1.0, 64)
    january = real_data / "klines_1m" / "BTCUSDT-1m-2022-01.zip"
    again = import_path(store, january, "um", progress=False)
    assert (again.counts.new, again.counts.unchanged) == (0, 44_640)


@pytest.mark.realdata
def test_real_trades_make_a_whole_day_of_bars(store: Store, real_data: Path) -> None:
    report = import_path(store, f"{real_data}/trades/*.zip", interval="1m", progress=False)
    bars = store.bars("BTCUSDC", "1m")
    (file,) = find_files(f"{real_data}/trades/*.zip")
    trades = read_agg_trades(file)
    assert len(bars) == 1440
    assert (bars["quality"] == "complete").all()
    assert report.n_gaps == 0
    n_single = (trades["last_id"] - trades["first_id"] + 1).sum()
    assert bars["trades"].sum() == n_single
    assert np.isclose(bars["volume"].sum(), trades["quantity"].sum(), rtol=1e-12)
