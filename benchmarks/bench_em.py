"""EM of a Gaussian hidden Markov model beside hmmlearn's: one iteration, and ten starts."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
from hmmlearn.hmm import GaussianHMM
from joblib import Parallel, delayed
from made_up import rows
from turns import Figure, publish, ratio, take_turns, told

from microstream_lab.models.em import FastGaussianHMM

logging.getLogger("hmmlearn").setLevel(logging.ERROR)  # that all iterations are done is intended
ROWS, START_ROWS, STARTS, ITERATIONS = 1_000_000, 100_000, 10, 10
HOW = (
    "{n:,} made-up rows of 3 features, K=3, full covariances, one E- and one M-step from the same "
    "start in turns, one thread; log likelihoods agree to {error:.1e}."
)
HOW_STARTS = (
    "{n} starts from random rows, {m} iterations each on 100,000 rows, the start itself not "
    "counted; ours share two threads, hmmlearn takes them one after the other; the best log "
    "likelihoods agree to {error:.1e}."
)


def begun(kind: type[GaussianHMM], X: np.ndarray, seed: int, **options: object) -> GaussianHMM:
    """A model with means at random rows, ready for its first iteration."""
    model = kind(3, "full", init_params="", **options)
    model.startprob_, model.transmat_ = np.full(3, 1 / 3), 0.96 * np.eye(3) + 0.04 / 3
    model.means_ = X[np.random.default_rng(seed).choice(len(X), 3, replace=False)]
    model.n_features = X.shape[1]
    model.covars_ = np.repeat(np.cov(X, rowvar=False)[None], 3, axis=0)
    return model


def iterate(model: GaussianHMM, X: np.ndarray) -> float:
    """One iteration of EM from the same parameters each time; its log likelihood."""
    kept = [model.startprob_, model.transmat_, model.means_, model.covars_]
    statistics, log_likelihood = model._do_estep(X, np.array([len(X)]))
    model._do_mstep(statistics)
    model.startprob_, model.transmat_, model.means_, model.covars_ = kept
    return log_likelihood


def one_iteration() -> list[Figure]:
    """Against both of hmmlearn's implementations."""
    X = rows(ROWS)
    models = {
        "ours": begun(FastGaussianHMM, X, 0),
        "scaling": begun(GaussianHMM, X, 0, implementation="scaling"),
        "log": begun(GaussianHMM, X, 0),
    }
    found = {name: iterate(model, X) for name, model in models.items()}
    taken = take_turns({name: partial(iterate, m, X) for name, m in models.items()}, 5)
    figures = []
    for name, goal in (("scaling", 5.0), ("log", 12.0)):
        error = abs(found["ours"] / found[name] - 1)
        assert error < 1e-9, f"log likelihoods differ by {error}"
        figures.append(
            Figure(
                f"EM iteration, {ROWS:,} x 3, K=3, full",
                f"hmmlearn {name!r}",
                goal,
                ratio(taken[name], taken["ours"]),
                told(taken["ours"], ROWS, " a row"),
                told(taken[name], ROWS, " a row"),
                HOW.format(n=ROWS, error=error),
            )
        )
    return figures


def fitted(kind: type[GaussianHMM], X: np.ndarray, seed: int) -> float:
    """Log likelihood that a start ends with."""
    return begun(kind, X, seed, n_iter=ITERATIONS, tol=-np.inf).fit(X).monitor_.history[-1]


def ten_starts() -> Figure:
    """Two threads against hmmlearn's default, one start after the other."""
    X = rows(START_ROWS)

    def ours() -> float:
        jobs = (delayed(fitted)(FastGaussianHMM, X, seed) for seed in range(STARTS))
        return max(Parallel(n_jobs=2, prefer="threads")(jobs))

    def theirs() -> float:
        return max(fitted(GaussianHMM, X, seed) for seed in range(STARTS))

    error = abs(ours() / theirs() - 1)
    assert error < 1e-9, f"log likelihoods differ by {error}"
    taken = take_turns({"ours": ours, "theirs": theirs}, 2)
    return Figure(
        f"{STARTS} starts of EM, {START_ROWS:,} x 3, two cores",
        "hmmlearn 'log', serial",
        15.0,
        ratio(taken["theirs"], taken["ours"]),
        told(taken["ours"]),
        told(taken["theirs"]),
        HOW_STARTS.format(n=STARTS, m=ITERATIONS, error=error),
    )


if __name__ == "__main__":
    publish(*one_iteration(), ten_starts())
