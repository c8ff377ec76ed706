"""The three features of the ``seed`` set: return, range and relative volume."""

from __future__ import annotations

from math import log, nan

import numpy as np
import pandas as pd

from microstream_lab.features import forms
from microstream_lab.features.base import Feature, FloatArray, register
from microstream_lab.features.forms import Form, Measure
from microstream_lab.features.memory import SlidingSum, column
from microstream_lab.schema import Bar

__all__ = ["LogReturn", "Range", "RelativeVolume"]


@register
class LogReturn(Feature):
    """Momentum: ``ln(C_t / C_{t-1})``, positive when the price rose."""

    name = "log_return"
    unit = "1"
    direction = "high = rising"
    memory = "last close"
    warm_up = 1

    _last_close = nan

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        close = bars["close"].to_numpy()
        returns = np.empty(len(close))
        returns[:1] = np.nan
        changes = np.divide(close[1:], close[:-1], out=returns[1:])
        np.log(changes, out=changes)
        return returns

    def update(self, bar: Bar) -> float:
        last, self._last_close = self._last_close, bar.close
        return log(bar.close / last)

    def form(self) -> Form:
        return forms.value(Measure.LOG_CHANGE)


@register
class Range(Feature):
    """Volatility proxy: ``(H - L) / O``, zero when the price stood still."""

    name = "range"
    unit = "1"
    direction = "high = volatile"
    memory = "none"
    skewed = True
    warm_up = 0

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        high, low = bars["high"].to_numpy(), bars["low"].to_numpy()
        spread: FloatArray = high - low
        spread /= bars["open"].to_numpy()
        return spread

    def update(self, bar: Bar) -> float:
        return (bar.high - bar.low) / bar.open

    def form(self) -> Form:
        return forms.value(Measure.RANGE)


@register
class RelativeVolume(Feature):
    """Activity ratio: ``V / SMA(V)`` over the trailing window, the current bar included.

    Ranges from 0 to `window`; undefined (NaN) while nothing at all has traded in the window.
    """

    name = "relative_volume"
    unit = "1"
    direction = "high = busy"
    memory = "window"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._sum = SlidingSum(window)

    @property
    def warm_up(self) -> int:
        return self.window - 1

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        volume = column(bars, "volume")
        shares = self._sum.batch(volume)
        with np.errstate(invalid="ignore"):  # where nothing traded the last bar is 0 as well: NaN
            np.divide(volume, shares, out=shares)
        shares *= self.window
        return shares

    def update(self, bar: Bar) -> float:
        total = self._sum.update(bar.volume)
        return bar.volume / total * self.window if total > 0 else nan

    def form(self) -> Form:
        return forms.share(Measure.VOLUME, self._sum)
