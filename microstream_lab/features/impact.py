"""How far prices move for what is traded.

Invariant: traded money is counted in millions of quote units, so that figures stay readable.
"""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import pandas as pd

from microstream_lab.features.base import Feature, register
from microstream_lab.features.changes import LastClose, log_changes
from microstream_lab.features.memory import FloatArray, SlidingSum, column, ratio
from microstream_lab.schema import Bar

__all__ = ["Amihud", "KyleLambda", "impact_of", "impacts_of_bars"]

_MILLION = 1e6
_LEAST_VARIATION = 1e-9


@register
class Amihud(Feature):
    """Illiquidity: ``mean(|r| / V)`` over the bars of the window that traded.

    ``r = ln(C_t/C_{t-1})`` and ``V`` the quote volume in millions. Undefined (NaN) where nothing
    traded in the whole window.

    References
    ----------
    Amihud (2002), Illiquidity and stock returns: cross-section and time-series effects, Journal of
    Financial Markets 5, eq. 1.
    """

    name = "amihud"
    unit = "1 per million quote"
    direction = "high = illiquid"
    memory = "window"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._last = LastClose(interval)
        self._impacts, self._traded = SlidingSum(window), SlidingSum(window)

    @property
    def warm_up(self) -> int:
        return self.window

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        changes = log_changes(bars)
        impacts, seen = impacts_of_bars(bars, changes), np.isfinite(changes)
        traded = self._traded.batch(np.where(seen, np.isfinite(impacts), np.nan))
        total = self._impacts.batch(np.where(seen, np.nan_to_num(impacts), np.nan))
        return ratio(total, traded)

    def update(self, bar: Bar) -> float:
        change = self._last.log_change(bar)
        impact = impact_of(bar, change)
        if isnan(change):
            return nan
        traded = self._traded.update(float(not isnan(impact)))
        total = self._impacts.update(0.0 if isnan(impact) else impact)
        return total / traded if traded > 0 else nan


@register
class KyleLambda(Feature):
    """Price impact of taker flow: ``cov(r, q) / var(q)`` over the window.

    The slope of ``r = ln(C_t/C_{t-1})`` on the net taker flow ``q``: what takers bought minus what
    they sold, in millions of quote units. Undefined (NaN) where the flow does not vary.

    References
    ----------
    Kyle (1985), Continuous auctions and insider trading, Econometrica 53, for lambda; Hasbrouck
    (2009), Trading costs and returns for U.S. equities, Journal of Finance 64, section 3, for the
    regression over bars.
    """

    name = "kyle_lambda"
    unit = "1 per million quote"
    direction = "high = illiquid"
    memory = "window"

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._last = LastClose(interval)
        self._changes, self._flows = SlidingSum(window), SlidingSum(window)
        self._products, self._squares = SlidingSum(window), SlidingSum(window)

    @property
    def warm_up(self) -> int:
        return self.window

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        change = log_changes(bars)
        flow = (2 * column(bars, "taker_buy_quote") - column(bars, "quote_volume")) / _MILLION
        flow[np.isnan(change)] = np.nan
        changes, flows = self._changes.batch(change), self._flows.batch(flow)
        squares = self._squares.batch(flow * flow)
        covariation = self._products.batch(change * flow) - changes * flows / self.window
        variation = squares - flows * flows / self.window
        varies = variation > _LEAST_VARIATION * squares
        return ratio(covariation, np.where(varies, variation, 0.0))

    def update(self, bar: Bar) -> float:
        change = self._last.log_change(bar)
        if isnan(change):
            return nan
        flow = (2 * bar.taker_buy_quote - bar.quote_volume) / _MILLION
        changes, flows = self._changes.update(change), self._flows.update(flow)
        squares = self._squares.update(flow * flow)
        covariation = self._products.update(change * flow) - changes * flows / self.window
        variation = squares - flows * flows / self.window
        return covariation / variation if variation > _LEAST_VARIATION * squares else nan


def impacts_of_bars(bars: pd.DataFrame, changes: FloatArray) -> FloatArray:
    """Absolute return per million of quote volume; NaN without a return or without trades."""
    volume = column(bars, "quote_volume") / _MILLION
    return ratio(np.abs(changes), volume)


def impact_of(bar: Bar, change: float) -> float:
    """The same of one bar and its return."""
    volume = bar.quote_volume / _MILLION
    return abs(change) / volume if volume > 0 else nan
