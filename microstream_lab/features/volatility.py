"""Volatility per bar over several horizons, from the four prices of each bar."""

from __future__ import annotations

from math import ceil, log, sqrt
from typing import TypeVar

import numpy as np
import pandas as pd

from microstream_lab.features import forms
from microstream_lab.features.changes import LastClose, log_changes
from microstream_lab.features.forms import Form, Measure
from microstream_lab.features.horizon import HorizonFeature, register_horizons
from microstream_lab.features.memory import Decay, FloatArray, SlidingSum, column, log_ratio
from microstream_lab.schema import Bar

__all__ = ["GarmanKlass", "MeanRange", "Parkinson", "YangZhang"]

_Number = TypeVar("_Number", float, FloatArray)
_FOUR_LN_2 = 4 * log(2)
_BODY_WEIGHT = 2 * log(2) - 1


@register_horizons(5, 15, 60, 240, 1440, 7200)
class Parkinson(HorizonFeature):
    """Volatility per bar from ranges: ``sqrt(EWMA(ln(H/L)^2 / (4 ln 2)))``.

    The root of an exponentially weighted mean with normalised weights whose half-life is the
    horizon; a bar that did not move contributes zero. About five times as efficient as the same
    mean of squared returns.

    References
    ----------
    Parkinson (1980), The extreme value method for estimating the variance of the rate of return,
    Journal of Business 53.
    """

    name = "parkinson"
    unit = "1"
    direction = "high = volatile"
    memory = "half-life"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._variance = Decay(self.horizon_bars, self.warm_up + 1)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        log_range = log_ratio(column(bars, "high"), column(bars, "low"))
        variance: FloatArray = self._variance.batch(log_range**2) / _FOUR_LN_2
        return np.sqrt(variance)

    def update(self, bar: Bar) -> float:
        log_range = log(bar.high / bar.low)
        return sqrt(self._variance.update(log_range * log_range) / _FOUR_LN_2)


@register_horizons(5, 15, 60, 240, 1440)
class MeanRange(HorizonFeature):
    """Mean log range of a bar: ``EWMA(ln(H/L))``.

    The mean is of the ranges themselves and not of their squares, so that one wild bar does not
    drown the rest: it tells the coming hour's volatility better than :class:`Parkinson` does.

    References
    ----------
    Alizadeh, Brandt and Diebold (2002), Range-based estimation of stochastic volatility models,
    Journal of Finance 57, for the log range as a proxy that is robust to noise.
    """

    name = "mean_range"
    unit = "1"
    direction = "high = volatile"
    memory = "half-life"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._mean = Decay(self.horizon_bars, self.warm_up + 1)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        return self._mean.batch(log_ratio(column(bars, "high"), column(bars, "low")))

    def update(self, bar: Bar) -> float:
        return self._mean.update(log(bar.high / bar.low))

    def form(self) -> Form:
        return forms.mean(Measure.LOG_RANGE, self._mean)


@register_horizons(60, 240, 1440)
class GarmanKlass(HorizonFeature):
    """Volatility per bar: ``sqrt(mean(0.5 ln(H/L)^2 - (2 ln 2 - 1) ln(C/O)^2))``.

    The mean of as many bars as the horizon has. More efficient than the range alone where prices
    move without a trend.

    References
    ----------
    Garman and Klass (1980), On the estimation of security price volatilities from historical data,
    Journal of Business 53, the practical form of their best estimator.
    """

    name = "garman_klass"
    unit = "1"
    direction = "high = volatile"
    memory = "window"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._length = ceil(self.horizon_bars)
        self._variance = SlidingSum(self._length)

    @property
    def warm_up(self) -> int:
        return ceil(self.horizon_bars) - 1

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        log_range = log_ratio(column(bars, "high"), column(bars, "low"))
        body = log_ratio(column(bars, "close"), column(bars, "open"))
        variance = self._variance.batch(0.5 * log_range**2 - _BODY_WEIGHT * body**2)
        return np.sqrt(variance / self._length)

    def update(self, bar: Bar) -> float:
        log_range, body = log(bar.high / bar.low), log(bar.close / bar.open)
        term = 0.5 * (log_range * log_range) - _BODY_WEIGHT * (body * body)
        return sqrt(self._variance.update(term) / self._length)


@register_horizons(60, 240, 1440)
class YangZhang(HorizonFeature):
    """Volatility per bar: ``sqrt(var(o) + k var(c) + (1 - k) mean(h (h - c) + l (l - c)))``.

    ``o = ln(O_t/C_{t-1})``, and ``h``, ``l`` and ``c`` are the logs of high, low and close over the
    open; ``k = 0.34 / (1.34 + (n + 1) / (n - 1))`` for the n bars of the horizon. Right for prices
    with a trend and for bars that open away from the last close, thin ones above all.

    References
    ----------
    Yang and Zhang (2000), Drift-independent volatility estimation based on high, low, open, and
    close prices, Journal of Business 73.
    """

    name = "yang_zhang"
    unit = "1"
    direction = "high = volatile"
    memory = "window"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        n = self._length = self.warm_up
        self._share = 0.34 / (1.34 + (n + 1) / (n - 1))
        self._last = LastClose(interval)
        self._jumps, self._square_jumps = SlidingSum(n), SlidingSum(n)
        self._bodies, self._square_bodies = SlidingSum(n), SlidingSum(n)
        self._within = SlidingSum(n)

    @property
    def warm_up(self) -> int:
        return ceil(self.horizon_bars)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        jump = log_changes(bars, "open")
        high, low, body = (
            log_ratio(column(bars, name), column(bars, "open")) for name in ("high", "low", "close")
        )
        jumps, bodies = self._jumps.batch(jump), self._bodies.batch(body)
        jump_variance = self._square_jumps.batch(jump**2) - jumps * jumps / self._length
        body_variance = self._square_bodies.batch(body**2) - bodies * bodies / self._length
        within = self._within.batch(high * (high - body) + low * (low - body))
        variance = self._combined(jump_variance, body_variance, within)
        return np.sqrt(np.maximum(variance, 0.0))

    def update(self, bar: Bar) -> float:
        jump = self._last.log_change_to(bar.open, bar)
        self._last.log_change(bar)
        high, low, body = (log(price / bar.open) for price in (bar.high, bar.low, bar.close))
        jumps, bodies = self._jumps.update(jump), self._bodies.update(body)
        jump_variance = self._square_jumps.update(jump * jump) - jumps * jumps / self._length
        body_variance = self._square_bodies.update(body * body) - bodies * bodies / self._length
        within = self._within.update(high * (high - body) + low * (low - body))
        variance = self._combined(jump_variance, body_variance, within)
        return 0.0 if variance < 0 else sqrt(variance)

    def _combined(self, jumps: _Number, bodies: _Number, within: _Number) -> _Number:
        """Variance of a bar from the sums of the three parts' variation."""
        return (jumps + self._share * bodies) / (self._length - 1) + (
            1 - self._share
        ) * within / self._length
