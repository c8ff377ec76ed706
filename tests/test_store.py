from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from factories import make_bars
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_files import write_klines

from microstream_lab.errors import DataError, SettingsError, StoreError
from microstream_lab.market.files import read_klines
from microstream_lab.schema import (
    BAR_COLUMNS,
    PARTIAL,
    REPAIRED,
    TIME_DTYPE,
    Bar,
    Gap,
    as_micros,
    iter_bars,
    require_bars,
)
from microstream_lab.store import MissingRange, Run, Store, WriteCounts, journal, transaction

MINUTE = 60_000_000


def all_rows(store: Store) -> dict[str, list[str]]:
    """Every row of every table as text, whatever order it is stored in."""
    names = store.sql("SELECT table_name FROM duckdb_tables() ORDER BY 1")["table_name"]
    return {
        name: store.sql(f"SELECT t::VARCHAR AS line FROM {name} AS t ORDER BY 1")["line"].tolist()
        for name in names
    }


def assert_same_bars(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    # Categories apart: a hand-made frame lists only the qualities it has.
    pd.testing.assert_frame_equal(found, expected, check_freq=False, check_categorical=False)


def one_bar(**changes: object) -> Bar:
    facts: dict[str, object] = {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "open_time": as_micros("2024-01-01"),
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 5.0,
        "quote_volume": 50.0,
        "trades": 7,
        "taker_buy_base": 2.0,
        "taker_buy_quote": 20.0,
    }
    return Bar(**{**facts, **changes})  # type: ignore[arg-type]


def stored(store: Store) -> tuple[float, str, int]:
    row = store.sql("SELECT close, quality, revision FROM bars").iloc[0]
    return float(row["close"]), str(row["quality"]), int(row["revision"])


# Bars


def test_bars_come_back_as_they_were_written(store: Store) -> None:
    bars = make_bars(500)
    assert store.write_bars(bars) == WriteCounts(rows=500, new=500)
    assert_same_bars(store.bars("BTCUSDT", "1m"), bars)


def test_bars_written_as_records_equal_those_written_as_a_frame(
    store: Store, tmp_path: Path
) -> None:
    bars = make_bars(50)
    other = Store(tmp_path / "records.duckdb")
    store.write_bars(bars)
    other.write_bars(list(iter_bars(bars)))
    assert all_rows(other)["bars"] == all_rows(store)["bars"]


def test_bars_of_a_span_include_its_start_and_exclude_its_end(store: Store) -> None:
    bars = make_bars(100)
    store.write_bars(bars)
    part = store.bars("BTCUSDT", "1m", bars.index[10], str(bars.index[20]))
    pd.testing.assert_index_equal(part.index, bars.index[10:20])
    assert len(store.bars("BTCUSDT", "1m", as_micros(bars.index[10]))) == 90


def test_a_span_without_bars_gives_an_empty_frame_of_the_same_types(store: Store) -> None:
    store.write_bars(make_bars(10))
    full, empty = store.bars("BTCUSDT", "1m"), store.bars("BTCUSDT", "1m", "2030-01-01")
    assert len(empty) == 0
    assert tuple(empty.columns) == BAR_COLUMNS
    assert empty.index.dtype == TIME_DTYPE
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_times_are_utc_whatever_the_zone_of_the_machine(
    store: Store, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    bars = make_bars(3)
    store.write_bars(bars)
    pd.testing.assert_index_equal(store.bars("BTCUSDT", "1m").index, bars.index)
    assert store.sql("SELECT min(open_time) AS t FROM bars")["t"].dtype == TIME_DTYPE
    assert store.sql("SELECT min(open_time)::VARCHAR AS t FROM bars")["t"][0].endswith("+00")


def test_symbols_and_markets_do_not_overwrite_each_other(store: Store) -> None:
    store.write_bars(make_bars(20))
    assert store.write_bars(make_bars(20, seed=1, market="um")).new == 20
    assert store.write_bars(make_bars(20, seed=2, symbol="ETHUSDT")).new == 20
    assert_same_bars(store.bars("BTCUSDT", "1m"), make_bars(20))
    assert store.series()["bars"].tolist() == [20, 20, 20]


def test_writing_the_same_bars_again_changes_nothing(store: Store) -> None:
    bars = make_bars(50)
    store.write_bars(bars.iloc[:30])
    before = all_rows(store)
    assert store.write_bars(bars.iloc[:30]) == WriteCounts(rows=30, unchanged=30)
    assert all_rows(store) == before
    assert store.write_bars(bars) == WriteCounts(rows=50, new=20, unchanged=30)


def test_a_differing_bar_is_kept_as_stored_and_counted(store: Store) -> None:
    store.write_bars([one_bar()])
    assert store.write_bars([one_bar(close=9.5)]) == WriteCounts(rows=1, differing=1)
    assert stored(store) == (11.0, "complete", 0)


@pytest.mark.parametrize(
    ("there", "comes", "then"),
    [
        ({"quality": PARTIAL}, {"close": 9.5}, (9.5, "complete", 1)),
        ({"quality": PARTIAL}, {}, (11.0, "complete", 1)),
        ({"quality": PARTIAL}, {"quality": PARTIAL, "trades": 9}, (11.0, "partial", 1)),
        ({"quality": PARTIAL}, {"quality": PARTIAL, "trades": 3}, (11.0, "partial", 0)),
        ({}, {"close": 9.5, "quality": REPAIRED}, (9.5, "repaired", 1)),
        ({}, {"close": 9.5, "revision": 3}, (9.5, "complete", 3)),
        ({"revision": 3}, {"close": 9.5, "revision": 2}, (11.0, "complete", 3)),
        ({"quality": REPAIRED}, {}, (11.0, "repaired", 0)),
    ],
)
def test_a_stored_bar_gives_way_to_a_better_one_only(
    store: Store,
    there: dict[str, object],
    comes: dict[str, object],
    then: tuple[float, str, int],
) -> None:
    store.write_bars([one_bar(**there)])
    store.write_bars([one_bar(**comes)])
    assert stored(store) == then
    store.write_bars([one_bar(**comes)])
    assert stored(store) == then


def test_replace_overwrites_what_differs_under_a_higher_revision(store: Store) -> None:
    store.write_bars([one_bar()])
    assert store.write_bars([one_bar(close=9.5)], replace=True).replaced == 1
    assert stored(store) == (9.5, "complete", 1)
    assert store.write_bars([one_bar(close=9.5)], replace=True).unchanged == 1


def test_of_a_bar_given_twice_the_last_revision_is_stored(store: Store) -> None:
    store.write_bars([one_bar(close=9.5, revision=1), one_bar()])
    assert stored(store) == (9.5, "complete", 1)


@pytest.mark.parametrize(
    ("bar", "error"),
    [
        (one_bar(close=math.nan), DataError),
        (one_bar(volume=math.inf), DataError),
        (one_bar(open_time=as_micros("2024-01-01") + 1), DataError),
        (one_bar(interval="7m"), SettingsError),
        (one_bar(market="moon"), SettingsError),
    ],
)
def test_an_impossible_bar_is_refused_and_the_store_stays_as_it_was(
    store: Store, bar: Bar, error: type[Exception]
) -> None:
    store.write_bars(make_bars(5, start="2023-01-01"))
    before = all_rows(store)
    with pytest.raises(error):
        store.write_bars([one_bar(), bar])
    assert all_rows(store) == before


def test_nothing_to_write_makes_no_file(absent: Store) -> None:
    assert absent.write_bars([]) == WriteCounts()
    assert absent.write_bars(make_bars(5).iloc[:0]) == WriteCounts()
    assert not absent.path.exists()


def test_an_absent_store_says_how_to_make_one(absent: Store) -> None:
    with pytest.raises(StoreError, match=r"no store at .*absent\.duckdb; .*microstream ingest"):
        absent.bars("BTCUSDT", "1m")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), min_size=1, max_size=3))
