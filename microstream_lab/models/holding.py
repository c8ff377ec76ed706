"""Holding on to a regime: how sure one must be of another, and the memory that follows a series."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from microstream_lab.models.filter import GaussianChain, RegimeFilter
from microstream_lab.models.forecast import VolatilityForecast
from microstream_lab.models.kernels.levels import hold_regimes, recent_shocks
from microstream_lab.models.tracking import FloatArray, Regimes, Track

__all__ = [
    "NO_SHOCKS",
    "Bounds",
    "LevelTracker",
    "Shocks",
    "learn_shocks",
    "learn_to_hold",
    "mean_stays",
]

_SURE: Final = 5.3
"""Log odds of 99.5 %: surer than that nobody has to be, or a restless market is never told of."""
_CRISIS_SURE, _CRISIS_LEFT = 0.999, 0.01
"""Where shocks tell of a crisis, a forecast alone has to be surer, and to end it as well."""


class Bounds(NamedTuple):
    """Probabilities that change the regime told.

    One is told from ``enter`` on, or when the one before falls below ``1 - enter``; but the last
    one, the crisis, is told from ``sure`` on, and until it falls below ``leave``.
    """

    enter: float
    sure: float
    leave: float

    @classmethod
    def at(cls, enter: float, with_shocks: bool) -> Bounds:
        """Those for `enter`: the same for every regime, unless shocks tell of the crisis."""
        if not with_shocks:
            return cls(enter, enter, 1.0 - enter)
        return cls(enter, _CRISIS_SURE, min(_CRISIS_LEFT, 1.0 - enter))


class Shocks(NamedTuple):
    """What tells that something has just happened, whatever is to be expected of the hour to come.

    It is ``column`` of the rows, brought to the forecast's scale by ``scale``, from ``cut`` on.
    """

    column: int
    scale: float
    cut: float

    def recent(self, rows: FloatArray) -> FloatArray:
        """What has just happened at each row, on the forecast's scale, shape ``(n_rows,)``."""
        return np.asarray(rows[:, self.column] * self.scale)

    def told(self, recent: FloatArray, drift: FloatArray) -> npt.NDArray[np.bool_]:
        """Which rows are shocks, drift taken out, shape ``(n_rows,)``."""
        return np.asarray(recent_shocks(recent, drift, self.cut))


NO_SHOCKS: Final = Shocks(0, 0.0, math.inf)
"""Of a model whose rows do not tell."""


class Levels(GaussianChain, Protocol):
    """What a tracker needs of a fitted model of levels."""

    forecast_: VolatilityForecast
    mean_: float
    weights_: FloatArray
    bounds_: Bounds
    shocks_: Shocks

    @property
    def drift(self) -> tuple[float, float, float]:
        """How fast the mean is followed, how much of it, and where it was in training."""

    def without_drift(self, forecasts: FloatArray, mean: FloatArray) -> FloatArray:
        """Forecasts less the drift followed; `mean`, shape ``(1,)``, is left ready for the next."""


class LevelTracker:
    """Follows one series: the drift of its forecasts, their level, and the regime held.

    Parameters
    ----------
    model : LevelModel
    max_hole : int
        Unobserved steps in a row that are predicted through; after more the levels start anew.

    Attributes
    ----------
    state : ndarray of shape (n_levels + 3,)
        Level probabilities, unobserved steps, slow mean of the forecast, regime held (-1 for none).
    """

    def __init__(self, model: Levels, max_hole: int) -> None:
        self._model = model
        self._filter = RegimeFilter(model, max_hole)
        self.state = np.concatenate([self._filter.state, [model.mean_, -1.0]])
        # One array in three views: each kernel keeps its own part.
        self._filter.state = self.state[:-2]
        self._mean, self._held = self.state[-2:-1], self.state[-1:]
        self.n_regimes = model.weights_.shape[1]

    @property
    def parameters(self) -> tuple[Any, ...]:
        """See :class:`microstream_lab.models.tracking.Tracker`."""
        model = self._model
        merging = np.array(model.weights_), tuple(model.bounds_)
        known = model.forecast_.parameters, model.drift, tuple(model.shocks_)
        return *self._filter.parameters, self._filter.max_hole, *known, merging

    def track(self, rows: Any, steps: Any = None) -> Track:
        """See :class:`microstream_lab.models.tracking.Tracker`."""
        return self.follow(self.prepare(rows), steps)

    def prepare(self, rows: Any) -> FloatArray:
        """Forecasts, and what has just happened: shape ``(n_rows, 2)``."""
        known = np.asarray(rows, dtype=np.float64)
        recent = self._model.shocks_.recent(known)
        return np.column_stack([self._model.forecast_.predict(known), recent])

    def follow(self, prepared: FloatArray, steps: Any = None) -> Track:
        """See :class:`microstream_lab.models.tracking.Tracker`."""
        model = self._model
        forecasts, recent = np.ascontiguousarray(prepared.T)
        heights = model.without_drift(forecasts, self._mean)
        shocks = model.shocks_.told(recent, forecasts - heights)
        level_probs, _ = self._filter.filter(heights[:, None], steps)
        merging = model.weights_, tuple(model.bounds_)
        probs, regimes = hold_regimes(level_probs, *merging, shocks, self._held)
        return Track(probs, regimes, level_probs)


def learn_shocks(
    column: int | None, share: float, rows: FloatArray, forecasts: FloatArray, drift: FloatArray
) -> Shocks:
    """What a shock is: the highest `share` of a column of the training rows, drift taken out.

    None is one without a column that tells.
    """
    if column is None:
        return NO_SHOCKS
    scale = float(forecasts.std() / max(rows[:, column].std(), 1e-12))
    return Shocks(column, scale, float(np.quantile(rows[:, column] * scale - drift, 1 - share)))


def learn_to_hold(
    level_probs: FloatArray,
    weights: FloatArray,
    allowed: float,
    shocks: npt.NDArray[np.bool_] | None = None,
) -> Bounds:
    """The lowest probability to change at that keeps to a number of changes, at most 99.5 %.

    Parameters
    ----------
    level_probs : array of shape (n_rows, n_levels)
        Filtered probabilities of the training rows.
    weights : array of shape (n_levels, K)
        Share of each level that belongs to each regime.
    allowed : float
        Changes of regime in all rows.
    shocks : array of shape (n_rows,), optional
        Rows that enter the last regime at once, where the features tell.
    """
    known = np.zeros(len(level_probs), np.bool_) if shocks is None else shocks

    def bounds(odds: float) -> Bounds:
        return Bounds.at(float(1.0 / (1.0 + np.exp(-odds))), shocks is not None)

    def changes(odds: float) -> int:
        state = np.array([-1.0])
        told = hold_regimes(level_probs, weights, tuple(bounds(odds)), known, state)[1]
        return int(np.count_nonzero(np.diff(told)))

    low, high = 0.0, _SURE
    if changes(low) <= allowed:
        return bounds(low)
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (low, middle) if changes(middle) <= allowed else (middle, high)
    return bounds(high)


def mean_stays(regimes: Regimes, n_regimes: int) -> FloatArray:
    """Mean number of rows in a row in each regime, shape ``(K,)``; NaN for one never told."""
    starts = np.flatnonzero(np.diff(regimes, prepend=np.int8(-1)) != 0)
    stays, told = np.diff(np.append(starts, len(regimes))), regimes[starts]
    known = [stays[told == k] for k in range(n_regimes)]
    return np.array([stay.mean() if len(stay) else np.nan for stay in known])
