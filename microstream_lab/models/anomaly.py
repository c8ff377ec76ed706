"""The anomaly detector: scikit-learn's Isolation Forest, scored by a compiled kernel.

Liu, Ting and Zhou (2008), Isolation Forest, ICDM, equation 2: the score is ``2 ** -(d / c)`` with d
the mean depth at which a row is isolated and c the mean depth of an unsuccessful search.

A forest cuts only between values it has seen, so a row beyond the training extremes scores like
the extreme itself. Sentinels, training rows of which one value is moved out there, make it cut
outside as well, and what lies out there is soon alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.ensemble import IsolationForest
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from microstream_lab.models.cells import ForestCells, note_cells_of
from microstream_lab.models.forest import ForestTables, mean_search_depth, tabulate
from microstream_lab.models.reference import ScoreReference
from microstream_lab.threads import PART_ROWS, over_rows

__all__ = ["AnomalyDetector"]

FloatArray = npt.NDArray[np.float64]
_REACH = 0.25  # of a column's range: sentinels further out would leave the edge to chance


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
    sentinels : float
        Sentinels for each training row, at least 0; threshold and quantiles are those of the
        training rows alone.

    Attributes
    ----------
    threshold_ : float
        Rows with a higher ``anomaly_score`` are anomalies.
    reference_ : ScoreReference
        Scores of the training rows, as quantiles.

    References
    ----------
    Liu, Ting and Zhou (2008), Isolation Forest, ICDM, doi:10.1109/ICDM.2008.17
    """

    _tables: ForestTables | None = None
    _row_tables: ForestTables | None = None
    _cells: tuple[ForestCells | None] | None = None

    def __init__(
        self,
        contamination: float = 0.05,
        n_estimators: int = 100,
        max_samples: int | str = "auto",
        random_state: int | None = None,
        columns: Sequence[int] | None = None,
        sentinels: float = 0.0,
    ) -> None:
        super().__init__(
            contamination=contamination,
            n_estimators=n_estimators,
            max_samples=max_samples,
            random_state=random_state,
        )
        self.columns = columns
        self.sentinels = sentinels

    def fit(self, X: Any, y: None = None) -> AnomalyDetector:
        """Grow the trees and learn the threshold on `X`, shape ``(n_rows, n_features)``, finite."""
        rows = validate_data(self, X, accept_sparse=True, ensure_min_samples=2)
        if self.columns is not None:
            # A tree never cuts along a column that does not vary, and scoring stays as it is.
            rows = np.where(np.isin(np.arange(rows.shape[1]), self.columns), rows, 0.0)
        self._tables = self._row_tables = self._cells = None
        super().fit(self._with_sentinels(rows), y)
        scores = self.anomaly_score(rows)
        if self.contamination != "auto":
            self.offset_ = -np.percentile(scores, 100.0 * (1.0 - self.contamination))
        self.threshold_ = -float(self.offset_)
        self.reference_ = ScoreReference.of(scores)
        return self

    def _with_sentinels(self, rows: Any) -> Any:
        n_sentinels = 0 if issparse(rows) else int(self.sentinels * len(rows))
        varying = np.flatnonzero(np.ptp(rows, axis=0) > 0) if n_sentinels else np.empty(0, int)
        if not len(varying):
            return rows
        random = check_random_state(self.random_state)
        moved = rows[random.randint(len(rows), size=n_sentinels)]
        column = varying[random.randint(len(varying), size=n_sentinels)]
        low, high = rows.min(axis=0)[column], rows.max(axis=0)[column]
        beyond = _REACH * (high - low) * random.random_sample(n_sentinels)
        upwards = random.random_sample(n_sentinels) < 0.5
        moved[np.arange(n_sentinels), column] = np.where(upwards, high + beyond, low - beyond)
        return np.concatenate([rows, moved])

    def anomaly_score(self, X: Any) -> FloatArray:
        """Anomaly score of each row, shape ``(n_rows,)``, in (0, 1]; high means anomalous."""
        return -self.score_samples(X)

    def anomaly_quantile(self, X: Any) -> FloatArray:
        """Share of the training rows whose score is no higher, shape ``(n_rows,)``, 0 .. 1."""
        return self.reference_.quantiles(self.anomaly_score(X))

    def score_samples(self, X: Any) -> FloatArray:
        """scikit-learn's sign: the negative of :meth:`anomaly_score`."""
        check_is_fitted(self)
        if issparse(X):
            return np.asarray(super().score_samples(X))
        rows = validate_data(self, X, reset=False, dtype=np.float32, order="C")
        forest, scores = self.forest_for(len(rows)), np.empty(len(rows))

        def score(part: slice) -> None:
            scores[part] = -self.scores_of(rows[part], forest)

        over_rows(len(rows), score)
        return scores

    def scores_of(self, rows: npt.NDArray[Any], forest: ForestTables | ForestCells) -> FloatArray:
        """Anomaly score of each finite row, unchecked: what parts of many rows are shared out for.

        Parameters
        ----------
        rows : array of shape (n_rows, n_features)
        forest : ForestTables or ForestCells
            What :meth:`forest_for` gave for all the rows there are.
        """
        if self.depth_scale <= 0:
            return np.ones(len(rows))
        if isinstance(forest, ForestTables):
            depths = forest.depths(np.ascontiguousarray(rows, np.float32))
        else:
            columns = [rows[:, column] for column in self.tables.columns]
            depths = forest.depths(np.array(columns, np.float32))
        return np.asarray(2.0 ** -(depths / self.depth_scale))

    def forest_for(self, n_rows: int) -> ForestTables | ForestCells:
        """What to look so many rows up in: noting the leaves of all cells has to be worth while."""
        if n_rows < PART_ROWS:
            return self.tables
        if self._cells is None:
            self._cells = (note_cells_of(self.tables),)
        return self._cells[0] or self.tables

    @property
    def tables(self) -> ForestTables:
        """The forest as the kernels read it; derived from the trees, never saved."""
        if self._tables is None:
            self._tables = tabulate(self)
        return self._tables

    @property
    def row_tables(self) -> ForestTables:
        """The same for one row at a time: what all trees say of one interval lies side by side.

        A row then reads a handful of cache lines instead of one for every tree and feature.
        """
        if self._row_tables is None:
            intervals = np.asfortranarray(self.tables.intervals)
            self._row_tables = self.tables._replace(intervals=intervals)
        return self._row_tables

    @property
    def depth_scale(self) -> float:
        """Summed depth that scores 0.5; 0 for a forest of single rows, which scores 1."""
        return len(self.estimators_) * float(mean_search_depth(np.array(self.max_samples_)))

    def __getstate__(self) -> dict[str, Any]:
        derived = dict.fromkeys(("_tables", "_row_tables", "_cells"))
        return {**super().__getstate__(), **derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        unknown = ScoreReference(np.empty(0))  # fitted before there were quantiles
        later = {"sentinels": 0.0} | ({"reference_": unknown} if "threshold_" in state else {})
        super().__setstate__(later | state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        return tags
