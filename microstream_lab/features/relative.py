"""Activity and liquidity against their own usual level, a slow exponentially weighted mean.

Invariant: the level is the mean over bars with a half-life of a day of bars, kept through gaps; one
means as usual. Undefined (NaN) only while nothing but zeros has been seen.
"""

from __future__ import annotations

from math import ceil, nan

import numpy as np
import pandas as pd

from microstream_lab.features import forms
from microstream_lab.features.base import Feature, register
from microstream_lab.features.changes import LastClose, log_changes
from microstream_lab.features.forms import Form, Measure
from microstream_lab.features.horizon import (
    HALF_LIVES,
    HorizonFeature,
    bars_over,
    register_horizons,
)
from microstream_lab.features.impact import impact_of, impacts_of_bars
from microstream_lab.features.memory import Decay, FloatArray, column, ratio
from microstream_lab.schema import Bar, hour_of_bars

__all__ = [
    "Activity",
    "RelativeAmihud",
    "RelativeQuoteVolume",
    "RelativeRange",
    "RelativeTradeSize",
    "TradeIntensity",
]

_QUARTER, _HOUR, _DAY = 15, 60, 1440


class _Relative(Feature):
    """Base of the features here: a value over its usual level, from an hour of bars on."""

    unit = "1"
    memory = "half-life 1440"
    skewed = True
    spans_gaps = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._usual = self._mean_over(_DAY)
        self._seen = 0

    @property
    def warm_up(self) -> int:
        return hour_of_bars(self.interval)

    @property
    def settled(self) -> int:
        return ceil(HALF_LIVES * bars_over(_DAY, self.interval))

    def _mean_over(self, horizon: int) -> Decay:
        return Decay(bars_over(horizon, self.interval))

    def _ratios(self, values: FloatArray, usual: FloatArray) -> FloatArray:
        ratios = ratio(values, usual)
        ratios[: self.warm_up] = np.nan
        return ratios

    def _ratio(self, value: float, usual: float) -> float:
        """The ratio of the next bar."""
        self._seen = min(self._seen + 1, self.warm_up + 1)
        return value / usual if self._seen > self.warm_up and usual > 0 else nan


@register
class TradeIntensity(_Relative):
    """Trades per second against their usual rate: ``N / EWMA_1440(N)``.

    ``N`` counts the bar's single trades.

    References
    ----------
    Engle and Russell (1998), Autoregressive conditional duration, Econometrica 66, for intensity
    as a measure of information and its diurnal level.
    """

    name = "trade_intensity"
    direction = "high = busy"

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        trades = column(bars, "trades")
        return self._ratios(trades, self._usual.batch(trades))

    def update(self, bar: Bar) -> float:
        return self._ratio(bar.trades, self._usual.update(bar.trades))


@register
class RelativeQuoteVolume(_Relative):
    """Traded money against what is usual: ``Q / EWMA_1440(Q)``.

    ``Q`` is the bar's quote volume. The mean forgets within days, so that the level of a market
    that grows stays one.

    References
    ----------
    Karpoff (1987), The relation between price changes and trading volume: a survey, Journal of
    Financial and Quantitative Analysis 22.
    """

    name = "relative_quote_volume"
    direction = "high = busy"

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        volume = column(bars, "quote_volume")
        return self._ratios(volume, self._usual.batch(volume))

    def update(self, bar: Bar) -> float:
        return self._ratio(bar.quote_volume, self._usual.update(bar.quote_volume))


@register
class RelativeRange(_Relative):
    """Range against what is usual: ``R / EWMA_1440(R)``, ``R = (H - L) / O``.

    References
    ----------
    Alizadeh, Brandt and Diebold (2002), Range-based estimation of stochastic volatility models,
    Journal of Finance 57, for the range as a volatility proxy.
    """

    name = "relative_range"
    direction = "high = volatile"

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        ranges = (column(bars, "high") - column(bars, "low")) / column(bars, "open")
        return self._ratios(ranges, self._usual.batch(ranges))

    def update(self, bar: Bar) -> float:
        value = (bar.high - bar.low) / bar.open
        return self._ratio(value, self._usual.update(value))


@register
class RelativeTradeSize(_Relative):
    """Mean trade size against what is usual: ``(EWMA_15(Q) / EWMA_15(N)) / (the same, 1440)``.

    ``Q`` is the quote volume and ``N`` the number of single trades; half-lives of a quarter of an
    hour and of a day of bars. Undefined (NaN) before the first trade.

    References
    ----------
    Easley and O'Hara (1987), Price, trade size, and information in securities markets, Journal of
    Financial Economics 19.
    """

    name = "relative_trade_size"
    direction = "high = large trades"
    memory = "half-lives 15 and 1440"

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._money, self._trades = self._mean_over(_QUARTER), self._mean_over(_QUARTER)
        self._usual_trades = self._mean_over(_DAY)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        money, trades = column(bars, "quote_volume"), column(bars, "trades")
        now = self._money.batch(money) * self._usual_trades.batch(trades)
        return self._ratios(now, self._usual.batch(money) * self._trades.batch(trades))

    def update(self, bar: Bar) -> float:
        now = self._money.update(bar.quote_volume) * self._usual_trades.update(bar.trades)
        usual = self._usual.update(bar.quote_volume) * self._trades.update(bar.trades)
        return self._ratio(now, usual)


@register
class RelativeAmihud(_Relative):
    """Illiquidity against what is usual: ``EWMA_60(|r| / V) / EWMA_1440(|r| / V)``.

    ``r = ln(C_t/C_{t-1})`` and ``V`` the quote volume in millions; half-lives of an hour and of a
    day of bars. Bars without trades and returns over gaps are left out.

    References
    ----------
    Amihud (2002), Illiquidity and stock returns: cross-section and time-series effects, Journal of
    Financial Markets 5, eq. 1, for the ratio.
    """

    name = "relative_amihud"
    direction = "high = illiquid"
    memory = "half-lives 60 and 1440"

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._last = LastClose(interval)
        self._now = self._mean_over(_HOUR)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        impacts = impacts_of_bars(bars, log_changes(bars))
        return self._ratios(self._now.batch(impacts), self._usual.batch(impacts))

    def update(self, bar: Bar) -> float:
        impact = impact_of(bar, self._last.log_change(bar))
        return self._ratio(self._now.update(impact), self._usual.update(impact))

    def form(self) -> Form:
        return forms.ratio(Measure.IMPACT, self._now, self._usual, self.warm_up)


@register_horizons(15, 60)
class Activity(HorizonFeature):
    """Traded money lately against what is usual: ``EWMA_h(Q) / EWMA_1440(Q)``.

    ``Q`` is the quote volume. Undefined (NaN) before the first trade.

    References
    ----------
    Karpoff (1987), The relation between price changes and trading volume: a survey, Journal of
    Financial and Quantitative Analysis 22.
    """

    name = "activity"
    unit = "1"
    direction = "high = busy"
    memory = "half-lives h and 1440"
    skewed = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._now = Decay(self.horizon_bars, self.warm_up + 1)
        self._usual = Decay(bars_over(_DAY, interval))

    @property
    def settled(self) -> int:
        return ceil(HALF_LIVES * bars_over(_DAY, self.interval))

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        volume = column(bars, "quote_volume")
        return ratio(self._now.batch(volume), self._usual.batch(volume))

    def update(self, bar: Bar) -> float:
        now, usual = self._now.update(bar.quote_volume), self._usual.update(bar.quote_volume)
        return now / usual if usual > 0 else nan

    def form(self) -> Form:
        return forms.ratio(Measure.QUOTE_VOLUME, self._now, self._usual)
