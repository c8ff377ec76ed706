"""Scaler, anomaly detector and regime model against independent oracles."""

from __future__ import annotations

import ast
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from factories import make_states
from hmmlearn.hmm import GaussianHMM
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.utils.estimator_checks import parametrize_with_checks

from microstream_lab.errors import FitError
from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.filter import RegimeFilter
from microstream_lab.models.regime import RegimeModel, sequence_steps
from microstream_lab.models.scaler import FeatureScaler

ORDER_IS_DATA = "a filter over time: the order of the rows, and the rows before, are the data"


def expected_failures(estimator: object) -> dict[str, str]:
    if isinstance(estimator, RegimeModel):
        return {
            "check_methods_sample_order_invariance": ORDER_IS_DATA,
            "check_methods_subset_invariance": ORDER_IS_DATA,
        }
    return {}


@parametrize_with_checks(
    [FeatureScaler(), AnomalyDetector(n_estimators=10), RegimeModel(n_starts=2, max_iter=20)],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_accepts_the_estimator(estimator: object, check) -> None:
    check(estimator)


def three_regimes(n: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standardised rows of three regimes that differ in spread and level, and the truth."""
    rng = np.random.default_rng(seed)
    states = make_states(n, seed)
    level = np.array([[0.0, -1.0, -0.5], [0.0, 0.5, 0.2], [0.0, 2.5, 1.5]])
    spread = np.array([0.4, 0.8, 1.6])
    return level[states] + rng.normal(size=(n, 3)) * spread[states, None], states


def federal_funds_rate() -> list[float]:
    """The 226 quarterly values, read from the test data that statsmodels ships."""
    spec = importlib.util.find_spec("statsmodels.tsa.regime_switching.tests")
    folder = Path(spec.submodule_search_locations[0])
    source = (folder / "test_markov_regression.py").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "fedfunds":
            return ast.literal_eval(node.value)
    raise LookupError("statsmodels no longer ships the series")


@pytest.fixture(scope="module")
def fitted() -> RegimeModel:
    return RegimeModel(n_starts=3).fit(three_regimes()[0])


class TestScaler:
    def test_skewed_columns_are_logged_and_all_are_standardised(self) -> None:
        raw = np.column_stack([np.linspace(-1, 1, 50), np.exp(np.linspace(0, 5, 50))])
        scaler = FeatureScaler([False, True]).fit(raw)
        scaled = scaler.transform(raw)
        np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(scaled.std(axis=0), 1)
        logged = np.log(raw[:, 1] + 0.1 * np.median(raw[:, 1]))
        np.testing.assert_allclose(scaled[:, 1], (logged - logged.mean()) / logged.std())
        np.testing.assert_allclose(scaler.inverse_transform(scaled), raw, rtol=1e-9)

    def test_zeros_stay_finite_and_missing_values_stay_missing(self) -> None:
        scaler = FeatureScaler([True]).fit([[0.0], [1.0], [2.0]])
        scaled = scaler.transform([[0.0], [np.nan]])
        assert np.isfinite(scaled[0, 0])
        assert np.isnan(scaled[1, 0])

    def test_flags_that_do_not_fit_the_data_are_refused(self) -> None:
        with pytest.raises(ValueError, match="expected 1 flags"):
            FeatureScaler([True, False]).fit([[1.0], [2.0]])
        with pytest.raises(ValueError, match="negative"):
            FeatureScaler([True]).fit([[1.0], [-2.0]])


class TestAnomalyDetector:
    def test_scores_equal_scikit_learns_to_the_last_bits(self) -> None:
        rows = np.random.default_rng(0).normal(size=(2000, 3))
        ours = AnomalyDetector(0.05, random_state=7).fit(rows)
        theirs = IsolationForest(contamination=0.05, random_state=7).fit(rows)
        score = ours.anomaly_score(rows)
        np.testing.assert_allclose(score, -theirs.score_samples(rows), rtol=0, atol=1e-12)
        assert ours.threshold_ == pytest.approx(-theirs.offset_, abs=1e-12)
        assert (score > ours.threshold_).mean() == pytest.approx(0.05, abs=1e-3)

    def test_a_far_away_row_scores_higher_than_a_central_one(self) -> None:
        rows = np.random.default_rng(0).normal(size=(500, 2))
        near, far = AnomalyDetector(random_state=0).fit(rows).anomaly_score([[0, 0], [9, 9]])
        assert 0 < near < far <= 1


class TestRegimeModel:
    def test_regimes_are_recovered_and_numbered_calmest_first(self, fitted: RegimeModel) -> None:
        rows, states = three_regimes()
        assert (fitted.predict(rows) == states).mean() > 0.97
        spread = np.trace(fitted.covars_, axis1=1, axis2=2)
        assert (np.diff(spread) > 0).all()

    def test_regimes_are_ordered_by_the_volatility_that_is_given(self) -> None:
        rows, states = three_regimes()
        upside_down = RegimeModel(n_starts=2).fit(rows, volatility=-states.astype(float))
        assert (upside_down.predict(rows) == 2 - states).mean() > 0.97

    def test_the_best_of_all_logged_starts_is_kept(self, fitted: RegimeModel) -> None:
        assert [log["start"] for log in fitted.starts_] == [0, 1, 2]
        assert {log["kind"] for log in fitted.starts_} == {"distance", "k-means", "random"}
        best = max(log["log_likelihood"] for log in fitted.starts_)
        assert fitted.n_iter_ in [
            log["iterations"] for log in fitted.starts_ if log["log_likelihood"] == best
        ]
        assert fitted.converged_

    def test_running_out_of_iterations_is_not_called_converged(self) -> None:
        assert not RegimeModel(n_starts=1, max_iter=2).fit(three_regimes()[0]).converged_

    def test_the_result_depends_on_the_seed_and_not_on_the_threads(self) -> None:
        rows, _ = three_regimes()
        one = RegimeModel(n_starts=3, n_jobs=1).fit(rows)
        two = RegimeModel(n_starts=3, n_jobs=2).fit(rows)
        np.testing.assert_array_equal(one.means_, two.means_)
        np.testing.assert_array_equal(one.transmat_, two.transmat_)

    def test_small_features_keep_the_correlation_of_the_data(self) -> None:
        rng = np.random.default_rng(0)
        rows = FeatureScaler().fit_transform(rng.normal(0, 1e-4, size=(3000, 2)))
        model = RegimeModel(2, n_starts=2).fit(rows)
        deviations = np.sqrt(np.diagonal(model.covars_, axis1=1, axis2=2))
        correlation = model.covars_[:, 0, 1] / deviations.prod(axis=1)
        assert (np.abs(correlation) < 0.3).all()

    def test_sequences_do_not_look_into_each_other(self, fitted: RegimeModel) -> None:
        rows, _ = three_regimes(300, seed=3)
        apart = [fitted.filtered_probs(rows[:120]), fitted.filtered_probs(rows[120:])]
        together = fitted.filtered_probs(rows, sequence_steps([120, 180]))
        np.testing.assert_array_equal(together, np.vstack(apart))

    def test_an_outlier_of_eighty_sigma_does_not_stop_the_fit(self) -> None:
        rows, _ = three_regimes(800)
        rows[400] = 80.0
        model = RegimeModel(n_starts=2).fit(rows)
        assert np.isfinite(model.filtered_probs(rows)).all()

    def test_too_few_rows_or_regimes_are_refused(self) -> None:
        rows, _ = three_regimes(100)
        with pytest.raises(FitError, match="expected at least 2 regimes"):
            RegimeModel(1).fit(rows)
        with pytest.raises(FitError, match="found 5 regimes for 3 sample"):
            RegimeModel(5).fit(rows[:3])

    def test_hindsight_carries_its_name(self, fitted: RegimeModel) -> None:
        rows, _ = three_regimes(200)
        smoothed = fitted.smoothed_probs(rows)
        np.testing.assert_allclose(smoothed.sum(axis=1), 1)
        np.testing.assert_allclose(smoothed[-1], fitted.filtered_probs(rows)[-1], atol=1e-9)
        assert fitted.viterbi_path(rows).shape == (200,)

    def test_expected_durations_follow_from_the_transition_matrix(self) -> None:
        model = RegimeModel.from_parameters(
            [0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], [[0.0], [1.0]], [[[1.0]], [[1.0]]]
        )
        np.testing.assert_allclose(model.expected_durations(), [10.0, 5.0])

    def test_parameters_are_untouched_and_a_clone_fits_the_same(self, fitted: RegimeModel) -> None:
        again = clone(fitted).fit(three_regimes()[0])
        np.testing.assert_array_equal(again.covars_, fitted.covars_)


class TestFilter:
    def test_equals_hmmlearn_on_every_prefix(self, fitted: RegimeModel) -> None:
        rows, _ = three_regimes(150, seed=5)
        hmm = GaussianHMM(3, "full")
        hmm.startprob_, hmm.transmat_ = fitted.startprob_, fitted.transmat_
        hmm.means_, hmm.covars_ = fitted.means_, fitted.covars_
        oracle = [hmm.predict_proba(rows[: t + 1])[-1] for t in range(len(rows))]
        np.testing.assert_allclose(fitted.filtered_probs(rows), oracle, atol=1e-10)
        assert fitted.score(rows) * len(rows) == pytest.approx(hmm.score(rows), rel=1e-10)

    def test_equals_the_sum_over_all_paths_of_a_tiny_chain(self) -> None:
        start, chain = np.array([0.6, 0.4]), np.array([[0.9, 0.1], [0.3, 0.7]])
        means, covars = np.array([[0.0, 0.0], [1.0, -1.0]]), np.array([np.eye(2), 2 * np.eye(2)])
        rows = np.array([[0.1, 0.2], [1.5, -0.7], [0.9, 0.3], [-0.5, 0.0]])
        densities = [multivariate_normal(means[k], covars[k]).pdf(rows) for k in range(2)]
        mass, total = np.zeros(2), 0.0
        for path in itertools.product(range(2), repeat=len(rows)):
            p = start[path[0]] * densities[path[0]][0]
            for t in range(1, len(rows)):
                p *= chain[path[t - 1], path[t]] * densities[path[t]][t]
            mass[path[-1]] += p
            total += p
        probs, likelihood = RegimeFilter(
            RegimeModel.from_parameters(start, chain, means, covars)
        ).filter(rows)
        np.testing.assert_allclose(probs[-1], mass / mass.sum(), rtol=1e-12)
        assert likelihood.sum() == pytest.approx(np.log(total), rel=1e-12)

    def test_reproduces_the_published_likelihood_of_the_federal_funds_rate(self) -> None:
        """Stata's figure for the two-state Markov-switching mean model, 226 quarters."""
        stay, back = 0.9820939, 0.0503587
        chain = np.array([[stay, 1 - stay], [back, 1 - back]])
        start = np.array([back, 1 - stay]) / (back + 1 - stay)
        variance = np.full((2, 1, 1), 2.107562**2)
        model = RegimeModel.from_parameters(start, chain, [[3.70877], [9.556793]], variance)
        rates = np.array(federal_funds_rate()).reshape(-1, 1)
        assert len(rates) == 226
        assert model.score(rates) * 226 == pytest.approx(-508.63592, abs=1e-5)

    @settings(max_examples=25, deadline=None)
    @given(cuts=st.lists(st.integers(0, 80), max_size=6), seed=st.integers(0, 20))
    def test_goes_on_where_it_stopped(
        self, fitted: RegimeModel, cuts: list[int], seed: int
    ) -> None:
        rows, _ = three_regimes(80, seed)
        rows[20:25] = np.nan
        edges = [0, *sorted(cuts), 80]
        regime_filter = RegimeFilter(fitted)
        pieces = [regime_filter.filter(rows[a:b])[0] for a, b in itertools.pairwise(edges)]
        np.testing.assert_array_equal(np.vstack(pieces), RegimeFilter(fitted).filter(rows)[0])

    def test_predicts_through_a_short_hole(self, fitted: RegimeModel) -> None:
        rows, _ = three_regimes(40)
        holed = rows.copy()
        holed[10:13] = np.nan
        probs, _ = RegimeFilter(fitted, max_hole=3).filter(holed)
        assert np.isnan(probs[10:13]).all()
        predicted = probs[9] @ np.linalg.matrix_power(fitted.transmat_, 4)
        density = [multivariate_normal(fitted.means_[k], fitted.covars_[k]).pdf(rows[13])
                   for k in range(3)]  # fmt: skip
        expected = predicted * density / (predicted * density).sum()
        np.testing.assert_allclose(probs[13], expected, rtol=1e-9)

    def test_missing_rows_and_unknown_rows_count_alike(self, fitted: RegimeModel) -> None:
        rows, _ = three_regimes(40)
        holed = rows.copy()
        holed[10:13] = np.nan
        steps = np.ones(37, np.int64)
        steps[10] = 4
        unknown = RegimeFilter(fitted, max_hole=3).filter(holed)[0][13:]
        missing = RegimeFilter(fitted, max_hole=3).filter(np.delete(rows, range(10, 13), 0), steps)
        np.testing.assert_array_equal(missing[0][10:], unknown)

    def test_starts_anew_after_a_long_hole(self, fitted: RegimeModel) -> None:
        rows, _ = three_regimes(40)
        holed = rows.copy()
        holed[10:14] = np.nan
        probs, _ = RegimeFilter(fitted, max_hole=3).filter(holed)
        fresh, _ = RegimeFilter(fitted, max_hole=3).filter(rows[14:])
        np.testing.assert_array_equal(probs[14:], fresh)

    def test_survives_a_row_whose_densities_all_underflow(self, fitted: RegimeModel) -> None:
        rows, _ = three_regimes(10)
        rows[5] = 1e4
        assert np.isfinite(RegimeFilter(fitted).filter(rows)[0]).all()