def test_overlapping_pieces_in_any_order_store_each_bar_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, int]]
) -> None:
    bars = make_bars(60)
    store = Store(tmp_path_factory.mktemp("pieces") / "store.duckdb")
    wanted: set[int] = set()
    for start, length in cuts:
        piece = range(60)[start : start + length]
        counts = store.write_bars(bars.iloc[start : start + length])
        assert counts.new == len(set(piece) - wanted)
        wanted |= set(piece)
    expected = bars.iloc[sorted(wanted)]
    assert_same_bars(store.bars("BTCUSDT", "1m"), expected)


# Import


def test_an_import_stores_what_the_files_hold_and_again_adds_nothing(
    store: Store, tmp_path: Path
) -> None:
    bars = make_bars(2880)
    for day, rows in bars.groupby(bars.index.strftime("%Y-%m-%d")):
        write_klines(tmp_path / "files", rows, f"BTCUSDT-1m-{day}.csv")
    report = store.import_klines(tmp_path / "files")
    assert report.counts == WriteCounts(rows=2880, new=2880)
    assert report.files[0].file.name == "BTCUSDT-1m-2024-01-01.csv"
    assert_same_bars(store.bars("BTCUSDT", "1m"), bars)
    before = all_rows(store)
    assert store.import_klines(tmp_path / "files").counts == WriteCounts(2880, unchanged=2880)
    assert all_rows(store) == before


