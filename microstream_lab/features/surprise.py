"""A bar against what the hour before it led to expect: what no bar of its time should look like.

Time that is counted in trades makes bars alike: the range of a bar grows with the square root of
its trades, in quiet hours and wild ones. A range that its trades do not account for is strange.

Invariant: what is expected is a mean with a half-life of an hour of bars, known when the bar
before closed and kept through gaps, so that a bar never excuses itself. Undefined (NaN) only while
nothing but zeros has been seen.
"""

from __future__ import annotations

from abc import abstractmethod
from math import ceil, log, nan, sqrt

import numpy as np
import pandas as pd

from microstream_lab.features import forms
from microstream_lab.features.base import Feature, register
from microstream_lab.features.forms import Form, Measure
from microstream_lab.features.horizon import HALF_LIVES, bars_over
from microstream_lab.features.memory import Decay, FloatArray, column, log_ratio, ratio
from microstream_lab.schema import Bar, hour_of_bars

__all__ = [
    "BodySurprise",
    "ImpactSurprise",
    "RangeSurprise",
    "SurpriseFeature",
    "TradesSurprise",
    "WickSurprise",
]

_HOUR = 60


class SurpriseFeature(Feature):
    """Base of the features here: a value over the mean of those before it."""

    unit = "1"
    memory = "half-life 60"
    spans_gaps = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._mean = Decay(bars_over(_HOUR, interval), self.warm_up)
        self._expected = nan

    @property
    def warm_up(self) -> int:
        return hour_of_bars(self.interval)

    @property
    def settled(self) -> int:
        return ceil(HALF_LIVES * bars_over(_HOUR, self.interval))

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        values, usual = self._parts(bars)
        expected = np.full(len(values), np.nan)
        expected[1:] = self._mean.batch(usual)[:-1]
        return ratio(values, expected)

    def update(self, bar: Bar) -> float:
        value, usual = self._part(bar)
        expected, self._expected = self._expected, self._mean.update(usual)
        return value / expected if expected > 0 else nan

    @abstractmethod
    def _parts(self, bars: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
        """The values, and those whose mean is expected."""

    @abstractmethod
    def _part(self, bar: Bar) -> tuple[float, float]:
        """The same of one bar."""


@register
class RangeSurprise(SurpriseFeature):
    """Range against the hour before: ``ln(H/L) / EWMA_60(ln(H/L))``.

    The mean ends with the bar before.

    References
    ----------
    Alizadeh, Brandt and Diebold (2002), Range-based estimation of stochastic volatility models,
    Journal of Finance 57, for the log range as a volatility proxy.
    """

    name = "range_surprise"
    direction = "high = wide"
    skewed = True

    def _parts(self, bars: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
        ranges = log_ratio(column(bars, "high"), column(bars, "low"))
        return ranges, ranges

    def _part(self, bar: Bar) -> tuple[float, float]:
        value = log(bar.high / bar.low)
        return value, value

    def form(self) -> Form:
        return forms.surprise(Measure.LOG_RANGE, Measure.LOG_RANGE, self._mean)


@register
class TradesSurprise(SurpriseFeature):
    """Trades against the hour before: ``N / EWMA_60(N)``.

    ``N`` counts the bar's single trades; the mean ends with the bar before.

    References
    ----------
    Engle and Russell (1998), Autoregressive conditional duration, Econometrica 66, for intensity
    against what its own past leads to expect.
    """

    name = "trades_surprise"
    direction = "high = busy"
    skewed = True

    def _parts(self, bars: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
        trades = column(bars, "trades")
        return trades, trades

    def _part(self, bar: Bar) -> tuple[float, float]:
        return bar.trades, bar.trades

    def form(self) -> Form:
        return forms.surprise(Measure.TRADES, Measure.TRADES, self._mean)


@register
class ImpactSurprise(SurpriseFeature):
    """Range for what was traded against the hour before: ``I / EWMA_60(I)``.

    ``I = ln(H/L) / sqrt(N)`` with ``N`` single trades, 0 without any; the mean ends with the bar
    before. It is not on a log scale: by how much a bar is off counts.

    References
    ----------
    Ane and Geman (2000), Order flow, transaction clock, and normality of asset returns, Journal of
    Finance 55, for the clock that ticks with every trade.
    """

    name = "impact_surprise"
    direction = "high = thin"

    def _parts(self, bars: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
        impacts = _per_root(log_ratio(column(bars, "high"), column(bars, "low")), bars)
        return impacts, impacts

    def _part(self, bar: Bar) -> tuple[float, float]:
        value = log(bar.high / bar.low) / sqrt(bar.trades) if bar.trades > 0 else 0.0
        return value, value

    def form(self) -> Form:
        return forms.surprise(Measure.RANGE_PER_ROOT, Measure.RANGE_PER_ROOT, self._mean)


@register
class WickSurprise(SurpriseFeature):
    """Range that was given back, against the hour before: ``W / EWMA_60(I)``.

    ``W = (ln(H/L) - |ln(C/O)|) / sqrt(N)`` and ``I = ln(H/L) / sqrt(N)`` with ``N`` single trades,
    0 without any; the mean ends with the bar before.

    References
    ----------
    Ane and Geman (2000), Order flow, transaction clock, and normality of asset returns, Journal of
    Finance 55, for the clock that ticks with every trade.
    """

    name = "wick_surprise"
    direction = "high = came back"

    def _parts(self, bars: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
        ranges = log_ratio(column(bars, "high"), column(bars, "low"))
        bodies = log_ratio(column(bars, "close"), column(bars, "open"))
        return _per_root(ranges - np.abs(bodies), bars), _per_root(ranges, bars)

    def _part(self, bar: Bar) -> tuple[float, float]:
        if not bar.trades > 0:  # none, or not known
            return 0.0, 0.0
        whole, root = log(bar.high / bar.low), sqrt(bar.trades)
        return (whole - abs(log(bar.close / bar.open))) / root, whole / root

    def form(self) -> Form:
        return forms.surprise(Measure.WICK_PER_ROOT, Measure.RANGE_PER_ROOT, self._mean)


@register
class BodySurprise(SurpriseFeature):
    """Move of the price for what was traded against the hour before: ``M / EWMA_60(I)``.

    ``M = ln(C/O) / sqrt(N)`` and ``I = ln(H/L) / sqrt(N)`` with ``N`` single trades, 0 without any;
    the mean ends with the bar before.

    References
    ----------
    Ane and Geman (2000), Order flow, transaction clock, and normality of asset returns, Journal of
    Finance 55, for the clock that ticks with every trade.
    """

    name = "body_surprise"
    direction = "high = rose"

    def _parts(self, bars: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
        moves = _per_root(log_ratio(column(bars, "close"), column(bars, "open")), bars)
        return moves, _per_root(log_ratio(column(bars, "high"), column(bars, "low")), bars)

    def _part(self, bar: Bar) -> tuple[float, float]:
        if not bar.trades > 0:  # none, or not known
            return 0.0, 0.0
        root = sqrt(bar.trades)
        return log(bar.close / bar.open) / root, log(bar.high / bar.low) / root

    def form(self) -> Form:
        return forms.surprise(Measure.BODY_PER_ROOT, Measure.RANGE_PER_ROOT, self._mean)


def _per_root(values: FloatArray, bars: pd.DataFrame) -> FloatArray:
    """Values over the root of the number of trades, 0 without any."""
    root = np.sqrt(column(bars, "trades"))
    return np.divide(values, root, out=np.zeros(len(values)), where=root > 0)
