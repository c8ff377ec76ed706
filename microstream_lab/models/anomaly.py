"""The anomaly detector: scikit-learn's Isolation Forest, scored by a compiled kernel.

Liu, Ting and Zhou (2008), Isolation Forest, ICDM, equation 2: the score is ``2 ** -(d / c)`` with d
the mean depth at which a row is isolated and c the mean depth of an unsuccessful search.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.ensemble import IsolationForest
from sklearn.utils.validation import check_is_fitted, validate_data

from microstream_lab.models.kernels import forest_depths

__all__ = ["AnomalyDetector"]

FloatArray = npt.NDArray[np.float64]


class _Forest(NamedTuple):
    """All trees in flat arrays, as :func:`~microstream_lab.models.kernels.forest_depths` reads."""

    roots: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    threshold: FloatArray
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    depth: FloatArray


def _mean_search_depth(n: npt.NDArray[Any]) -> FloatArray:
    """Mean depth of an unsuccessful search among n rows (Liu et al., equation 1)."""
    safe = np.maximum(n, 3).astype(np.float64)
    depth = 2.0 * (np.log(safe - 1.0) + np.euler_gamma) - 2.0 * (safe - 1.0) / safe
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, depth))


class AnomalyDetector(IsolationForest):  # type: ignore[misc]
    """Isolation Forest with scores that rise with strangeness, and a threshold learnt in training.

    Parameters
    ----------
    contamination : float
        Share of the training rows to flag, in (0, 0.5]; it sets the threshold.
    n_estimators : int
        Trees.
    max_samples : int
        Rows each tree is grown on.
    random_state : int, optional
        Seed.

    Attributes
    ----------
    threshold_ : float
        Rows with a higher ``anomaly_score`` are anomalies.

    References
    ----------
    Liu, Ting and Zhou (2008), Isolation Forest, ICDM, doi:10.1109/ICDM.2008.17
    """

    def __init__(
        self,
        contamination: float = 0.05,
        n_estimators: int = 100,
        max_samples: int | str = "auto",
        random_state: int | None = None,
    ) -> None:
        super().__init__(
            contamination=contamination,
            n_estimators=n_estimators,
            max_samples=max_samples,
            random_state=random_state,
        )

    def fit(self, X: Any, y: None = None) -> AnomalyDetector:
        """Grow the trees and learn the threshold on `X`, shape ``(n_rows, n_features)``, finite."""
        super().fit(validate_data(self, X, accept_sparse=True, ensure_min_samples=2), y)
        self.forest_ = self._flatten()
        self.threshold_ = -float(self.offset_)
        return self

    def anomaly_score(self, X: Any) -> FloatArray:
        """Anomaly score of each row, shape ``(n_rows,)``, in (0, 1]; high means anomalous."""
        return -self.score_samples(X)

    def score_samples(self, X: Any) -> FloatArray:
        """scikit-learn's sign: the negative of :meth:`anomaly_score`."""
        check_is_fitted(self)
        if issparse(X):
            return np.asarray(super().score_samples(X))
        rows = validate_data(self, X, reset=False, dtype=np.float32, order="C")
        scale = len(self.estimators_) * float(_mean_search_depth(np.array(self.max_samples_)))
        depths = forest_depths(rows, *self.forest_)
        return -(2.0 ** -(depths / scale)) if scale > 0 else np.full(len(rows), -1.0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        return tags

    def _flatten(self) -> _Forest:
        parts: list[tuple[npt.NDArray[Any], ...]] = []
        roots, offset = [], 0
        for estimator, columns in zip(self.estimators_, self.estimators_features_, strict=True):
            tree = estimator.tree_
            leaf = tree.children_left < 0
            depth = np.where(leaf, _depths(tree) + _mean_search_depth(tree.n_node_samples), 0.0)
            left = np.where(leaf, -1, tree.children_left + offset)
            right = np.where(leaf, -1, tree.children_right + offset)
            parts.append((columns[np.maximum(tree.feature, 0)], tree.threshold, left, right, depth))
            roots.append(offset)
            offset += tree.node_count
        flat = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return _Forest(np.array(roots), *flat)


def _depths(tree: Any) -> FloatArray:
    """Depth of every node of a tree, the root at 0."""
    depths = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # children always come after their parent
        if tree.children_left[node] >= 0:
            depths[[tree.children_left[node], tree.children_right[node]]] = depths[node] + 1
    return depths