def test_a_bad_file_is_refused_whole_and_those_before_it_are_stored(
    store: Store, tmp_path: Path
) -> None:
    bars = make_bars(2880)
    write_klines(tmp_path / "files", bars.iloc[:1440], "BTCUSDT-1m-2024-01-01.csv")
    bad = write_klines(tmp_path / "files", bars.iloc[1440:], "BTCUSDT-1m-2024-01-02.csv")
    bad.write_text(bad.read_text().replace("\n", ",9\n", 1))
    with pytest.raises(DataError, match=r"BTCUSDT-1m-2024-01-02\.csv, line 1: found 13 columns"):
        store.import_klines(tmp_path / "files")
    assert len(store.bars("BTCUSDT", "1m")) == 1440
    before = all_rows(store)
    with pytest.raises(DataError):
        store.import_klines(bad)
    assert all_rows(store) == before


def test_a_refused_first_file_makes_no_store(absent: Store, tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT-1m-2024-01-01.csv").write_text("")
    with pytest.raises(DataError):
        absent.import_klines(tmp_path / "BTCUSDT-1m-2024-01-01.csv")
    assert not absent.path.exists()


def test_an_import_completes_partial_bars_and_counts_those_that_differ(
    store: Store, tmp_path: Path
) -> None:
    bars = make_bars(1440)
    live = bars.assign(quality=bars["quality"].astype(str))
    live.iloc[3, live.columns.get_loc("volume")] *= 2
    live.iloc[[7, 8], live.columns.get_loc("quality")] = PARTIAL
    store.write_bars(live)
    write_klines(tmp_path / "files", bars, "BTCUSDT-1m-2024-01-01.csv")
    report = store.import_klines(tmp_path / "files")
    assert report.counts == WriteCounts(1440, unchanged=1437, differing=1, replaced=2)
    assert report.coverage[0].partial == 0
    assert store.import_klines(tmp_path / "files", replace=True).counts.replaced == 1
    assert_same_bars(store.bars("BTCUSDT", "1m"), bars)


def test_progress_sees_every_file(store: Store, tmp_path: Path) -> None:
    write_klines(tmp_path / "files", make_bars(1440), "BTCUSDT-1m-2024-01-01.csv")
    seen: list[Path] = []
    store.import_klines(tmp_path / "files", progress=lambda files: seen.extend(files) or files)
    assert [file.name for file in seen] == ["BTCUSDT-1m-2024-01-01.csv"]


@pytest.mark.realdata
def test_a_year_of_real_minutes_is_imported_whole(store: Store, real_data: Path) -> None:
    report = store.import_klines(real_data / "klines_1m", market="um")
    (coverage,) = report.coverage
    assert (coverage.expected, coverage.present, coverage.zero_volume) == (525_600, 525_600, 64)
    assert coverage.missing == ()
    assert store.import_klines(real_data / "klines_1m", market="um").counts.new == 0
    january = real_data / "klines_1m" / "BTCUSDT-1m-2022-01.zip"
    pd.testing.assert_frame_equal(
        store.bars("BTCUSDT", "1m", "2022-01-01", "2022-02-01", market="um"),
        read_klines(january, market="um"),
    )


@pytest.mark.realdata
def test_real_bars_join_over_the_switch_from_ms_to_us(store: Store, real_data: Path) -> None:
    (coverage,) = store.import_klines(real_data / "klines_5m" / "*.zip").coverage
    assert (coverage.present, coverage.n_missing) == (148_896, 0)


# Coverage


def test_coverage_tells_missing_ranges_and_quiet_bars_apart(store: Store) -> None:
    bars = make_bars(100)
    bars.iloc[[20, 21], bars.columns.get_loc("volume")] = 0.0
    store.write_bars(bars.drop(bars.index[[5, 50, 51, 52]]))
    coverage = store.coverage("BTCUSDT", "1m")
    assert (coverage.expected, coverage.present, coverage.n_missing) == (100, 96, 4)
    assert coverage.zero_volume == 2
    assert coverage.missing == (
        MissingRange(bars.index[5], bars.index[6], 1),
        MissingRange(bars.index[50], bars.index[53], 3),
    )
    assert coverage.ratio == 0.96
    assert "4 missing in 2 ranges, 2 with zero volume" in coverage.summary()
    assert coverage.missing_frame()["n_bars"].tolist() == [1, 3]


def test_coverage_between_given_times_counts_what_lies_outside_the_stored(store: Store) -> None:
    store.write_bars(make_bars(60, start="2024-01-01 01:00"))
    coverage = store.coverage("BTCUSDT", "1m", start="2024-01-01", end="2024-01-01 03:00")
    assert [hole.n_bars for hole in coverage.missing] == [60, 60]
    assert coverage.expected == 180


def test_coverage_of_nothing_is_nothing_or_all_that_was_asked_for(store: Store) -> None:
    store.write_bars(make_bars(1))
    nothing = store.coverage("ETHUSDT", "1m")
    assert (nothing.expected, nothing.first, nothing.missing) == (0, None, ())
    assert math.isnan(nothing.ratio)
    asked = store.coverage("ETHUSDT", "1m", start="2024-01-01", end="2024-01-02")
    assert (asked.expected, asked.n_missing, len(asked.missing)) == (1440, 1440, 1)


@settings(max_examples=8, deadline=None)
@given(present=st.sets(st.integers(0, 40), min_size=1))
def test_present_and_missing_bars_add_up_to_the_expected(
    tmp_path_factory: pytest.TempPathFactory, present: set[int]
) -> None:
    bars, rows = make_bars(41), sorted(present)
    store = Store(tmp_path_factory.mktemp("coverage") / "store.duckdb")
    store.write_bars(bars.iloc[rows])
    coverage = store.coverage("BTCUSDT", "1m")
    missing = [
        stamp
        for hole in coverage.missing
        for stamp in pd.date_range(hole.start, hole.end, freq="1min", inclusive="left")
    ]
    absent = sorted(set(range(rows[0], rows[-1] + 1)) - present)
    assert missing == bars.index[absent].tolist()
    assert coverage.n_missing == len(missing) == sum(hole.n_bars for hole in coverage.missing)


# Queries and export


def test_sql_takes_parameters_by_place_and_by_name(store: Store) -> None:
    store.write_bars(make_bars(10))
    query = "SELECT count(*) AS n FROM bars WHERE volume > "
    by_place = store.sql(query + "? AND trades > ?", [0, 0])
    by_name = store.sql(query + "$volume", {"volume": 0})
    assert by_place["n"].tolist() == by_name["n"].tolist() == [10]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -7, 2**63 - 1, 2**100, 0.1, -0.0, 1e-310, math.inf, b"a\x00'\xff"),
        *("", "it's", 'a "b"; --', "back\\slash\nline", "\u20bf $x ?", Decimal("1.50")),
        *(date(2024, 2, 29), datetime(2024, 1, 1, 12, 0, 0, 1), timedelta(days=1, microseconds=3)),
        *([1.5, None, math.pi], ["it's", "x, y", "[z]", "", "null"], [[1], []], {"a": ["b'c"]}),
    ],
    ids=repr,
)
def test_a_value_of_a_query_arrives_as_it_was(store: Store, value: object) -> None:
    store.write_bars(make_bars(1))
    by_name = store.sql("SELECT $value AS value, typeof($value) AS kind", {"value": value})
    by_place = store.sql("SELECT ? AS value, typeof($1) AS kind", [value])
    connection = duckdb.connect()
    expected = connection.execute("SELECT $1 AS value, typeof($1) AS kind", [value])
    expected_frame = expected.to_arrow_table().to_pandas(maps_as_pydicts="strict")
    pd.testing.assert_frame_equal(by_name, expected_frame, check_exact=True)
    pd.testing.assert_frame_equal(by_place, expected_frame, check_exact=True)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM bars",
        "UPDATE bars SET close = 0",
        "INSERT INTO bars SELECT * FROM bars",
        "DROP TABLE bars",
        "COPY bars TO 'bars.csv'",
        "ATTACH 'other.duckdb'",
        "SELECT 1; DELETE FROM bars",
        "EXPLAIN ANALYZE DELETE FROM bars",
        "SET threads = 1",
        "",
        "SELEC 1",
        "SELECT * FROM nowhere",
    ],
)
def test_sql_refuses_what_is_not_one_reading_statement(store: Store, query: str) -> None:
    store.write_bars(make_bars(3))
    before = all_rows(store)
    with pytest.raises(StoreError):
        store.sql(query)
    assert all_rows(store) == before


