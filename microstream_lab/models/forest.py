"""A fitted Isolation Forest as flat tables that are looked up instead of walked.

Invariant: the tables hold scikit-learn's own cuts and depths, so depths equal scikit-learn's in
every bit; they are derived, never saved.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest

from microstream_lab.models.kernels.forest import LEAVES_PER_WORD, mark_leaves, summed_depths
from microstream_lab.models.sizes import size_for

__all__ = ["ForestTables", "mean_search_depth", "tabulate"]

FloatArray = npt.NDArray[np.float64]
_MANY: Final = 4096


class ForestTables(NamedTuple):
    """What :func:`~microstream_lab.models.kernels.forest.summed_depths` reads, in its order."""

    columns: npt.NDArray[np.int64]
    cuts: FloatArray
    starts: npt.NDArray[np.uint32]
    intervals: npt.NDArray[Any]
    base: npt.NDArray[np.uint32]
    possible: npt.NDArray[np.uint64]
    leaf_depths: FloatArray

    def depths(self, rows: npt.NDArray[np.float32]) -> FloatArray:
        """Depth of each finite row summed over all trees, shape ``(n_rows,)``."""
        return np.asarray(summed_depths(rows, *self, size_for(len(self.columns), len(rows), _MANY)))


def mean_search_depth(n: npt.NDArray[Any]) -> FloatArray:
    """Mean depth of an unsuccessful search among n rows.

    References
    ----------
    Liu, Ting and Zhou (2008), Isolation Forest, ICDM, equation 1.
    """
    safe = np.maximum(n, 3).astype(np.float64)
    depth = 2.0 * (np.log(safe - 1.0) + np.euler_gamma) - 2.0 * (safe - 1.0) / safe
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, depth))


def tabulate(forest: IsolationForest) -> ForestTables:
    """Tables of a fitted forest; about a megabyte for a hundred trees of 256 rows."""
    trees = [_Tree(forest, number) for number in range(len(forest.estimators_))]
    columns = np.unique(np.concatenate([tree.feature[tree.inner] for tree in trees]))
    columns = columns if len(columns) else np.zeros(1, np.int64)  # trees of one leaf cut nowhere
    own_cuts = [[tree.cuts_along(f) for f in columns] for tree in trees]
    cuts = [np.unique(np.concatenate(along)) for along in zip(*own_cuts, strict=True)]
    counts = np.array([[len(along) for along in tree_cuts] for tree_cuts in own_cuts])
    ends = np.cumsum(counts + 1).reshape(counts.shape)
    base = (ends - counts - 1).astype(np.uint32)
    n_pairs = -(-max(tree.n_leaves for tree in trees) // (2 * LEAVES_PER_WORD))
    possible = np.zeros((n_pairs, int(ends[-1, -1]), 2), np.uint64)
    leaf_depths = np.zeros((len(trees), n_pairs, 2, 64))
    for tree, along, n_cuts, begin, depths in zip(
        trees, own_cuts, counts, base, leaf_depths, strict=True
    ):
        tree.mark(columns, along, n_cuts, begin.astype(np.int64), possible, depths)
    return ForestTables(
        columns=columns.astype(np.int64),
        cuts=np.concatenate(cuts),
        starts=np.cumsum([0, *(len(along) for along in cuts)]).astype(np.uint32),
        intervals=_intervals(cuts, own_cuts).astype(np.min_scalar_type(counts.max())),
        base=base,
        possible=possible,
        leaf_depths=leaf_depths,
    )


def _intervals(cuts: list[FloatArray], own_cuts: list[list[FloatArray]]) -> npt.NDArray[np.int64]:
    """Each tree's own interval for every interval between the cuts of all trees."""
    ends = [np.append(along, np.inf) for along in cuts]
    return np.array(
        [
            np.concatenate([np.searchsorted(own, end) for own, end in zip(tree, ends, strict=True)])
            for tree in own_cuts
        ]
    )


class _Tree:
    """One tree of a forest, its features numbered as in the forest's rows."""

    def __init__(self, forest: IsolationForest, number: int) -> None:
        tree, columns = forest.estimators_[number].tree_, forest.estimators_features_[number]
        self.left, self.right = tree.children_left, tree.children_right
        self.threshold = tree.threshold
        self.inner = self.left >= 0
        self.feature = np.where(self.inner, columns[np.maximum(tree.feature, 0)], -1)
        # The very operations of scikit-learn in its order, for the same bits.
        self.depth = tree.compute_node_depths() + mean_search_depth(tree.n_node_samples) - 1.0
        self.n_leaves = int((~self.inner).sum())

    def cuts_along(self, feature: int) -> FloatArray:
        """Distinct cuts along a feature, ascending."""
        return np.unique(self.threshold[self.feature == feature])

    def mark(
        self,
        columns: npt.NDArray[np.int64],
        cuts: list[FloatArray],
        n_cuts: npt.NDArray[np.int64],
        base: npt.NDArray[np.int64],
        possible: npt.NDArray[np.uint64],
        leaf_depths: FloatArray,
    ) -> None:
        """Write this tree's part of the tables."""
        cut, column = np.zeros((2, len(self.left)), np.int64)
        for number, along in enumerate(cuts):
            here = self.feature == columns[number]
            cut[here], column[here] = np.searchsorted(along, self.threshold[here]), number
        tree = (self.left, self.right, column, cut, self.depth)
        mark_leaves(*tree, n_cuts, base, possible, leaf_depths)
