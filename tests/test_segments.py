from __future__ import annotations

import random
import stat
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from microstream_lab.errors import DataError
from microstream_lab.live.segments import Segments
from microstream_lab.schema import AggTrade

DAY = 86_400_000_000
T0 = 1_704_067_200_000_000


def make_trades(ids: range, symbol: str = "BTCUSDT", time: int = T0) -> list[AggTrade]:
    return [
        AggTrade(symbol, k, 100 + k / 100, k / 1_000, 2 * k, 2 * k + 1, time + k, k % 2 == 0)
        for k in ids
    ]


def ids_in(folder: Path) -> list[int]:
    """Ids on disk, as DuckDB reads them while anybody else may write."""
    rows = duckdb.sql(f"FROM '{folder}/**/*.parquet' SELECT agg_id ORDER BY agg_id").fetchall()
    return [row[0] for row in rows]


def test_trades_come_back_as_they_were_with_folders_as_columns(tmp_path: Path) -> None:
    trades = make_trades(range(10, 20))
    segments = Segments(tmp_path, "spot")
    segments.add(trades)
    (path,) = segments.write(everything=True)
    assert path.relative_to(tmp_path).as_posix() == (
        "market=spot/symbol=BTCUSDT/date=2024-01-01/10-19.parquet"
    )
    rows = duckdb.sql(
        f"FROM read_parquet('{tmp_path}/**/*.parquet', hive_partitioning = true) SELECT symbol, "
        "agg_id, price, quantity, first_id, last_id, epoch_us(trade_time), buyer_is_maker"
    ).fetchall()
    assert [AggTrade(*row) for row in rows] == trades
    assert segments.last_trade("BTCUSDT") == trades[-1]
    assert segments.last_trade("ETHUSDT") is None
    assert not [other for other in path.parent.iterdir() if other != path], "no draft stays"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_segments_end_with_the_day_and_at_holes_and_symbols_are_kept_apart(tmp_path: Path) -> None:
    segments = Segments(tmp_path, "spot")
    segments.add([*make_trades(range(5)), *make_trades(range(7, 9))])
    segments.add(make_trades(range(9, 11), time=T0 + DAY))
    segments.add(make_trades(range(3), "ETHUSDT"))
    names = {path.relative_to(tmp_path).as_posix() for path in segments.write(everything=True)}
    assert names == {
        "market=spot/symbol=BTCUSDT/date=2024-01-01/0-4.parquet",
        "market=spot/symbol=BTCUSDT/date=2024-01-01/7-8.parquet",
        "market=spot/symbol=BTCUSDT/date=2024-01-02/9-10.parquet",
        "market=spot/symbol=ETHUSDT/date=2024-01-01/0-2.parquet",
    }


def test_first_trades_are_written_at_once_and_later_ones_when_they_are_many(tmp_path: Path) -> None:
    segments = Segments(tmp_path, "spot", roll_trades=10)
    segments.add(make_trades(range(3)))
    assert len(segments.write()) == 1
    segments.add(make_trades(range(3, 12)))
    assert segments.write() == []
    assert segments.n_pending == 9
    segments.add(make_trades(range(12, 13)))
    assert len(segments.write()) == 1
    assert segments.n_pending == 0


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.booleans()), max_size=8))
def test_no_trade_is_written_twice_whatever_is_told_again(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]]
) -> None:
    folder, told = tmp_path_factory.mktemp("trades"), set()
    segments = Segments(folder, "spot")
    for start, n, is_restart in steps:
        trades = make_trades(range(start, start + n))
        random.Random(start).shuffle(trades)
        segments.add(trades)
        segments.write(everything=True)
        told |= {trade.agg_id for trade in trades}
        if is_restart:
            segments = Segments(folder, "spot")
    assert (ids_in(folder) if told else []) == sorted(told)


def test_folder_that_cannot_be_written_is_named_and_the_trades_wait(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    segments = Segments(blocked, "spot")
    segments.add(make_trades(range(3)))
    with pytest.raises(DataError, match="expected a folder that can be written"):
        segments.write(everything=True)
    assert segments.n_pending == 3
    blocked.unlink()
    assert len(segments.write(everything=True)) == 1


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "market=spot" / "symbol=BTCUSDT" / "date=2024-01-01"
    folder.mkdir(parents=True)
    (folder / "notes.parquet").write_text("not ours")
    segments = Segments(tmp_path, "spot")
    assert segments.last_trade("BTCUSDT") is None
    segments.add([replace(make_trades(range(1))[0], price=1.5)])
    assert len(segments.write(everything=True)) == 1
