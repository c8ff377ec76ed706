"""Outcomes look at the following bars only, and only where all of them are there."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from microstream_lab.errors import SettingsError
from microstream_lab.outcomes import forward_log_amihud, forward_log_volatility, log_returns


def make_bars(closes, volumes=None, drop=()):
    index = pd.date_range("2022-01-01", periods=len(closes), freq="1min", tz="UTC", unit="us")
    frame = pd.DataFrame({"close": np.asarray(closes, float)}, index=index)
    frame["quote_volume"] = 1e6 if volumes is None else volumes
    frame["interval"] = "1m"
    return frame.drop(frame.index[list(drop)])


def test_forward_volatility_equals_the_root_of_the_next_squared_returns():
    closes = [100, 101, 99, 102, 100]
    logs = [math.log(b / a) for a, b in itertools.pairwise(closes)]
    outcome = forward_log_volatility(make_bars(closes), horizon=2)
    expected = [math.log(math.hypot(logs[t], logs[t + 1])) for t in range(3)]
    np.testing.assert_allclose(outcome[:3], expected, rtol=1e-14)
    assert outcome[3:].isna().all()


def test_forward_volatility_is_missing_where_a_following_bar_is_missing():
    rng = np.random.default_rng(0)
    bars = make_bars(100 * np.exp(rng.normal(0, 0.01, 12).cumsum()), drop=[6])
    outcome = forward_log_volatility(bars, horizon=3)
    known = [0, 1, 2, 6, 7]  # rows whose next three bars follow without a hole
    assert np.flatnonzero(outcome.notna()).tolist() == known


def test_forward_volatility_is_missing_not_minus_infinity_in_a_halt():
    outcome = forward_log_volatility(make_bars([100, 100, 100, 101, 100]), horizon=2)
    assert np.isnan(outcome.iloc[0])
    assert np.isfinite(outcome.iloc[1])


def test_forward_volatility_ignores_the_bar_itself_and_its_past():
    rng = np.random.default_rng(1)
    closes = 100 * np.exp(rng.normal(0, 0.01, 30).cumsum())
    changed = closes.copy()
    changed[:10] *= rng.uniform(0.5, 2, 10)
    before, after = (forward_log_volatility(make_bars(c), 5) for c in (closes, changed))
    pd.testing.assert_series_equal(before[10:], after[10:])


def test_forward_amihud_is_the_mean_impact_of_bars_that_traded():
    bars = make_bars([100, 110, 110, 121, 100], volumes=[1e6, 2e6, 0.0, 4e6, 1e6])
    outcome = forward_log_amihud(bars, horizon=3)
    ten_percent = math.log(1.1)
    assert outcome.iloc[0] == pytest.approx(math.log((ten_percent / 2 + ten_percent / 4) / 2))


def test_a_horizon_without_bars_is_refused_and_a_short_frame_has_no_outcome():
    with pytest.raises(SettingsError, match="horizon: found 0"):
        forward_log_volatility(make_bars([1, 2, 3]), horizon=0)
    assert forward_log_volatility(make_bars([1, 2, 3]), horizon=60).isna().all()
    assert log_returns(make_bars([1, 2])).isna().tolist() == [True, False]
