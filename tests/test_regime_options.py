"""Covariance types, declared priors and smoothed starts of the regime model."""

from __future__ import annotations

import numpy as np
import pytest
from factories import make_states
from hmmlearn.hmm import GaussianHMM
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import dirichlet, invgamma

from microstream_lab.errors import FitError, SettingsError
from microstream_lab.models.ascent import COVARIANCES, AscentOptions, climb, require_sound
from microstream_lab.models.priors import PRIORS, RegimePrior
from microstream_lab.models.regime import RegimeModel

LADDER = np.array([0.5, 1.0, 2.0])


def spreading_rows(n: int = 1500, d: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows with zero mean whose spread doubles from regime to regime, and the truth."""
    states = make_states(n, seed)
    rows = np.random.default_rng(seed).normal(size=(n, d)) * LADDER[states, None]
    return rows, states


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_covariances_have_their_shape_and_the_filter_is_hmmlearns(covariance: str) -> None:
    rng = np.random.default_rng(1)
    states = make_states(900, 1)
    rows = np.array([[-2.0, 1], [0, 0], [2, -1]])[states] + rng.normal(size=(900, 2)) * [1, 0.5]
    rows[:, 1] += 0.4 * rows[:, 0]
    model = RegimeModel(n_starts=3, covariance=covariance).fit(rows, volatility=states * 1.0)
    assert (model.predict(rows) == states).mean() > 0.95
    off_diagonal = np.abs(model.covars_[:, 0, 1])
    assert (off_diagonal > 1e-3).all() == (covariance in ("full", "tied"))
    if covariance == "tied":
        np.testing.assert_array_equal(model.covars_[0], model.covars_[1])
    if covariance == "spherical":
        np.testing.assert_allclose(model.covars_[:, 0, 0], model.covars_[:, 1, 1])
    oracle = GaussianHMM(3, "full")
    oracle.startprob_, oracle.transmat_ = model.startprob_, model.transmat_
    oracle.means_, oracle.covars_ = model.means_, model.covars_
    expected = [oracle.predict_proba(rows[: t + 1])[-1] for t in range(60)]
    np.testing.assert_allclose(model.filtered_probs(rows)[:60], expected, atol=1e-9)


def test_fewer_parameters_recover_many_noisy_features_better() -> None:
    states = np.repeat([0, 1, 2, 0, 1, 2], [80, 60, 60, 80, 60, 60])
    rng = np.random.default_rng(2)
    rows = np.array([0.3, 0, -0.3])[states, None] + rng.normal(size=(400, 15))
    right = {
        covariance: (
            RegimeModel(covariance=covariance, starts="smoothed")
            .fit(rows, volatility=-rows.mean(axis=1))
            .predict(rows)
            == states
        ).mean()
        for covariance in ("full", "spherical")
    }
    assert right["spherical"] > max(0.9, right["full"])


def test_smoothed_starts_say_so_and_follow_the_seed() -> None:
    rows, _ = spreading_rows(300, 4)
    one, two = (RegimeModel(starts="smoothed", random_state=3).fit(rows) for _ in range(2))
    assert {log["kind"] for log in one.starts_} == {"smoothed"}
    np.testing.assert_array_equal(one.means_, two.means_)


@given(
    k=st.integers(2, 5),
    longest=st.floats(20, 2000),
    share=st.floats(0.1, 1),
    ratio=st.floats(1.1, 3),
)
def test_a_prior_says_what_its_words_say(
    k: int, longest: float, share: float, ratio: float
) -> None:
    prior = RegimePrior(longest, longest * share, ratio)
    transitions = prior.transitions(k)
    np.testing.assert_allclose(transitions.sum(axis=1), 1)
    stays = 1 / (1 - np.diag(transitions))
    assert stays[[0, -1]] == pytest.approx([longest, longest * share])
    assert np.ptp(np.diff(np.log(stays))) == pytest.approx(0, abs=1e-6)
    variances = prior.variances(k, 2, 6)
    assert np.sqrt(variances[1:] / variances[:-1]) == pytest.approx(ratio)


def test_log_density_is_that_of_dirichlet_rows_and_inverse_gamma_variances() -> None:
    """Up to a constant; variances are measured on a log scale, where the level has no say."""
    rng = np.random.default_rng(0)
    prior = PRIORS["calm_lasts_longest"]
    gaps = []
    for number in range(6):
        believed = prior.variances(3, number, 6)
        transitions = rng.dirichlet([5, 1, 1], 3)
        variances = rng.uniform(0.2, 4, 3)
        rows = zip(transitions, prior.moves(3) + 1, strict=True)
        expected = sum(dirichlet(counts).logpdf(row) for row, counts in rows)
        gamma = invgamma(prior.n_rows / 2, scale=prior.n_rows / 2 * believed)
        expected += (gamma.logpdf(variances) + np.log(variances)).sum()
        covars = variances[:, None, None]
        gaps.append(prior.log_density(transitions, covars, believed) - expected)
    assert np.ptp(gaps) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_posterior_density_never_falls_on_the_way_up(covariance: str) -> None:
    rows, _ = spreading_rows(600, 1 if covariance == "spherical" else 2)
    options = AscentOptions(
        n_regimes=3,
        n_starts=3,
        max_iter=60,
        tol=1e-7,
        stay=0.9,
        sticky_prior=0.0,
        covar_floor=0.0,
        covariance=covariance,
        prior=PRIORS["volatility_ladder"],
        starts="mixed",
        seed=0,
    )
    for number in range(3):
        ascent = climb(rows, None, options, number)
        history = np.array(ascent.hmm.monitor_.history)
        assert len(history) > 3
        assert (np.diff(history) > -1e-6).all()
        np.testing.assert_allclose(ascent.hmm.means_, 0, atol=1e-5)


def test_start_of_the_highest_posterior_density_is_kept_and_likelihoods_are_logged() -> None:
    rows, _ = spreading_rows()
    model = RegimeModel(prior="calm_lasts_longest").fit(rows)
    assert {log["kind"] for log in model.starts_} == {"level"}
    best = max(log["log_likelihood"] for log in model.starts_)
    assert model.score(rows) == pytest.approx(best, abs=0.02)


def test_a_model_with_a_covariance_that_has_no_inverse_is_not_used() -> None:
    hmm = GaussianHMM(2, "full")
    hmm.n_features = 2
    hmm.transmat_, hmm.means_ = np.full((2, 2), 0.5), np.zeros((2, 2))
    hmm.covars_ = np.array([np.eye(2), np.eye(2)])
    require_sound(hmm)
    hmm._covars_[1] = np.ones((2, 2))  # as hmmlearn leaves it after a last step
    with pytest.raises(FitError, match="covariance without spread"):
        require_sound(hmm)
    hmm._covars_[1] = np.inf
    with pytest.raises(FitError, match="covars_ that are not finite"):
        require_sound(hmm)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "round"}, "covariance: found 'round'"),
        ({"starts": "anywhere"}, "starts: found 'anywhere'"),
        ({"prior": "optimism"}, "prior: found 'optimism'"),
        ({"prior": "volatility_ladder", "covariance": "tied"}, "found 'tied' with a prior"),
    ],
)
def test_options_that_do_not_exist_or_go_together_are_refused(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        RegimeModel(**options).fit(spreading_rows(100)[0])
