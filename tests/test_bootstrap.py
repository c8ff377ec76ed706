"""The stationary bootstrap: seeded, blockwise, and right about how unsure a figure is."""

import numpy as np
import pandas as pd
import pytest

from microstream_lab.errors import SettingsError
from microstream_lab.research.bootstrap import (
    day_starts,
    interval,
    interval_of_sums,
    stationary_indices,
)


def mean_of_each(resamples):
    return resamples.mean(axis=1)


def test_blocks_run_forward_wrap_around_and_have_the_mean_length_asked_for():
    indices = stationary_indices(50, n=2000, mean_block=5, seed=1)
    follows = (np.diff(indices, axis=1) % 50) == 1
    assert indices.min() == 0
    assert indices.max() == 49
    # A block ends with probability 1/5; one in fifty new blocks happens to begin where it ended.
    assert follows.mean() == pytest.approx(4 / 5 + 1 / 5 / 50, abs=0.01)


def test_every_observation_is_drawn_equally_often():
    counts = np.bincount(stationary_indices(20, n=5000, seed=2).ravel(), minlength=20)
    assert counts / counts.mean() == pytest.approx(np.ones(20), abs=0.05)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(0).normal(size=100)
    first, again, other = (interval(values, mean_of_each, seed=s) for s in (3, 3, 4))
    assert first == again
    assert first != other


def test_interval_of_independent_values_covers_the_true_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        low, high = interval(generator.normal(1.0, 2.0, 120), mean_of_each, 0.9, 300, 1, trial)
        hits += low <= 1.0 <= high
    assert 0.84 <= hits / 200 <= 0.95


def test_blocks_widen_the_interval_of_a_dependent_series_towards_the_truth():
    generator = np.random.default_rng(6)
    noise = generator.normal(size=4000)
    series = np.empty(4000)
    series[0] = noise[0]
    for t in range(1, 4000):
        series[t] = 0.8 * series[t - 1] + noise[t]
    true_width = 2 * 1.645 * (1 / (1 - 0.8)) / np.sqrt(4000)
    widths = [np.ptp(interval(series, mean_of_each, n=400, mean_block=b)) for b in (1, 40)]
    assert widths[0] < 0.5 * true_width
    assert widths[1] == pytest.approx(true_width, rel=0.2)


def test_interval_of_sums_equals_the_general_one_for_a_function_of_sums():
    generator = np.random.default_rng(7)
    sums = np.column_stack([generator.normal(5, 1, 60), generator.integers(1, 9, 60)])
    ratio = interval_of_sums(sums, lambda total: total[:, 0] / total[:, 1], seed=8)
    general = interval(sums, lambda x: x[..., 0].sum(1) / x[..., 1].sum(1), seed=8)
    np.testing.assert_allclose(ratio, general, rtol=1e-12)


def test_several_figures_come_back_side_by_side():
    values = np.random.default_rng(9).normal(size=40)
    low, high = interval(values, lambda x: np.column_stack([x.mean(1), x.max(1)]))
    assert low.shape == high.shape == (2,)
    assert (low <= high).all()


def test_a_week_is_too_short_to_say_and_gives_nan():
    assert np.isnan(interval(np.arange(7.0), mean_of_each)).all()


@pytest.mark.parametrize("bad", [{"n": 0}, {"mean_block": 0.5}])
def test_sizes_that_cannot_be_drawn_are_refused(bad):
    with pytest.raises(SettingsError, match="bootstrap: found"):
        stationary_indices(10, **bad)


def test_a_level_that_is_no_share_is_refused():
    with pytest.raises(SettingsError, match="level: found 95"):
        interval(np.arange(10.0), mean_of_each, level=95)


def test_day_starts_are_the_first_rows_of_utc_days():
    index = pd.date_range("2022-01-01 22:00", periods=30, freq="1h", tz="UTC", unit="us")
    assert day_starts(index).tolist() == [0, 2, 26]