def test_the_export_holds_every_bar_in_a_folder_of_its_month(store: Store, tmp_path: Path) -> None:
    store.write_bars(make_bars(1500, start="2024-01-31 00:00"))
    store.write_bars(make_bars(10, symbol="ETHUSDT"))
    folder = tmp_path / "it's parquet"
    for _ in range(2):
        files = store.export_parquet(folder)
    names = {str(file.relative_to(folder)) for file in files}
    assert names == {
        "market=spot/symbol=BTCUSDT/interval=1m/month=2024-01/bars.parquet",
        "market=spot/symbol=BTCUSDT/interval=1m/month=2024-02/bars.parquet",
        "market=spot/symbol=ETHUSDT/interval=1m/month=2024-01/bars.parquet",
    }
    assert {file for file in folder.rglob("*") if file.is_file()} == set(files)
    back = pd.read_parquet(folder)
    back = back[back["symbol"] == "BTCUSDT"].set_index("open_time").sort_index()
    expected = store.bars("BTCUSDT", "1m")
    for name in ("close", "volume", "trades"):
        np.testing.assert_array_equal(back[name], expected[name])
    assert back.index.equals(expected.index)


# Gaps and runs


def test_a_write_that_fails_half_way_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_bars(make_bars(5))
    before = all_rows(store)
    t0 = as_micros("2024-01-01")
    gap = Gap("BTCUSDT", 10, 19, t0, t0 + MINUTE, "disconnect", t0 + MINUTE)

    def broken(*_: object) -> None:
        raise StoreError("broken")

    monkeypatch.setattr(journal, "write_watermarks", broken)
    with pytest.raises(StoreError, match="broken"):
        store.write_live(list(iter_bars(make_bars(9))), [gap], [])
    assert all_rows(store) == before
    monkeypatch.undo()
    assert store.write_live(list(iter_bars(make_bars(9))), [gap], []).new == 4


