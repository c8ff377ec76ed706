"""The vocabulary holds its own contract: times, grids, records and frames."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.schema import (
    BAR_VALUES,
    INTERVALS,
    as_micros,
    contiguous_runs,
    interval_us,
    iter_bars,
    require_bars,
)

NEW_YEAR = int(datetime(2022, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    "moment",
    [
        "2022-01-01",
        "2022",
        "2022-1-1 00:00",
        "20220101",
        "2022-01-01T01:00:00+01:00",
        datetime(2022, 1, 1, tzinfo=UTC),
        pd.Timestamp("2022-01-01"),
        np.datetime64("2022-01-01", "s"),
        NEW_YEAR,
        np.int64(NEW_YEAR),
    ],
)
def test_every_way_to_say_a_moment_gives_the_same_microseconds(moment: object) -> None:
    assert as_micros(moment) == NEW_YEAR


@pytest.mark.parametrize(
    "moment",
    [
        *("yesterday-ish", "now", "01/02/2022", "1.2.2022", "2022-13-01", "2022-01-01x", "", "nan"),
        *(True, 1.5e15, np.float64(1), None, pd.NaT, object()),
    ],
)
def test_a_moment_that_cannot_be_read_or_could_mean_anything_is_refused(moment: object) -> None:
    with pytest.raises(SettingsError, match=r"found .*, expected a UTC date such as 2024"):
        as_micros(moment)


def test_every_interval_divides_or_equals_a_day() -> None:
    assert all(INTERVALS["1d"] % length == 0 for length in INTERVALS.values())
    with pytest.raises(SettingsError, match="found '7m', expected one of 1s 1m"):
        interval_us("7m")


def test_bars_and_records_say_the_same() -> None:
    bars = make_bars(5, market="um", symbol="ETHUSDT", interval="5m")
    records = list(iter_bars(bars))
    assert [bar.open_time for bar in records] == [as_micros(t) for t in bars.index]
    for name in BAR_VALUES:
        assert [getattr(bar, name) for bar in records] == bars[name].tolist()
    assert {(bar.market, bar.symbol, bar.interval) for bar in records} == {("um", "ETHUSDT", "5m")}
    assert list(iter_bars(bars.iloc[:0])) == []


def test_contiguous_runs_break_where_bars_are_missing() -> None:
    bars = make_bars(10)
    assert contiguous_runs(bars) == [slice(0, 10)]
    assert contiguous_runs(bars.drop(bars.index[[3, 4, 8]])) == [
        slice(0, 3),
        slice(3, 6),
        slice(6, 7),
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda bars: bars.drop(columns="trades"), "no column trades"),
        (lambda bars: bars.iloc[:0], "no rows"),
        (lambda bars: bars.assign(symbol=["A", "B", "B"]), "2 values of symbol"),
        (lambda bars: bars.reset_index(drop=True), "an index of int64"),
        (lambda bars: bars.tz_localize(None), "an index of datetime64"),
        (lambda bars: bars.iloc[::-1], "unsorted or doubled"),
        (lambda bars: bars.set_index(bars.index + pd.Timedelta("1s")), "a multiple of 1m"),
    ],
)
def test_a_frame_that_breaks_the_bars_contract_is_refused(spoil, message: str) -> None:
    with pytest.raises(DataError, match=message):
        require_bars(spoil(make_bars(3)))
