"""Anomaly scores and filtered probabilities of raw features, one row after another or all at once.

Invariant: the figures are those of scaler, detector and filter one after another; a row with a NaN
has none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.filter import RegimeFilter
from microstream_lab.models.kernels.judgement import judge_row
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.threads import in_order

__all__ = ["Judge", "judge_rows"]

FloatArray = npt.NDArray[np.float64]


class Judge:
    """The models of a bundle, ready for one row at a time.

    Parameters
    ----------
    scaler : FeatureScaler
    detector : AnomalyDetector
    regime_filter : RegimeFilter
        Its state goes on with every row.
    """

    def __init__(
        self, scaler: FeatureScaler, detector: AnomalyDetector, regime_filter: RegimeFilter
    ) -> None:
        self._scale = float(detector.depth_scale)
        self._raw, self._step = np.empty(len(scaler.mean_)), np.ones(1, np.int64)
        self._probs, self._exponent = np.empty(len(regime_filter.state) - 1), np.empty(1)
        self._models = (
            *(np.array(known) for known in (scaler.floor_, scaler.mean_, scaler.scale_)),
            tuple(detector.tables),
            *regime_filter.parameters,
            regime_filter.max_hole,
        )
        self._memory = (regime_filter.state, self._probs, (0,) * len(scaler.mean_))
        # Compile or load now, where it can be waited for, and not at the first bar.
        self._raw[:] = np.nan
        judge_row(
            self._raw, self._step, *self._models, regime_filter.state.copy(), *self._memory[1:]
        )

    def update(self, row: Iterable[float], steps: int) -> tuple[float, list[float]]:
        """Anomaly score and filtered probabilities of the next row; NaN if a feature is.

        Parameters
        ----------
        row : iterable of n_features floats
            Features in their own units.
        steps : int
            Grid steps since the row before.
        """
        self._raw[:] = tuple(row)
        self._step[0] = steps
        depth = judge_row(self._raw, self._step, *self._models, *self._memory)
        probs: list[float] = self._probs.tolist()
        return self._score(depth), probs

    def _score(self, depth: float) -> float:
        if self._scale <= 0:
            return 1.0 if depth == depth else depth
        # The power of an array, as in batch: that of a float may differ in the last bit.
        self._exponent[0] = -depth / self._scale
        return float(np.power(2.0, self._exponent)[0])


def judge_rows(
    scaler: FeatureScaler,
    detector: AnomalyDetector,
    regime_filter: RegimeFilter,
    raw: FloatArray,
    steps: npt.NDArray[np.int64],
) -> tuple[FloatArray, FloatArray]:
    """Anomaly scores ``(n_rows,)`` and filtered probabilities ``(n_rows, K)`` of a series.

    Parameters
    ----------
    scaler, detector, regime_filter
        As of :class:`Judge`.
    raw : array of shape (n_rows, n_features)
        Features in their own units.
    steps : array of shape (n_rows,)
        Grid steps since the row before.
    """
    scores = np.full(len(raw), np.nan)
    probs = np.empty((len(raw), len(regime_filter.state) - 1))

    def scored(part: slice) -> FloatArray:
        rows = scaler.transform(raw[part])
        known = ~np.isnan(rows).any(axis=1)
        if known.any():
            scores[part][known] = detector.anomaly_score(rows[known])
        return rows

    for part, rows in in_order(len(raw), scored):
        probs[part] = regime_filter.filter(rows, steps[part])[0]
    return scores, probs