def test_a_statement_that_fails_leaves_nothing_of_its_transaction(store: Store) -> None:
    store.write_bars(make_bars(5))
    before = all_rows(store)

    def write() -> None:
        with store._file.writing() as connection, transaction(connection):
            connection.register("incoming", pa.table({"n": [1]}))
            connection.execute("DELETE FROM bars")
            connection.execute("INSERT INTO nowhere FROM incoming")

    with pytest.raises(StoreError, match="nowhere"):
        write()
    assert all_rows(store) == before
    assert store.write_bars(make_bars(6)).new == 1


def test_a_repaired_gap_is_brought_up_to_date(store: Store) -> None:
    t0 = as_micros("2024-01-01")
    gap = Gap("BTCUSDT", 10, 19, t0, t0 + MINUTE, "disconnect", t0 + MINUTE)
    assert store.write_gaps([gap]).new == 1
    assert store.write_gaps([gap]).unchanged == 1
    assert store.gaps("BTCUSDT")["repaired_at"].isna().all()
    repaired = Gap(*gap.__reduce__()[1][:7], repaired_at=t0 + 2 * MINUTE, n_repaired=10)
    assert store.write_gaps([repaired]).replaced == 1
    (row,) = store.gaps("BTCUSDT").to_dict("records")
    assert (row["n_repaired"], row["cause"]) == (10, "disconnect")
    assert row["repaired_at"] == pd.Timestamp("2024-01-01 00:02", tz="UTC")


