"""The bid-ask spread as prices alone tell it, over the trailing window.

Invariant: a spread is relative to the price and never negative; where its estimate comes out
negative there is no sign of a spread, and it is zero.
"""

from __future__ import annotations

from math import isnan, log, nan, sqrt, tanh

import numpy as np
import pandas as pd

from microstream_lab.features.base import Feature, register
from microstream_lab.features.changes import LastClose, log_changes
from microstream_lab.features.memory import FloatArray, SlidingSum, column, log_ratio
from microstream_lab.schema import Bar

__all__ = ["CorwinSchultzSpread", "RollSpread"]

_CURVATURE = 3 - 2 * sqrt(2)


@register
class RollSpread(Feature):
    """Effective spread from the bounce of closes: ``2 sqrt(max(0, -cov(r_t, r_{t-1})))``.

    ``r = ln(C_t/C_{t-1})``, the covariance over the window. Closes that trade now at the bid, now
    at the ask make returns reverse. Where the covariance is positive, as in a trend, the spread is
    taken to be zero.

    References
    ----------
    Roll (1984), A simple implicit measure of the effective bid-ask spread in an efficient market,
    Journal of Finance 39; Goyenko, Holden and Trzcinka (2009), Do liquidity measures measure
    liquidity?, Journal of Financial Economics 92, for the zero.
    """

    name = "roll_spread"
    unit = "1"
    direction = "high = illiquid"
    memory = "window"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._last, self._change = LastClose(interval), nan
        self._earlier, self._later = SlidingSum(window), SlidingSum(window)
        self._products = SlidingSum(window)

    @property
    def warm_up(self) -> int:
        return self.window + 1

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        later = log_changes(bars)
        earlier = np.append(np.nan, later[:-1])
        later[1:2] = np.nan  # has no earlier one beside it
        products = self._products.batch(earlier * later)
        means = self._earlier.batch(earlier) * self._later.batch(later) / self.window
        return 2 * np.sqrt(np.maximum(means - products, 0.0) / self.window)

    def update(self, bar: Bar) -> float:
        earlier, later = self._change, self._last.log_change(bar)
        self._change = later
        if isnan(earlier):
            return nan
        products = self._products.update(earlier * later)
        means = self._earlier.update(earlier) * self._later.update(later) / self.window
        reversal = means - products
        return 2 * sqrt(reversal / self.window) if not reversal < 0 else 0.0


@register
class CorwinSchultzSpread(Feature):
    """Spread from highs and lows of two bars: ``mean(max(0, 2 (e^a - 1) / (1 + e^a)))``.

    ``a = (sqrt(2 b) - sqrt(b)) / d - sqrt(g / d)`` with ``b`` the sum of the two squared log
    ranges, ``g`` the squared log range of both bars as one, and ``d = 3 - 2 sqrt(2)``. Variance
    grows with time, the spread does not: that tells them apart. Negative two-bar estimates count as
    zero. Nothing is corrected for a market that closes over night, since this one never does.

    References
    ----------
    Corwin and Schultz (2012), A simple way to estimate bid-ask spreads from daily high and low
    prices, Journal of Finance 67, eqs. 14 and 18.
    """

    name = "corwin_schultz"
    unit = "1"
    direction = "high = illiquid"
    memory = "window"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._high = self._low = nan
        self._spreads = SlidingSum(window)

    @property
    def warm_up(self) -> int:
        return self.window

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        high, low = column(bars, "high"), column(bars, "low")
        squares = log_ratio(high, low) ** 2
        apart = squares[1:] + squares[:-1]
        together = log_ratio(np.maximum(high[1:], high[:-1]), np.minimum(low[1:], low[:-1]))
        excess = (np.sqrt(2 * apart) - np.sqrt(apart)) / _CURVATURE
        alpha = excess - together / sqrt(_CURVATURE)
        spreads = np.append(np.nan, 2 * np.tanh(np.maximum(alpha, 0.0) / 2))
        return self._spreads.batch(spreads) / self.window

    def update(self, bar: Bar) -> float:
        high, low = self._high, self._low
        self._high, self._low = bar.high, bar.low
        if isnan(high):
            return nan
        before, now = log(high / low), log(bar.high / bar.low)
        apart = now * now + before * before
        together = log(max(bar.high, high) / min(bar.low, low))
        excess = (sqrt(2 * apart) - sqrt(apart)) / _CURVATURE
        alpha = excess - together / sqrt(_CURVATURE)
        return self._spreads.update(2 * tanh(max(alpha, 0.0) / 2)) / self.window
