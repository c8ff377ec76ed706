"""Volatility features against pandas, closed forms and random walks of known volatility."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.features import FEATURES, features_from_bars

HORIZONS = (5, 15, 60, 240, 1440, 7200)


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
    values = features_from_bars(bars, [f"parkinson_{horizon}"]).squeeze()
    pd.testing.assert_series_equal(values, oracle, check_names=False, rtol=1e-11)
    assert FEATURES[f"parkinson_{horizon}"](20, interval).warm_up == warm_up


def test_a_memory_that_spans_gaps_counts_each_bar_that_exists_once() -> None:
    bars = make_bars(300)
    holed = bars.drop(bars.index[100:180])
    closed = holed.set_index(bars.index[: len(holed)])
    values = features_from_bars(holed, ["parkinson_60"])["parkinson_60"].to_numpy()
    oracle = features_from_bars(closed, ["parkinson_60"])["parkinson_60"].to_numpy()
    np.testing.assert_array_equal(values, oracle)
    assert np.isfinite(values[60:]).all()


def test_parkinson_of_bars_that_never_move_is_zero() -> None:
    bars = make_bars(100)
    bars[["open", "high", "low", "close"]] = 100.0
    assert (features_from_bars(bars, ["parkinson_15"])["parkinson_15"].dropna() == 0).all()