def test_gaps_are_those_that_touch_the_span(store: Store) -> None:
    t0 = as_micros("2024-01-01")
    store.write_gaps(
        Gap("BTCUSDT", n, n, t0 + n * MINUTE, t0 + (n + 1) * MINUTE, "x", t0) for n in range(5)
    )
    assert store.gaps("BTCUSDT", t0 + 2 * MINUTE, t0 + 3 * MINUTE)["from_id"].tolist() == [1, 2]
    assert len(store.gaps()) == 5
    assert store.gaps(market="um").empty


def test_a_run_is_one_row_from_start_to_end(store: Store) -> None:
    start = as_micros("2024-01-01")
    first = Run("r1", "02_train", start, parameters={"symbol": "BTCUSDT", "path": Path("a/b")})
    store.write_run(first)
    store.write_run(
        Run(
            *("r1", "02_train", start, "done", first.parameters),
            ended_at=start + MINUTE,
            metrics={"loglik": -1.5, "nothing": math.nan},
            report="report.html",
        )
    )
    store.write_run(Run("r2", "03_backtest", start + MINUTE, "failed", error="cell 4"))
    runs = store.runs()
    assert runs["run_id"].tolist() == ["r2", "r1"]
    row = store.runs(notebook="02_train").iloc[0]
    assert row["parameters"] == {"symbol": "BTCUSDT", "path": "a/b"}
    assert row["metrics"] == {"loglik": -1.5, "nothing": None}
    assert (row["status"], row["report"]) == ("done", "report.html")
    assert store.runs(status="failed")["error"].tolist() == ["cell 4"]
    assert store.runs(limit=1)["run_id"].tolist() == ["r2"]


def test_every_bars_frame_of_the_store_keeps_the_contract(store: Store) -> None:
    store.write_bars(make_bars(30, interval="1h", market="um"))
    require_bars(store.bars("BTCUSDT", "1h", market="um"))
