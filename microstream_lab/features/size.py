"""The size of trades over the trailing window."""

from __future__ import annotations

from math import nan

import pandas as pd

from microstream_lab.features.base import Feature, register
from microstream_lab.features.memory import FloatArray, SlidingSum, column, ratio
from microstream_lab.schema import Bar

__all__ = ["MeanTradeSize"]


@register
class MeanTradeSize(Feature):
    """Mean size of a trade: ``sum(Q) / sum(N)`` over the window.

    ``Q`` is the quote volume and ``N`` the number of single trades. Undefined (NaN) where nothing
    traded in the whole window.

    References
    ----------
    Easley and O'Hara (1987), Price, trade size, and information in securities markets, Journal of
    Financial Economics 19.
    """

    name = "mean_trade_size"
    unit = "quote"
    direction = "high = large trades"
    memory = "window"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._money, self._trades = SlidingSum(window), SlidingSum(window)

    @property
    def warm_up(self) -> int:
        return self.window - 1

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        money = self._money.batch(column(bars, "quote_volume"))
        trades = self._trades.batch(column(bars, "trades"))
        return ratio(money, trades)

    def update(self, bar: Bar) -> float:
        money, trades = self._money.update(bar.quote_volume), self._trades.update(bar.trades)
        return money / trades if trades > 0 else nan
