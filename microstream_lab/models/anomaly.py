"""The anomaly detector: scikit-learn's Isolation Forest, scored by a compiled kernel.

Liu, Ting and Zhou (2008), Isolation Forest, ICDM, equation 2: the score is ``2 ** -(d / c)`` with d
the mean depth at which a row is isolated and c the mean depth of an unsuccessful search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.ensemble import IsolationForest
from sklearn.utils.validation import check_is_fitted, validate_data

from microstream_lab.models.forest import ForestTables, mean_search_depth, tabulate
from microstream_lab.threads import over_rows

__all__ = ["AnomalyDetector"]

FloatArray = npt.NDArray[np.float64]


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
    columns : sequence of int, optional
        Columns that trees may cut along; all by default.

    Attributes
    ----------
    threshold_ : float
        Rows with a higher ``anomaly_score`` are anomalies.

    References
    ----------
    Liu, Ting and Zhou (2008), Isolation Forest, ICDM, doi:10.1109/ICDM.2008.17
    """

    _tables: ForestTables | None = None

    def __init__(
        self,
        contamination: float = 0.05,
        n_estimators: int = 100,
        max_samples: int | str = "auto",
        random_state: int | None = None,
        columns: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            contamination=contamination,
            n_estimators=n_estimators,
            max_samples=max_samples,
            random_state=random_state,
        )
        self.columns = columns

    def fit(self, X: Any, y: None = None) -> AnomalyDetector:
        """Grow the trees and learn the threshold on `X`, shape ``(n_rows, n_features)``, finite."""
        rows = validate_data(self, X, accept_sparse=True, ensure_min_samples=2)
        if self.columns is not None:
            # A tree never cuts along a column that does not vary, and scoring stays as it is.
            rows = np.where(np.isin(np.arange(rows.shape[1]), self.columns), rows, 0.0)
        super().fit(rows, y)
        self._tables = tabulate(self)
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
        if self.depth_scale <= 0:
            return np.full(len(rows), -1.0)
        tables, scores = self.tables, np.empty(len(rows))

        def score(part: slice) -> None:
            scores[part] = -(2.0 ** -(tables.depths(rows[part]) / self.depth_scale))

        over_rows(len(rows), score)
        return scores

    @property
    def tables(self) -> ForestTables:
        """The forest as the kernels read it; derived from the trees, never saved."""
        if self._tables is None:
            self._tables = tabulate(self)
        return self._tables

    @property
    def depth_scale(self) -> float:
        """Summed depth that scores 0.5; 0 for a forest of single rows, which scores 1."""
        return len(self.estimators_) * float(mean_search_depth(np.array(self.max_samples_)))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_tables": None}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        return tags
