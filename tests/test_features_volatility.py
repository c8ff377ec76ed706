"""Volatility features against pandas, closed forms and random walks of known volatility."""

from __future__ import annotations

from itertools import pairwise
from math import log, sqrt

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.features import FEATURES, features_from_bars

HORIZONS = (5, 15, 60, 240, 1440, 7200)
SIGMA = 1e-3


def feature(bars: pd.DataFrame, name: str) -> pd.Series:
    return features_from_bars(bars, [name])[name]


def random_walk(drift: float = 0.0) -> pd.DataFrame:
    """Bars of a random walk: 4000 steps a bar, volatility SIGMA and `drift` times that a bar."""
    bars, rng = make_bars(241), np.random.default_rng(0)
    steps = rng.normal(drift * SIGMA / 4000, SIGMA / sqrt(4000), (241, 4000)).cumsum(axis=1)
    opens = np.append(0, steps[:, -1].cumsum()[:-1])[:, None]
    path = 100 * np.exp(np.hstack([opens, opens + steps]))
    bars["open"], bars["close"] = path[:, 0], path[:, -1]
    bars["high"], bars["low"] = path.max(axis=1), path.min(axis=1)
    return bars


@pytest.fixture(scope="module")
def walk() -> pd.DataFrame:
    return random_walk()


@pytest.mark.parametrize(("interval", "hour"), [("1m", 60), ("3m", 20), ("5m", 12), ("1h", 12)])
@pytest.mark.parametrize("horizon", HORIZONS)
def test_parkinson_is_the_root_of_an_adjusted_mean_of_squared_ranges(
    interval: str, hour: int, horizon: int
) -> None:
    bars = make_bars(300, interval=interval)
    half_life = max(1.0, horizon / 60 * hour)
    square = np.log(bars["high"] / bars["low"]) ** 2 / (4 * np.log(2))
    oracle = np.sqrt(square.ewm(halflife=half_life, adjust=True).mean())
    warm_up = int(np.ceil(min(half_life, hour)))
    oracle.iloc[:warm_up] = np.nan
    values = feature(bars, f"parkinson_{horizon}")
    pd.testing.assert_series_equal(values, oracle, check_names=False, rtol=1e-11)
    assert FEATURES[f"parkinson_{horizon}"](20, interval).warm_up == warm_up


def test_a_memory_that_spans_gaps_counts_each_bar_that_exists_once() -> None:
    bars = make_bars(300)
    holed = bars.drop(bars.index[100:180])
    closed = holed.set_index(bars.index[: len(holed)])
    values = feature(holed, "parkinson_60").to_numpy()
    np.testing.assert_array_equal(values, feature(closed, "parkinson_60").to_numpy())
    assert np.isfinite(values[60:]).all()


@pytest.mark.parametrize("name", ["realised_volatility_60", "garman_klass_60", "yang_zhang_60"])
def test_a_burst_that_left_the_window_leaves_exactly_nothing_behind(name: str) -> None:
    bars = make_bars(200)
    bars.iloc[50:, :4] = 100.0
    values = feature(bars, name)
    assert values.iloc[100] > 0
    assert (values.iloc[110:] == 0).all()


def test_parkinson_of_bars_that_never_moved_is_zero() -> None:
    bars = make_bars(100)
    bars[["open", "high", "low", "close"]] = 100.0
    assert (feature(bars, "parkinson_15").dropna() == 0).all()


@pytest.mark.parametrize("horizon", [30, 60, 240, 1440])
def test_ewma_volatility_is_the_root_of_an_adjusted_mean_of_squared_returns(horizon: int) -> None:
    bars = make_bars(300)
    squares = np.log(bars["close"]).diff() ** 2
    oracle = np.sqrt(squares.ewm(halflife=horizon).mean())
    oracle.iloc[: min(horizon, 60)] = np.nan
    values = feature(bars, f"ewma_volatility_{horizon}")
    pd.testing.assert_series_equal(values, oracle, check_names=False, rtol=1e-11)


def test_the_return_over_a_gap_counts_in_no_volatility() -> None:
    bars = make_bars(400)
    jumped = bars.copy()
    jumped.iloc[200:, :4] *= 3.0
    jumped = jumped.drop(jumped.index[200])
    for name in ("ewma_volatility_30", "realised_volatility_60", "yang_zhang_60"):
        assert feature(jumped, name).max() < 0.01


