"""The compiled E-step against hmmlearn's, and against every path of a small chain enumerated."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from scipy.stats import multivariate_normal

from microstream_lab.models import em
from microstream_lab.models.em import FastGaussianHMM

KINDS = ("full", "tied", "diag", "spherical")
STATISTICS = {"full": "obs*obs.T", "tied": "obs*obs.T", "diag": "obs**2", "spherical": "obs**2"}


def rows_of(n: int, n_features: int, n_regimes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, n, n_features])
    states = np.repeat(rng.integers(0, n_regimes, n // 10 + 1), 10)[:n]
    level, spread = rng.normal(0, 2, (n_regimes, n_features)), np.linspace(0.5, 2, n_regimes)
    mixing = np.eye(n_features) + 0.3 * rng.normal(size=(n_features, n_features))
    return level[states] + spread[states, None] * rng.normal(size=(n, n_features)) @ mixing


def model_of(kind: type[GaussianHMM], X: np.ndarray, k: int, covariance: str, **options):
    """A model that is ready for a first E-step, from the same start whatever its class."""
    model = kind(k, covariance, init_params="", **options)
    model.startprob_ = np.full(k, 1 / k)
    model.transmat_ = np.full((k, k), 0.1 / k) + 0.9 * np.eye(k)
    model.means_ = X[np.linspace(0, len(X) - 1, k).astype(int)].copy()
    whole = np.cov(X, rowvar=False).reshape(X.shape[1], -1)
    model.n_features = X.shape[1]
    model.covars_ = {
        "full": np.array([whole * (1 + i / 3) for i in range(k)]),
        "tied": whole,
        "diag": np.array([np.diag(whole) * (1 + i / 3) for i in range(k)]),
        "spherical": np.linspace(1, 2, k) * np.trace(whole),
    }[covariance]
    return model


def both(X: np.ndarray, k: int, covariance: str, **options):
    return [model_of(kind, X, k, covariance, **options) for kind in (FastGaussianHMM, GaussianHMM)]


def assert_same_estep(ours, theirs, X, lengths) -> None:
    mine, my_likelihood = ours._do_estep(X, lengths)
    known, likelihood = theirs._do_estep(X, lengths)
    assert my_likelihood == pytest.approx(likelihood, rel=1e-9)
    assert mine.keys() == known.keys()
    for name in known:
        np.testing.assert_allclose(mine[name], known[name], rtol=1e-7, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("covariance", KINDS)
@pytest.mark.parametrize(("k", "n_features"), [(1, 1), (2, 3), (3, 3), (5, 2)])
def test_statistics_equal_hmmlearns(covariance: str, k: int, n_features: int) -> None:
    X = rows_of(600, n_features, max(k, 2))
    assert_same_estep(*both(X, k, covariance), X, np.array([400, 1, 199]))


@pytest.mark.parametrize("params", ["", "s", "t", "m", "c", "mc", "st"])
@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_statistics_nobody_asked_for_stay_as_hmmlearn_leaves_them(
    params: str, covariance: str
) -> None:
    X = rows_of(200, 2, 3)
    assert_same_estep(*both(X, 3, covariance, params=params), X, np.array([200]))


@pytest.mark.parametrize("implementation", ["scaling", "log"])
def test_a_fit_has_hmmlearns_history_and_parameters(implementation: str) -> None:
    X = rows_of(3000, 3, 3)
    priors = {"transmat_prior": 1 + 5 * np.eye(3), "covars_prior": 0.01 * np.eye(3)}
    ours, theirs = both(X, 3, "full", n_iter=15, tol=1e-3, implementation=implementation, **priors)
    ours.fit(X, [1000, 2000])
    theirs.fit(X, [1000, 2000])
    np.testing.assert_allclose(ours.monitor_.history, theirs.monitor_.history, rtol=1e-9)
    assert (ours.monitor_.iter, ours.monitor_.converged) == (
        theirs.monitor_.iter,
        theirs.monitor_.converged,
    )
    for name in ("startprob_", "transmat_", "means_", "covars_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6)


def test_likelihood_and_moves_equal_those_of_all_paths_enumerated() -> None:
    X, k = rows_of(6, 2, 2), 2
    model = model_of(FastGaussianHMM, X, k, "full")
    density = np.array(
        [
            multivariate_normal(mean, covar).pdf(X)
            for mean, covar in zip(model.means_, model.covars_, strict=True)
        ]
    ).T
    total, moves, first = 0.0, np.zeros((k, k)), np.zeros(k)
    for path in itertools.product(range(k), repeat=len(X)):
        chance = model.startprob_[path[0]] * density[range(len(X)), path].prod()
        chance *= np.prod([model.transmat_[step] for step in itertools.pairwise(path)])
        total += chance
        first[path[0]] += chance
        for step in itertools.pairwise(path):
            moves[step] += chance
    statistics, log_likelihood = model._do_estep(X, np.array([len(X)]))
    assert log_likelihood == pytest.approx(np.log(total), rel=1e-12)
    np.testing.assert_allclose(statistics["trans"], moves / total, rtol=1e-10)
    np.testing.assert_allclose(statistics["start"], first / total, rtol=1e-10)


def test_sizes_known_to_the_compiler_and_others_give_the_same_bits(monkeypatch) -> None:
    X = rows_of(300, 3, 3)
    model = model_of(FastGaussianHMM, X, 3, "full")
    general = model._do_estep(X, np.array([300]))
    monkeypatch.setattr(em, "_MANY", 1)
    special = model._do_estep(X, np.array([300]))
    assert special[1] == general[1]
    for name in general[0]:
        np.testing.assert_array_equal(special[0][name], general[0][name])


def test_a_row_eighty_sigmas_out_is_no_trouble_and_scaling_refuses_it_as_hmmlearn_does() -> None:
    X = rows_of(500, 3, 3)
    logs, scalings = (both(X, 3, "full", implementation=name) for name in ("log", "scaling"))
    X[250] = 80 * X.std(axis=0)
    assert_same_estep(*logs, X, np.array([500]))
    for model in scalings:
        with pytest.raises(ValueError, match="underflow"):
            model._do_estep(X, np.array([500]))


def test_a_row_that_only_an_impossible_regime_explains_is_left_to_hmmlearn() -> None:
    X = rows_of(300, 1, 2)
    X[100] = 500.0
    ours, theirs = both(X, 2, "spherical")
    for model in (ours, theirs):
        model.startprob_, model.transmat_ = np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.5, 0.5]])
        model.means_, model.covars_ = np.array([[0.0], [500.0]]), np.array([1.0, 1.0])
    assert_same_estep(ours, theirs, X, np.array([300]))


def test_forbidden_moves_stay_forbidden() -> None:
    X = rows_of(200, 2, 3)
    ours, theirs = both(X, 3, "full", n_iter=5)
    for model in (ours, theirs):
        model.startprob_ = np.array([1.0, 0.0, 0.0])
        model.transmat_ = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
        model.fit(X)
    np.testing.assert_allclose(ours.transmat_, theirs.transmat_, atol=1e-8)
    assert (ours.transmat_[[0, 1, 2, 2], [2, 0, 0, 1]] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_rows_of_other_types_are_taken(dtype: type) -> None:
    X = (10 * rows_of(300, 2, 3)).astype(dtype)
    ours, theirs = both(X.astype(float), 3, "full", n_iter=3)
    np.testing.assert_allclose(ours.fit(X).means_, theirs.fit(X.astype(float)).means_, rtol=1e-5)


def test_lengths_that_do_not_add_up_are_refused() -> None:
    X = rows_of(50, 2, 2)
    with pytest.raises(ValueError, match="sum to 50"):
        model_of(FastGaussianHMM, X, 2, "full").fit(X, [20, 20])


def test_a_fitted_model_keeps_no_working_space_and_can_be_pickled() -> None:
    X = rows_of(5000, 2, 2)
    model = model_of(FastGaussianHMM, X, 2, "full", n_iter=2).fit(X)
    kept = pickle.dumps(model)
    assert len(kept) < 5000
    np.testing.assert_array_equal(pickle.loads(kept).means_, model.means_)
