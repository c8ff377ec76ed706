"""Log price changes from one bar to the next, where no bar is missing between them.

Invariant: both faces agree in every bit, and a change across a gap is NaN: not observed.
"""

from __future__ import annotations

from math import log, nan

import numpy as np
import pandas as pd

from microstream_lab.features.memory import FloatArray, column, log_ratio
from microstream_lab.schema import Bar, interval_us, series_key

__all__ = ["LastClose", "log_changes"]


def log_changes(bars: pd.DataFrame, name: str = "close") -> FloatArray:
    """Log of each bar's `name` price over the last bar's close, shape ``(n_bars,)``.

    NaN for the first bar and after a missing one.
    """
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    changes = np.full(len(bars), np.nan)
    changes[1:] = log_ratio(column(bars, name)[1:], column(bars, "close")[:-1])
    changes[1:][np.diff(times) != interval_us(series_key(bars)[2])] = np.nan
    return changes


class LastClose:
    """The same, one bar at a time: the close a bar's prices are compared with."""

    def __init__(self, interval: str) -> None:
        self._step = interval_us(interval)
        self._next_open_time = -1
        self._close = nan

    def log_change(self, bar: Bar) -> float:
        """Log of the bar's close over the last bar's, which it becomes."""
        change = self.log_change_to(bar.close, bar)
        self._next_open_time, self._close = bar.open_time + self._step, bar.close
        return change

    def log_change_to(self, price: float, bar: Bar) -> float:
        """Log of a price of `bar` over the last bar's close."""
        return log(price / self._close) if bar.open_time == self._next_open_time else nan
