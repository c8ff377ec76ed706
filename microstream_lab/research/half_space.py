"""Half-Space Trees: the best known detector for streams of rows, as a rival.

Invariant: a row is scored before it is learnt, by the mass of the window before; no row after it
has a say.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from microstream_lab.compiled import compiled

__all__ = ["half_space_scores"]

Floats = npt.NDArray[np.float64]
_LEAST_SHARE: Final = 0.1


def half_space_scores(
    rows: Floats,
    low: Floats,
    high: Floats,
    *,
    n_trees: int = 25,
    depth: int = 15,
    window: int = 250,
    seed: int = 0,
) -> Floats:
    """Anomaly score of each row, high where little was seen; NaN in the first window.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Finite rows in time order.
    low, high : ndarray of shape (n_features,)
        Range that the trees divide, as the paper has it: a point in the range, then as far to
        both sides as twice the longer side.
    n_trees, depth, window
        The paper's 25, 15 and 250.
    seed : int
        Of the trees.

    Returns
    -------
    ndarray of shape (n_rows,)
        Minus the mean over trees of mass times ``2 ** depth`` at the node where a row ends.

    References
    ----------
    Tan, Ting and Liu (2011), Fast anomaly detection for streaming data, IJCAI, algorithms 1 to 3.
    """
    rng = np.random.default_rng(seed)
    n_nodes = 2 ** (depth + 1) - 1
    features = rng.integers(0, rows.shape[1], (n_trees, n_nodes))
    splits = np.empty((n_trees, n_nodes))
    width = np.where(high > low, high - low, 1.0)
    for tree in range(n_trees):
        middle = rng.random(rows.shape[1])
        reach = 2 * np.maximum(middle, 1 - middle)
        begin, end = low + width * (middle - reach), low + width * (middle + reach)
        _divide(features[tree], splits[tree], begin, end)
    scores: Floats = _stream(rows, features, splits, depth, window, _LEAST_SHARE * window)
    return scores


def _divide(features: npt.NDArray[np.int64], splits: Floats, begin: Floats, end: Floats) -> None:
    """Halve a randomly chosen side of each node's box, from the root on."""
    _halve(features, splits, np.tile(begin, (len(splits), 1)), np.tile(end, (len(splits), 1)))


@compiled
def _halve(features: npt.NDArray[np.int64], splits: Floats, low: Floats, high: Floats) -> None:
    for node in range(len(splits)):
        side = features[node]
        splits[node] = (low[node, side] + high[node, side]) / 2
        for child in range(2 * node + 1, min(2 * node + 3, len(splits))):
            low[child], high[child] = low[node], high[node]
            if child == 2 * node + 1:
                high[child, side] = splits[node]
            else:
                low[child, side] = splits[node]


@compiled
def _stream(
    rows: Floats,
    features: npt.NDArray[np.int64],
    splits: Floats,
    depth: int,
    window: int,
    least: float,
) -> Floats:
    n_trees, n_nodes = splits.shape
    scores = np.full(len(rows), np.nan)
    known = np.zeros((n_trees, n_nodes), np.int32)
    latest = np.zeros((n_trees, n_nodes), np.int32)
    for row in range(len(rows)):
        if row > 0 and row % window == 0:
            known, latest = latest, known
            latest[:] = 0
        total = 0.0
        for tree in range(n_trees):
            node, ended = 0, False
            for level in range(depth + 1):
                latest[tree, node] += 1
                if not ended and (level == depth or known[tree, node] <= least):
                    total += known[tree, node] * 2.0**level
                    ended = True
                right = rows[row, features[tree, node]] >= splits[tree, node]
                node = 2 * node + 1 + int(right)
                if node >= n_nodes:
                    break
        if row >= window:
            scores[row] = -total / n_trees
    return scores
