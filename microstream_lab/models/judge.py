"""Anomaly scores and filtered probabilities of raw features, one row after another or all at once.

Invariant: the figures are those of scaler, detector and filter one after another; a row with a NaN
has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan, nan
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.holding import LevelTracker
from microstream_lab.models.kernels.judgement import judge_levels, judge_row
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.models.tracking import FilterTracker, Regimes, Tracker, expectation
from microstream_lab.threads import in_order

__all__ = ["Judge", "Judged", "judge_for", "judge_rows"]

FloatArray = npt.NDArray[np.float64]


class Judged(NamedTuple):
    """What the models say of a series.

    Attributes
    ----------
    scores, quantiles : ndarray of shape (n_rows,)
        Anomaly scores, and the share of the training rows that scored no higher.
    filtered_probs : ndarray of shape (n_rows, K)
    regimes : ndarray of shape (n_rows,)
    stress : ndarray of shape (n_rows,)
        What is to be expected under the filtered probabilities of the states.
    """

    scores: FloatArray
    quantiles: FloatArray
    filtered_probs: FloatArray
    regimes: Regimes
    stress: FloatArray


class Judge(Protocol):
    """The models of a bundle, ready for one row at a time."""

    def update(self, row: Iterable[float], steps: int) -> tuple[float, list[float], int]:
        """Anomaly score, filtered probabilities and regime of the next row.

        NaN and -1 if a feature is NaN.

        Parameters
        ----------
        row : iterable of n_features floats
            Features in their own units.
        steps : int
            Grid steps since the row before.
        """


def judge_for(scaler: FeatureScaler, detector: AnomalyDetector, tracker: Tracker) -> Judge:
    """The judge for these models; the tracker's state goes on with every row."""
    if isinstance(tracker, LevelTracker):
        return _LevelJudge(scaler, detector, tracker)
    if isinstance(tracker, FilterTracker):
        return _FilterJudge(scaler, detector, tracker)
    raise TypeError(f"no judge for a tracker of type {type(tracker).__name__}")


class _Row:
    """What both judges need for a row: room for it, the scaler's figures, and the forest."""

    def __init__(self, scaler: FeatureScaler, detector: AnomalyDetector) -> None:
        self.scaling = np.array([scaler.floor_, scaler.mean_, scaler.scale_], dtype=np.float64)
        self.forest = tuple(detector.row_tables)
        sizes = self.scaling.shape[1], len(detector.tables.columns)
        self.dims = tuple((0,) * size for size in sizes)
        self.raw = np.full(sizes[0], np.nan)
        self._scale, self._exponent = float(detector.depth_scale), np.empty(1)

    def score(self, depth: float) -> float:
        """Anomaly score of a summed depth; NaN for NaN."""
        if self._scale <= 0:
            return nan if isnan(depth) else 1.0
        # The power of an array, as in batch: that of a float may differ in the last bit.
        self._exponent[0] = -depth / self._scale
        return float(np.power(2.0, self._exponent)[0])


class _FilterJudge:
    """All in one compiled call, for the plain filter."""

    def __init__(
        self, scaler: FeatureScaler, detector: AnomalyDetector, tracker: FilterTracker
    ) -> None:
        self._row, state = _Row(scaler, detector), tracker.state
        self._filtered, self._unknown = state[:-1], [nan] * (len(state) - 1)
        models = (*tracker.filter.parameters, tracker.filter.max_hole)
        self._models = (self._row.scaling, self._row.forest, *models)
        self._state = state
        # Compile or load now, where it can be waited for, and not at the first bar.
        judge_row(self._row.raw, 1, *self._models, state.copy(), *self._row.dims)

    def update(self, row: Iterable[float], steps: int) -> tuple[float, list[float], int]:
        """See :class:`Judge`."""
        self._row.raw[:] = tuple(row)
        depth = judge_row(self._row.raw, steps, *self._models, self._state, *self._row.dims)
        if isnan(depth):
            return nan, self._unknown.copy(), -1
        probs: list[float] = self._filtered.tolist()
        return self._row.score(depth), probs, probs.index(max(probs))


class _LevelJudge:
    """All in one compiled call, for levels of a forecast."""

    def __init__(
        self, scaler: FeatureScaler, detector: AnomalyDetector, tracker: LevelTracker
    ) -> None:
        self._row, self._state = _Row(scaler, detector), tracker.state
        self._models = (self._row.scaling, self._row.forest, *tracker.parameters)
        self._probs = np.empty(tracker.n_regimes)
        # Compile or load now, where it can be waited for, and not at the first bar.
        rest = (self._probs, *self._row.dims)
        judge_levels(self._row.raw, 1, *self._models, self._state.copy(), *rest)

    def update(self, row: Iterable[float], steps: int) -> tuple[float, list[float], int]:
        """See :class:`Judge`."""
        self._row.raw[:] = tuple(row)
        depth, regime = judge_levels(
            self._row.raw, steps, *self._models, self._state, self._probs, *self._row.dims
        )
        return self._row.score(depth), self._probs.tolist(), regime


def judge_rows(
    scaler: FeatureScaler,
    detector: AnomalyDetector,
    tracker: Tracker,
    stress: FloatArray,
    columns: Sequence[FloatArray],
    steps: npt.NDArray[np.int64],
) -> Judged:
    """The judgement of a whole series, which lies column by column.

    Parameters
    ----------
    scaler, detector, tracker
        As of :func:`judge_for`.
    stress : array of shape (n_states,)
        What is to be expected in each of the tracker's states.
    columns : sequence of n_features arrays of shape (n_rows,)
        Features in their own units.
    steps : array of shape (n_rows,)
        Grid steps since the row before.
    """
    scores, quantiles = np.full((2, len(steps)), np.nan)
    forest, tracked = detector.forest_for(len(steps)), []

    def scored(part: slice) -> FloatArray:
        rows = scaler.scaled_columns([column[part] for column in columns]).T
        known = ~np.isnan(rows).any(axis=1)
        inside = slice(None) if known.all() else known  # without a copy, as almost always
        if known.any():
            scores[part][inside] = detector.scores_of(rows[inside], forest)
            quantiles[part][inside] = detector.reference_.quantiles(scores[part][inside])
        return tracker.prepare(rows)

    for part, prepared in in_order(len(steps), scored):
        probs, regimes, states = tracker.follow(prepared, steps[part])
        tracked.append((probs, regimes, expectation(states.T, stress)))
    probs, regimes, expected = (np.concatenate(parts) for parts in zip(*tracked, strict=True))
    return Judged(scores, quantiles, probs, regimes, expected)
