"""Where EM sets out from: seeded starting points for a Gaussian hidden Markov model.

EM only finds the next local optimum, and those differ by several per cent in likelihood on real
minutes, so a fit tries starts of three kinds and keeps the best.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d
from sklearn.cluster import KMeans

__all__ = ["Start", "make_start", "neighbour_moves", "smoothed_start", "sticky_transitions"]

FloatArray = npt.NDArray[np.float64]
_CLUSTER_ROWS = 5000
"""k-means on more rows than this costs more than the EM it prepares."""
_WINDOWS = (15, 1, 5)
"""Rows in the moving means of successive starts. A long one finds regimes that last behind much
noise, and drowns a short stay that is plain to see without any."""


class Start(NamedTuple):
    """Initial emission parameters and the kind of start they come from."""

    kind: str
    means: FloatArray
    covars: FloatArray


def sticky_transitions(n_regimes: int, stay: float) -> FloatArray:
    """Transition matrix that stays with probability `stay` and leaves evenly."""
    transitions = np.full((n_regimes, n_regimes), (1.0 - stay) / (n_regimes - 1))
    np.fill_diagonal(transitions, stay)
    return transitions


def neighbour_moves(n_levels: int, move: float) -> FloatArray:
    """Transition matrix of a level that moves to each of its neighbours with probability `move`."""
    beside = np.full(n_levels - 1, move)
    transitions = np.diag(beside, 1) + np.diag(beside, -1)
    return np.asarray(transitions + np.diag(1.0 - transitions.sum(axis=1)))


def make_start(rows: FloatArray, n_regimes: int, number: int, seed: int) -> Start:
    """Start `number` (0, 1, ...) for `rows`, shape ``(n_rows, n_features)``.

    The first start groups rows by their distance from the median, which is how calm and crisis
    differ; later ones alternate between k-means clusters and random rows.
    """
    rng = np.random.default_rng([seed, number])
    spread = np.cov(rows, rowvar=False, ddof=0).reshape(rows.shape[1], -1)
    if number > 0 and number % 2 == 0:
        means = rows[rng.choice(len(rows), n_regimes, replace=False)]
        return Start("random", means, np.repeat(spread[None], n_regimes, axis=0))
    if number == 0:
        distance = np.linalg.norm(rows - np.median(rows, axis=0), axis=1)
        rank = np.argsort(np.argsort(distance, kind="stable"), kind="stable")
        labels, kind = rank * n_regimes // len(rows), "distance"
    else:
        some = rows[rng.choice(len(rows), min(len(rows), _CLUSTER_ROWS), replace=False)]
        clusters = KMeans(n_regimes, n_init=1, random_state=int(rng.integers(2**31))).fit(some)
        labels, kind = clusters.predict(rows), "k-means"
    return _grouped(kind, rows, labels, n_regimes)


def smoothed_start(rows: FloatArray, n_regimes: int, number: int, seed: int) -> Start:
    """Start `number` from clusters of the first principal component of the smoothed rows.

    Where many noisy features move together, what lasts is seen best after a moving mean, along the
    direction in which the means vary most; k-means then only has to cut one line.
    """
    rng = np.random.default_rng([seed, number])
    window = _WINDOWS[number % len(_WINDOWS)]
    smoothed = uniform_filter1d(rows, min(window, len(rows)), axis=0, mode="nearest")
    centred = smoothed - smoothed.mean(axis=0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1:]
    clusters = KMeans(n_regimes, n_init=1, random_state=int(rng.integers(2**31)))
    labels = clusters.fit_predict(centred @ direction)
    return _grouped("smoothed", rows, labels, n_regimes)


def _grouped(kind: str, rows: FloatArray, labels: npt.NDArray[Any], n_regimes: int) -> Start:
    """Means and covariances of groups of rows, a little of the common spread in each."""
    spread = np.cov(rows, rowvar=False, ddof=0).reshape(rows.shape[1], -1)
    groups = [rows[labels == k] if (labels == k).any() else rows for k in range(n_regimes)]
    means = np.array([group.mean(axis=0) for group in groups])
    covars = np.array([np.cov(g, rowvar=False, ddof=0).reshape(spread.shape) for g in groups])
    return Start(kind, means, covars + 0.05 * spread)