@pytest.mark.parametrize("hours", [1, 4, 24])
def test_realised_volatility_is_the_root_mean_square_of_the_last_hours(hours: int) -> None:
    bars = make_bars(1600)
    squares = np.log(bars["close"]).diff() ** 2
    oracle = np.sqrt(squares.rolling(60 * hours).mean())
    values = feature(bars, f"realised_volatility_{60 * hours}")
    pd.testing.assert_series_equal(values, oracle, check_names=False, rtol=1e-9)


def test_garman_klass_is_its_formula_written_out() -> None:
    bars = make_bars(100)
    last = bars.iloc[-60:]
    terms = [
        0.5 * log(high / low) ** 2 - (2 * log(2) - 1) * log(close / opened) ** 2
        for opened, high, low, close in last[["open", "high", "low", "close"]].to_numpy()
    ]
    assert feature(bars, "garman_klass_60").iloc[-1] == pytest.approx(sqrt(sum(terms) / 60))


def test_the_span_is_from_the_lowest_low_to_the_highest_high_and_starts_anew_after_a_gap() -> None:
    bars = make_bars(200)
    high, low = bars["high"].rolling(60, 1).max(), bars["low"].rolling(60, 1).min()
    oracle = np.log(high / low)
    pd.testing.assert_series_equal(feature(bars, "span_60"), oracle, check_names=False)
    torn = bars.drop(bars.index[100])
    after = feature(torn, "span_60").loc[bars.index[101] :]
    assert after.iloc[0] == pytest.approx(log(bars["high"].iloc[101] / bars["low"].iloc[101]))
    pd.testing.assert_series_equal(after.iloc[59:], oracle.iloc[160:], check_names=False)


def test_yang_zhang_is_its_formula_written_out() -> None:
    bars = make_bars(100)
    bars["open"] *= 1 + np.random.default_rng(1).normal(0, 1e-5, 100)
    bars["high"] = bars[["open", "high"]].max(axis=1)
    bars["low"] = bars[["open", "low"]].min(axis=1)
    prices = bars[["open", "high", "low", "close"]].to_numpy()[-61:].tolist()
    jumps = [log(now[0] / before[3]) for before, now in pairwise(prices)]
    bodies = [log(c / o) for o, _, _, c in prices[1:]]
    within = [log(h / o) * log(h / c) + log(l / o) * log(l / c) for o, h, l, c in prices[1:]]  # noqa: E741
    k = 0.34 / (1.34 + 61 / 59)
    variance = np.var(jumps, ddof=1) + k * np.var(bodies, ddof=1) + (1 - k) * np.mean(within)
    assert feature(bars, "yang_zhang_60").iloc[-1] == pytest.approx(sqrt(variance))


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("parkinson_1440", 0.06),
        ("garman_klass_240", 0.06),
        ("yang_zhang_240", 0.06),
        ("ewma_volatility_1440", 0.1),
        ("realised_volatility_240", 0.1),
    ],
)
def test_the_volatility_of_a_random_walk_is_recovered(
    walk: pd.DataFrame, name: str, tolerance: float
) -> None:
    assert feature(walk, name).iloc[-1] == pytest.approx(SIGMA, rel=tolerance)


def test_yang_zhang_is_right_in_a_trend_where_the_others_are_not() -> None:
    trend = random_walk(drift=3.0)
    assert feature(trend, "yang_zhang_240").iloc[-1] == pytest.approx(SIGMA, rel=0.06)
    assert feature(trend, "garman_klass_240").iloc[-1] > 1.2 * SIGMA
    assert feature(trend, "realised_volatility_240").iloc[-1] > 2 * SIGMA


def test_downside_share_is_the_share_of_falls_in_the_squares() -> None:
    bars = make_bars(300)
    returns = np.log(bars["close"]).diff()
    falls = (returns**2).where(returns <= 0, 0.0).where(returns.notna())
    oracle = falls.ewm(halflife=60).mean() / (returns**2).ewm(halflife=60).mean()
    values = feature(bars, "downside_share_60").iloc[60:]
    pd.testing.assert_series_equal(values, oracle.iloc[60:], check_names=False, rtol=1e-9)
    bars["close"] = 100 * np.exp(-1e-4 * np.arange(300))
    assert (feature(bars, "downside_share_60").dropna() == 1).all()
