"""Volatility per bar over several horizons, from each bar's range and from returns."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pandas as pd

from microstream_lab.features.horizon import HorizonFeature, register_horizons
from microstream_lab.features.memory import Decay, FloatArray, column, log_ratio
from microstream_lab.schema import Bar

__all__ = ["Parkinson"]

_FOUR_LN_2 = 4 * log(2)


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
