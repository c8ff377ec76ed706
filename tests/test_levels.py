"""Regimes as bands of the volatility to expect: learnt in training, told causally, held on to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from microstream_lab.errors import FitError
from microstream_lab.models.bands import usual_shares
from microstream_lab.models.forecast import VolatilityForecast, clock_terms
from microstream_lab.models.holding import learn_to_hold, mean_stays
from microstream_lab.models.kernels.levels import hold_regimes, recent_shocks, without_drift
from microstream_lab.models.levels import LevelModel

Floats = npt.NDArray[np.float64]
HOUR = 60


def slow_market(n: int = 6000, seed: int = 0) -> tuple[Floats, Floats]:
    """Rows ``(n, 3)``, the first of them a slow level, and the log volatility that follows."""
    rng = np.random.default_rng(seed)
    level = np.zeros(n)
    for t in range(1, n):
        level[t] = 0.995 * level[t - 1] + 0.1 * rng.normal()
    rows = np.column_stack([level + 0.02 * rng.normal(size=n), rng.normal(size=(n, 2))])
    return rows, 0.8 * level - 6 + 0.1 * rng.normal(size=n)


@pytest.fixture(scope="module")
def fitted() -> LevelModel:
    rows, outcome = slow_market()
    return LevelModel(hour=HOUR).fit(rows, volatility=outcome)


class TestForecast:
    def test_it_is_a_linear_regression_where_the_ridge_is_weak(self) -> None:
        rows, outcome = slow_market()
        plain = LinearRegression().fit(rows, outcome)
        forecast = VolatilityForecast(alpha=1e-9).fit(rows, outcome)
        np.testing.assert_allclose(forecast.predict(rows), plain.predict(rows), atol=1e-9)

    def test_the_profile_of_the_week_is_found(self) -> None:
        rng = np.random.default_rng(1)
        week = np.arange(8 * 10080) / 10080 % 1
        rows = np.column_stack([rng.normal(size=len(week)), week])
        profile = 0.3 * np.cos(2 * np.pi * 7 * week) + 0.5 * (week >= 5 / 7)
        forecast = VolatilityForecast(clock=1).fit(rows, 0.2 * rows[:, 0] + profile - 6)
        centred = forecast.of_the_clock(rows) - forecast.of_the_clock(rows).mean()
        np.testing.assert_allclose(centred, profile - profile.mean(), atol=2e-3)

    def test_only_the_columns_it_is_told_are_looked_at(self) -> None:
        rows, outcome = slow_market(500)
        forecast = VolatilityForecast(columns=[0]).fit(rows, outcome)
        other = rows.copy()
        other[:, 1:] = 1e6
        np.testing.assert_array_equal(forecast.predict(other), forecast.predict(rows))

    def test_rows_that_nothing_is_known_to_follow_teach_nothing(self) -> None:
        rows, outcome = slow_market(800)
        outcome[700:] = np.nan
        whole = VolatilityForecast().fit(rows, outcome)
        known = VolatilityForecast().fit(rows[:700], outcome[:700])
        np.testing.assert_array_equal(whole.coef_, known.coef_)

    @pytest.mark.parametrize("outcome", [np.nan, -6.0])
    def test_outcomes_that_never_differ_are_refused(self, outcome: float) -> None:
        with pytest.raises(FitError, match="expected some that differ"):
            VolatilityForecast().fit(np.ones((50, 1)), np.full(50, outcome))

    def test_the_clock_goes_round_without_a_step_but_at_the_weekend(self) -> None:
        before, after = clock_terms(np.array([1 - 1e-9, 0.0]))
        weekend = 18  # a column that says it is the weekend, and those that are only then
        np.testing.assert_allclose(before[:weekend], after[:weekend], atol=1e-6)
        assert (before[weekend], after[weekend]) == (1, 0)


class TestFit:
    def test_regimes_hold_their_declared_share_of_the_training_time(
        self, fitted: LevelModel
    ) -> None:
        np.testing.assert_allclose(fitted.occupancy_, usual_shares(3), atol=0.01)
        rows, outcome = slow_market(seed=3)
        even = LevelModel(shares=(0.25, 0.5, 0.25), hour=HOUR).fit(rows, volatility=outcome)
        np.testing.assert_allclose(even.occupancy_, (0.25, 0.5, 0.25), atol=0.01)

    def test_higher_regimes_are_followed_by_more_volatility(self, fitted: LevelModel) -> None:
        rows, outcome = slow_market(seed=4)
        told = fitted.predict(rows)
        means = [outcome[told == k].mean() for k in range(3)]
        assert means == sorted(means)

    @pytest.mark.parametrize("allowed", [0.2, 0.3])
    def test_the_regime_changes_no_more_often_than_allowed(self, allowed: float) -> None:
        rows, outcome = slow_market()
        model = LevelModel(switches_per_hour=allowed, hour=HOUR).fit(rows, volatility=outcome)
        changes = np.count_nonzero(np.diff(model.predict(rows)))
        assert 0.5 * allowed * len(rows) / HOUR < changes <= allowed * len(rows) / HOUR

    def test_nobody_has_to_be_surer_than_certain(self) -> None:
        rows, outcome = slow_market()
        model = LevelModel(switches_per_hour=0.0, hour=HOUR).fit(rows, volatility=outcome)
        assert model.bounds_.enter == pytest.approx(0.995, abs=1e-4)
        assert set(model.predict(rows)) == {0, 1, 2}

    @pytest.mark.parametrize("k", [2, 4, 5])
    def test_any_number_of_regimes_works(self, k: int) -> None:
        rows, outcome = slow_market()
        model = LevelModel(k, hour=HOUR).fit(rows, volatility=outcome)
        probs = model.filtered_probs(rows)
        assert probs.shape == (len(rows), k)
        np.testing.assert_allclose(probs.sum(axis=1), 1)
        assert set(model.predict(rows)) == set(range(k))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"shares": (0.5, 0.5)}, "found shares"),
            ({"shares": (0.5, 0.6, 0.2)}, "add up to 1.3"),
            ({"shares": (0.5, 0.5, 0.0)}, "expected one above 0"),
            ({"n_regimes": 1}, "at least 2 regimes"),
        ],
    )
    def test_shares_that_do_not_fit_are_refused(self, options: object, message: str) -> None:
        rows, outcome = slow_market(500)
        with pytest.raises(FitError, match=message):
            LevelModel(**options).fit(rows, volatility=outcome)  # type: ignore[arg-type]

    def test_without_outcomes_there_is_nothing_to_learn_from(self) -> None:
        with pytest.raises(FitError, match="found no volatility that followed"):
            LevelModel().fit(slow_market(500)[0])

    def test_a_market_of_two_prices_has_no_levels(self) -> None:
        rows = np.tile([[0.0], [1.0]], (300, 1))
        with pytest.raises(FitError, match="found 2 different forecasts, expected enough for 12"):
            LevelModel().fit(rows, volatility=rows[:, 0])


class TestShocks:
    def test_a_declared_share_of_the_training_time_is_a_shock(self) -> None:
        rows, outcome = slow_market()
        model = LevelModel(hour=HOUR, shock=0, shock_share=0.05).fit(rows, volatility=outcome)
        drift = model.forecast_.predict(rows) - model.heights(rows)
        shocks = recent_shocks(model.shocks_.recent(rows), drift, model.shocks_.cut)
        assert shocks.mean() == pytest.approx(0.05, abs=0.001)
        assert (model.predict(rows)[shocks] == 2).all()

    def test_a_jump_that_no_forecast_believes_in_is_told_at_once(self) -> None:
        rows, outcome = slow_market()
        quick, calm = np.abs(rows[:, 1]), rows.copy()
        calm[:, 0] = 0.0
        model = LevelModel(columns=[0], hour=HOUR, shock=1).fit(
            np.column_stack([rows[:, 0], quick]), volatility=outcome
        )
        seen = np.column_stack([calm[:60, 0], np.zeros(60)])
        seen[30, 1] = 10.0
        told = model.predict(seen)
        assert (told[:30] < 2).all()
        assert told[30] == 2
        assert model.filtered_probs(seen)[30, 2] < 0.5
        assert told[31] < 2  # nothing is to be expected any more

    def test_a_column_that_says_nothing_knows_no_shocks(self) -> None:
        rows, outcome = slow_market()
        plain = LevelModel(hour=HOUR).fit(rows, volatility=outcome)
        assert plain.bounds_.sure == plain.bounds_.enter
        assert plain.details()["shocks"] is None


class TestTracking:
    @settings(max_examples=15, deadline=None)
    @given(cut=st.integers(1, 599))
    def test_a_prefix_of_the_rows_gives_the_prefix(self, fitted: LevelModel, cut: int) -> None:
        rows, _ = slow_market(600, seed=5)
        rows[100:110] = np.nan
        whole, part = (fitted.tracker().track(some) for some in (rows, rows[:cut]))
        for known, known_then in zip(whole, part, strict=True):
            np.testing.assert_array_equal(known_then, known[:cut])

    def test_row_after_row_equals_all_at_once(self, fitted: LevelModel) -> None:
        rows, _ = slow_market(300, seed=6)
        steps = np.ones(300, np.int64)
        steps[[50, 200]] = 5, 90
        rows[120] = np.nan
        probs, told, levels = fitted.tracker().track(rows, steps)
        tracker = fitted.tracker()
        for t in range(300):
            one, regime, level = tracker.track(rows[t : t + 1], steps[t : t + 1])
            np.testing.assert_allclose(one[0], probs[t], atol=1e-12)
            np.testing.assert_allclose(level[0], levels[t], atol=1e-12)
            assert regime[0] == told[t]

    def test_a_tracker_goes_on_from_a_saved_state(self, fitted: LevelModel) -> None:
        rows, _ = slow_market(400, seed=7)
        first, second = fitted.tracker(), fitted.tracker()
        first.track(rows[:250])
        second.state[:] = first.state
        np.testing.assert_array_equal(first.track(rows[250:])[0], second.track(rows[250:])[0])

    def test_smoothing_sees_the_future_and_the_filter_does_not(self, fitted: LevelModel) -> None:
        rows, _ = slow_market(400, seed=8)
        changed = rows.copy()
        changed[300:, 0] += 5
        np.testing.assert_array_equal(
            fitted.filtered_probs(rows)[:300], fitted.filtered_probs(changed)[:300]
        )
        assert (fitted.smoothed_probs(rows)[:300] != fitted.smoothed_probs(changed)[:300]).any()


def told_of(
    level_probs: Floats, sure: float = 0.9, shocks: Sequence[int] = (), leave: float = 0.1
) -> list[int]:
    """Regimes told of levels that are regimes, changed at 0.9, with shocks at these rows."""
    shocked = np.isin(np.arange(len(level_probs)), shocks)
    weights = np.eye(level_probs.shape[1])
    told: list[int] = hold_regimes(
        np.ascontiguousarray(level_probs), weights, (0.9, sure, leave), shocked, np.array([-1.0])
    )[1].tolist()
    return told


class TestKernels:
    def test_a_lasting_move_is_followed_by_its_share(self) -> None:
        forecasts = np.full(5000, 2.0)
        level = without_drift(forecasts, 0.5 ** (1 / 100), 0.3, 1.0, np.array([1.0]))
        assert level[0] == pytest.approx(2.0, abs=0.01)
        assert level[-1] == pytest.approx(2.0 - 0.3 * 1.0)

    def test_unknown_forecasts_move_nothing(self) -> None:
        state = np.array([1.0])
        level = without_drift(np.array([np.nan, np.nan]), 0.9, 0.3, 1.0, state)
        assert np.isnan(level).all()
        assert state[0] == 1.0

    def test_a_regime_is_held_until_another_is_sure_or_it_is_all_but_ruled_out(self) -> None:
        crisis = np.array([0.1, 0.6, 0.89, 0.95, 0.5, 0.11, 0.05])
        level_probs = np.column_stack([1 - crisis, crisis])
        assert told_of(level_probs) == [0, 0, 0, 1, 1, 1, 0]

    def test_a_shock_is_a_crisis_at_once_and_the_usual_rule_ends_it(self) -> None:
        crisis = np.array([0.0, 0.0, 0.0, 0.3, 0.2, 0.05, 0.0])
        level_probs = np.column_stack([1 - crisis, crisis])
        assert told_of(level_probs, shocks=[2]) == [0, 0, 1, 1, 1, 0, 0]
        assert told_of(level_probs, shocks=[2, 5]) == [0, 0, 1, 1, 1, 1, 0]

    def test_without_a_shock_a_crisis_has_to_be_surer_than_any_other_regime(self) -> None:
        crisis = np.array([0.0, 0.0, 0.93, 0.96, 0.93, 0.5, 0.0])
        level_probs = np.column_stack([1 - crisis, 0.6 * crisis, 0.4 * crisis])
        assert told_of(level_probs[:, [0, 2, 1]], sure=0.99) == [0, 0, 1, 1, 1, 1, 0]
        level_probs = np.column_stack([1 - crisis, 0 * crisis, crisis])
        assert told_of(level_probs, sure=0.95) == [0, 0, 1, 2, 2, 2, 0]

    def test_a_crisis_ends_when_it_is_ruled_out(self) -> None:
        crisis = np.array([0.0, 0.95, 0.5, 0.05, 0.02, 0.009])
        level_probs = np.column_stack([1 - crisis, crisis])
        assert told_of(level_probs, leave=0.01) == [0, 1, 1, 1, 1, 0]

    def test_an_unknown_row_is_no_regime_even_in_a_shock(self) -> None:
        level_probs = np.array([[1.0, 0.0], [np.nan, np.nan], [1.0, 0.0]])
        assert told_of(level_probs, shocks=[1]) == [0, -1, 0]

    def test_what_has_just_happened_is_judged_without_the_drift(self) -> None:
        recent, drift = np.array([1.0, 2.0, 2.0, np.nan]), np.array([0.0, 0.0, 0.5, 0.0])
        assert recent_shocks(recent, drift, 2.0).tolist() == [False, True, False, False]

    def test_merging_adds_up_the_levels_of_a_regime(self) -> None:
        level_probs = np.random.default_rng(0).dirichlet(np.ones(4), 50)
        weights = np.array([[1, 0], [0.5, 0.5], [0, 1], [0, 1]])
        none = np.zeros(50, np.bool_)
        probs, _ = hold_regimes(level_probs, weights, (0.9, 0.9, 0.1), none, np.array([-1.0]))
        np.testing.assert_allclose(probs, level_probs @ weights)

    def test_nobody_needs_to_be_sure_where_everything_is_allowed(self) -> None:
        level_probs = np.random.default_rng(0).dirichlet(np.ones(2), 500)
        assert learn_to_hold(level_probs, np.eye(2), 500) == (0.5, 0.5, 0.5)

    def test_stays_are_counted_run_by_run(self) -> None:
        told = np.array([0, 0, 1, 1, 1, 0], np.int8)
        assert mean_stays(told, 3)[:2].tolist() == [1.5, 3.0]
        assert np.isnan(mean_stays(told, 3)[2])
