"""Holding on to a regime: how sure one must be of another, and the memory that follows a series."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np

from microstream_lab.models.filter import GaussianChain, RegimeFilter
from microstream_lab.models.forecast import VolatilityForecast
from microstream_lab.models.kernels.levels import hold_regimes
from microstream_lab.models.tracking import FloatArray, Regimes

__all__ = ["LevelTracker", "learn_to_hold", "mean_stays"]

_SURE: Final = 5.3
"""Log odds of 99.5 %: surer than that nobody has to be, or a restless market is never told of."""


class Levels(GaussianChain, Protocol):
    """What a tracker needs of a fitted model of levels."""

    forecast_: VolatilityForecast
    center_: float
    weights_: FloatArray
    enter_: float

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
        self.state = np.concatenate([self._filter.state, [model.center_, -1.0]])
        # One array in three views: each kernel keeps its own part.
        self._filter.state = self.state[:-2]
        self._mean, self._held = self.state[-2:-1], self.state[-1:]
        self.n_regimes = model.weights_.shape[1]

    @property
    def parameters(self) -> tuple[Any, ...]:
        """What :func:`~microstream_lab.models.kernels.judgement.judge_levels` takes of a model."""
        model = self._model
        forecast, merging = model.forecast_.parameters, (np.array(model.weights_), model.enter_)
        return *self._filter.parameters, self._filter.max_hole, forecast, model.drift, *merging

    def track(self, rows: Any, steps: Any = None) -> tuple[FloatArray, Regimes]:
        """See :class:`microstream_lab.models.tracking.Tracker`."""
        return self.follow(self.prepare(rows), steps)

    def prepare(self, rows: Any) -> FloatArray:
        """Forecasts."""
        return self._model.forecast_.predict(rows)

    def follow(self, prepared: FloatArray, steps: Any = None) -> tuple[FloatArray, Regimes]:
        """See :class:`microstream_lab.models.tracking.Tracker`."""
        model = self._model
        heights = model.without_drift(prepared, self._mean)
        level_probs, _ = self._filter.filter(heights[:, None], steps)
        probs, regimes = hold_regimes(level_probs, model.weights_, model.enter_, self._held)
        return probs, regimes


def learn_to_hold(level_probs: FloatArray, weights: FloatArray, allowed: float) -> float:
    """The lowest probability to change at that keeps to a number of changes, at most 99.5 %.

    Parameters
    ----------
    level_probs : array of shape (n_rows, n_levels)
        Filtered probabilities of the training rows.
    weights : array of shape (n_levels, K)
        Share of each level that belongs to each regime.
    allowed : float
        Changes of regime in all rows.
    """

    def changes(odds: float) -> int:
        told = hold_regimes(level_probs, weights, _probability(odds), np.array([-1.0]))[1]
        return int(np.count_nonzero(np.diff(told)))

    low, high = 0.0, _SURE
    if changes(low) <= allowed:
        return _probability(low)
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (low, middle) if changes(middle) <= allowed else (middle, high)
    return _probability(high)


def mean_stays(regimes: Regimes, n_regimes: int) -> FloatArray:
    """Mean number of rows in a row in each regime, shape ``(K,)``; NaN for one never told."""
    starts = np.flatnonzero(np.diff(regimes, prepend=np.int8(-1)) != 0)
    stays, told = np.diff(np.append(starts, len(regimes))), regimes[starts]
    known = [stays[told == k] for k in range(n_regimes)]
    return np.array([stay.mean() if len(stay) else np.nan for stay in known])


def _probability(log_odds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-log_odds)))
