"""Volatility and its direction over several horizons, from close-to-close returns."""

from __future__ import annotations

from math import ceil, nan, sqrt

import numpy as np
import pandas as pd

from microstream_lab.features.changes import LastClose, log_changes
from microstream_lab.features.horizon import HorizonFeature, register_horizons
from microstream_lab.features.memory import Decay, FloatArray, SlidingSum, ratio
from microstream_lab.schema import Bar

__all__ = ["DownsideShare", "EwmaVolatility", "RealisedVolatility"]


@register_horizons(30, 60, 240, 1440)
class EwmaVolatility(HorizonFeature):
    """Volatility per bar from returns: ``sqrt(EWMA(r^2))``, ``r = ln(C_t/C_{t-1})``.

    The half-life is the horizon; weights are normalised. The return over a gap is left out.

    References
    ----------
    RiskMetrics (1996), Technical Document, for the exponential weights.
    """

    name = "ewma_volatility"
    unit = "1"
    direction = "high = volatile"
    memory = "half-life"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._last = LastClose(interval)
        self._variance = Decay(self.horizon_bars, self.warm_up)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        return np.sqrt(self._variance.batch(log_changes(bars) ** 2))

    def update(self, bar: Bar) -> float:
        change = self._last.log_change(bar)
        return sqrt(self._variance.update(change * change))


@register_horizons(60, 240, 1440)
class RealisedVolatility(HorizonFeature):
    """Realised volatility per bar over the horizon: ``sqrt(mean(r^2))``, the terms of a HAR model.

    One hour, four hours and a day of bars, as Corsi's day, week and month. The returns over gaps
    are left out; the window is the last so many there are.

    References
    ----------
    Corsi (2009), A simple approximate long-memory model of realized volatility, Journal of
    Financial Econometrics 7, section 2.
    """

    name = "realised_volatility"
    unit = "1"
    direction = "high = volatile"
    memory = "window"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._last = LastClose(interval)
        self._squares = SlidingSum(self.warm_up)

    @property
    def warm_up(self) -> int:
        return ceil(self.horizon_bars)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        squares = self._squares.batch(log_changes(bars) ** 2)
        return np.sqrt(squares / self.warm_up)

    def update(self, bar: Bar) -> float:
        change = self._last.log_change(bar)
        return sqrt(self._squares.update(change * change) / self.warm_up)


@register_horizons(60, 240, 1440)
class DownsideShare(HorizonFeature):
    """Share of falls in the variance: ``EWMA(r^2 [r < 0]) / EWMA(r^2)``, 0 .. 1.

    The half-life is the horizon. One half where rises and falls weigh the same; undefined (NaN)
    before the price first moves.

    References
    ----------
    Patton and Sheppard (2015), Good volatility, bad volatility: signed jumps and the persistence
    of volatility, Review of Economics and Statistics 97, for the semivariances.
    """

    name = "downside_share"
    unit = "1"
    direction = "high = falling"
    memory = "half-life"

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._last = LastClose(interval)
        self._falls = Decay(self.horizon_bars, self.warm_up)
        self._moves = Decay(self.horizon_bars, self.warm_up)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        changes = log_changes(bars)
        squares = changes**2
        falls = self._falls.batch(np.where(changes > 0, 0.0, squares))
        moves = self._moves.batch(squares)
        return ratio(falls, moves)

    def update(self, bar: Bar) -> float:
        change = self._last.log_change(bar)
        square = change * change
        falls = self._falls.update(0.0 if change > 0 else square)
        moves = self._moves.update(square)
        return falls / moves if moves > 0 else nan
