"""How far the price has gone lately, whichever way: the span of the last bars."""

from __future__ import annotations

from collections import deque
from math import ceil, log
from typing import TYPE_CHECKING

from microstream_lab.features import forms
from microstream_lab.features.forms import Form, Measure
from microstream_lab.features.horizon import HorizonFeature, register_horizons
from microstream_lab.features.memory import FloatArray, log_ratio
from microstream_lab.schema import Bar

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Span"]


@register_horizons(60)
class Span(HorizonFeature):
    """From the lowest to the highest price of the horizon: ``ln(max H / min L)``.

    Sees a crash of many moderate bars, all the same way, which means of single ranges do not. After
    a gap it starts anew with the bars there are, since the price may have gone anywhere meanwhile.

    References
    ----------
    Alizadeh, Brandt and Diebold (2002), Range-based estimation of stochastic volatility models,
    Journal of Finance 57, for the log range over an interval of any length.
    """

    name = "span"
    unit = "1"
    direction = "high = volatile"
    memory = "window"
    skewed = True
    spans_gaps = False

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._length = ceil(self.horizon_bars)
        self._highs: deque[float] = deque(maxlen=self._length)
        self._lows: deque[float] = deque(maxlen=self._length)

    @property
    def warm_up(self) -> int:
        return 0

    @property
    def settled(self) -> int:
        return self._length

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        high = bars["high"].rolling(self._length, min_periods=1).max()
        low = bars["low"].rolling(self._length, min_periods=1).min()
        return log_ratio(high.to_numpy(), low.to_numpy())

    def update(self, bar: Bar) -> float:
        self._highs.append(bar.high)
        self._lows.append(bar.low)
        return log(max(self._highs) / min(self._lows))

    def form(self) -> Form:
        return forms.span(Measure.HIGH, Measure.LOW, self._length)
