"""Bars fit to be learnt from, told from those with holes and those with prices in no order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.market.files import read_klines
from microstream_lab.market.simulate import simulate_market
from microstream_lab.research.soundness import examine, variance_ratios

PRICES = ["open", "high", "low", "close"]


def shuffled(bars: pd.DataFrame, day: str, seed: int = 0) -> pd.DataFrame:
    """The bars with the prices of one day dealt out anew among its bars."""
    rows = np.flatnonzero(bars.index.normalize() == pd.Timestamp(day, tz="UTC"))
    dealt = np.random.default_rng(seed).permutation(rows)
    bars = bars.copy()
    for name in PRICES:
        bars.iloc[rows, bars.columns.get_loc(name)] = bars[name].to_numpy()[dealt]
    return bars


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return simulate_market("2024-02-01", 4 * 1440, seed=1).bars


def test_variance_ratio_is_that_of_a_plain_loop(bars: pd.DataFrame) -> None:
    closes = np.log(bars["close"].iloc[1440:2880].to_numpy())
    returns = np.diff(closes)
    longer = [closes[t] - closes[t - 15] for t in range(15, len(closes))]
    expected = np.mean(np.square(longer)) / (15 * np.mean(np.square(returns)))
    assert variance_ratios(bars)["2024-02-02"] == pytest.approx(expected, rel=1e-9)


def test_sound_bars_are_told_so(bars: pd.DataFrame) -> None:
    found = examine(bars)
    assert (found.coverage, found.hole_hours, found.disordered) == (1.0, 0.0, ())
    assert found.least_ratio > 0.4


@pytest.mark.parametrize("day", ["2024-02-01", "2024-02-03", "2024-02-04"])
def test_a_day_of_prices_in_no_order_is_found_and_no_other(bars: pd.DataFrame, day: str) -> None:
    found = examine(shuffled(bars, day))
    assert [f"{first:%Y-%m-%d}" for first in found.disordered] == [day]
    assert found.least_ratio < 0.1


def test_a_missing_day_is_a_hole_of_so_many_hours(bars: pd.DataFrame) -> None:
    found = examine(bars[bars.index.normalize() != pd.Timestamp("2024-02-02", tz="UTC")])
    assert found.coverage == pytest.approx(0.75)
    assert (found.hole_hours, f"{found.hole_at:%m-%d %H:%M}") == (24.0, "02-01 23:59")
    assert found.disordered == ()


def test_what_lacks_up_to_the_end_asked_for_is_a_hole_too(bars: pd.DataFrame) -> None:
    found = examine(bars.iloc[: 3 * 1440], end="2024-02-05")
    assert found.coverage == pytest.approx(0.75)
    assert (found.hole_hours, f"{found.hole_at:%m-%d %H:%M}") == (24.0, "02-03 23:59")
    for end in ("2024-02-04", "2024-02-02", None):
        assert examine(bars.iloc[: 3 * 1440], end=end) == examine(bars.iloc[: 3 * 1440])


def test_an_old_hole_counts_for_coverage_alone(bars: pd.DataFrame) -> None:
    found = examine(bars.drop(bars.index[700:800]), recent_days=2)
    assert found.hole_hours == 0.0
    assert found.coverage == pytest.approx(1 - 100 / len(bars))


def test_prices_that_never_moved_and_short_series_are_not_called_disordered() -> None:
    still = make_bars(1440).assign(open=1.0, high=1.0, low=1.0, close=1.0)
    for bars in (still, make_bars(100), make_bars(1)):
        found = examine(bars)
        assert np.isnan(found.least_ratio)
        assert found.disordered == ()


def test_bars_of_an_hour_are_judged_in_parts_of_several_days() -> None:
    bars = make_bars(1000, interval="1h")
    ratios = variance_ratios(bars)
    assert 2 <= len(ratios) <= 5
    assert (ratios > 0.2).all()


@pytest.mark.realdata
def test_no_real_day_is_disordered_and_every_shuffled_one_is(real_data: Path) -> None:
    bars = read_klines(real_data / "klines_1m" / "BTCUSDT-1m-2022-05.zip", market="um")
    assert variance_ratios(bars).min() > 0.4
    mixed = bars
    for day in ("2022-05-01", "2022-05-12", "2022-05-30"):  # a halt, a crash and a quiet day
        mixed = shuffled(mixed, day)
    found = examine(mixed)
    assert [first.day for first in found.disordered] == [1, 12, 30]
