"""What the calendar says: markets have quiet hours and busy ones, and weekends."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from microstream_lab.features import forms
from microstream_lab.features.base import Feature, FloatArray, register
from microstream_lab.features.forms import Form, Measure
from microstream_lab.schema import Bar

__all__ = ["TimeOfWeek"]

_WEEK: Final = 7 * 86_400_000_000
_FIRST_MONDAY: Final = 4 * 86_400_000_000  # 1 January 1970 was a Thursday


@register
class TimeOfWeek(Feature):
    """Share of the week that had passed when the bar opened: ``(t - Monday) / week``, in [0, 1).

    ``t`` is the open time and weeks begin on Monday, 00:00 UTC.

    References
    ----------
    Andersen and Bollerslev (1997), Intraday periodicity and volatility persistence in financial
    markets, Journal of Empirical Finance 4, for why volatility needs it.
    """

    name = "time_of_week"
    unit = "week"
    direction = "high = later"
    memory = "none"
    cyclic = True
    spans_gaps = True
    warm_up = 0

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
        return np.asarray((times - _FIRST_MONDAY) % _WEEK / _WEEK)

    def update(self, bar: Bar) -> float:
        return (bar.open_time - _FIRST_MONDAY) % _WEEK / _WEEK

    def form(self) -> Form:
        return forms.value(Measure.TIME_OF_WEEK)
