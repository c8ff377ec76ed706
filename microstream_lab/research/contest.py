"""Regimes against what needs none: volatility targeting by an EWMA, at equal turnover and costs.

Holding less when the market is rough is worth something by itself. What regimes add is what is
left beyond a strategy that scales its position by yesterday's volatility, holds as much on average,
and trades as much.

Invariant: both sides decide at the same bars from what was known then. Scale and band of the
targeting are set on the tested path itself, to match exposure and turnover and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.research.backtest import BacktestResult, backtest, backtest_positions
from microstream_lab.research.baselines import EwmaThresholds, halflife_in_bars
from microstream_lab.research.bootstrap import day_starts, interval_of_sums
from microstream_lab.research.performance import Ledger, yearly
from microstream_lab.research.positions import (
    Exposure,
    held_between,
    within_band,
)

__all__ = ["Contest", "contest", "volatility_targeting"]

Floats: TypeAlias = npt.NDArray[np.float64]

_HALVINGS: Final = 24
_WIDEST_BAND: Final = 1.0
_LARGEST: Final = 20.0  # of scales, as logarithms
_TINY: Final = 1e-300


@dataclass(frozen=True, eq=False)
class Contest:
    """Both strategies over the same bars.

    Attributes
    ----------
    regimes, targeting : BacktestResult
        The exposure by regime, and the volatility targeting that matches it.
    fold : ndarray of shape (n_bars - 1,)
        Which fold each bar belongs to; zeros where there was but one.
    """

    regimes: BacktestResult
    targeting: BacktestResult
    fold: npt.NDArray[np.int64]

    @cached_property
    def difference(self) -> pd.Series:
        """What regimes add to the yearly Sharpe ratio: ``value low high``, paired by day."""
        daily = _paired_days(self.regimes.strategy, self.targeting.strategy)
        options = (self.regimes.level, self.regimes.n_resamples)
        low, high = interval_of_sums(daily, _sharpe_gap, *options, seed=self.regimes.seed)
        value = _sharpe_gap(daily.sum(axis=0)[None])[0]
        return pd.Series({"value": value, "low": float(low), "high": float(high)})

    @cached_property
    def folds(self) -> pd.DataFrame:
        """By fold: yearly Sharpe ratio of both, ``regimes`` and ``targeting``."""
        rows = {}
        for number in np.unique(self.fold):
            inside = self.fold == number
            pair = (self.regimes.strategy, self.targeting.strategy)
            rows[int(number)] = [_sharpe_of(ledger, inside) for ledger in pair]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=["regimes", "targeting"])
        return table.rename_axis("fold")

    def summary(self) -> pd.DataFrame:
        """One row a figure: ``regimes``, ``targeting`` and ``buy_and_hold``, values only."""
        own, other = self.regimes.summary(), self.targeting.summary()
        return pd.DataFrame(
            {
                "regimes": own["value"],
                "targeting": other["value"],
                "buy_and_hold": own["buy_and_hold"],
            }
        )

    @property
    def adds(self) -> bool:
        """Whether regimes add something that can be told from luck."""
        return bool(self.difference["low"] > 0)

    def verdict(self) -> str:
        """One sentence for the reader, plain where regimes add nothing."""
        gap = self.difference
        won = int((self.folds["regimes"] > self.folds["targeting"]).sum())
        figures = (
            f"Sharpe {gap['value']:+.2f} a year ({gap['low']:+.2f} to {gap['high']:+.2f}) against "
            f"volatility targeting at equal exposure and turnover, ahead in {won} of "
            f"{len(self.folds)} folds"
        )
        if self.adds:
            return f"Regimes add: {figures}."
        if gap["high"] < 0:
            return f"Regimes cost: {figures}."
        return f"Regimes add nothing that can be told from luck: {figures}."


def contest(
    signals: pd.DataFrame,
    bars: pd.DataFrame,
    exposure: Exposure,
    cost_bps: float = 5.0,
    *,
    decide_every: int = 1,
    halflife_min: float = 60.0,
    **options: Any,
) -> Contest:
    """Backtest an exposure per regime beside volatility targeting that holds and trades as much.

    Parameters
    ----------
    signals, bars, exposure, cost_bps, decide_every
        See :func:`microstream_lab.research.backtest.backtest`; folds are told by the column
        ``fold`` of the signals, if there is one.
    halflife_min : float
        Half-life of the EWMA volatility in minutes; shorter where turnover allows.
    **options
        For both backtests, such as ``seed``.
    """
    strategy = backtest(signals, bars, exposure, cost_bps, decide_every=decide_every, **options)
    targets = volatility_targeting(
        bars, strategy.mean_exposure, strategy.turnover, decide_every, halflife_min
    )
    bootstrap = {
        name: options[name] for name in ("level", "n_resamples", "seed") if name in options
    }
    rival = backtest_positions(targets, bars, cost_bps, **bootstrap)
    fold = signals["fold"].to_numpy(np.int64) if "fold" in signals else np.zeros(len(bars), int)
    return Contest(strategy, rival, fold[1:])


def volatility_targeting(
    bars: pd.DataFrame,
    mean_exposure: float,
    turnover: float,
    decide_every: int = 1,
    halflife_min: float = 60.0,
) -> Floats:
    """Positions ``min(1, scale / EWMA volatility)``, shape (n_bars,), known at each bar's close.

    The scale gives `mean_exposure`, in -1 .. 1. What trades more than `turnover` leaves out small
    changes until it does not; what trades less gets half the half-life, so that it may react as
    fast as the other side pays for.
    """
    while True:
        rival = _Targeting(bars, abs(mean_exposure), decide_every, halflife_min)
        if rival.traded(0.0) >= turnover or halflife_in_bars(bars, halflife_min) <= 1:
            break
        halflife_min /= 2
    band = 0.0
    if rival.traded(0.0) > turnover:
        band = _halve(lambda width: -rival.traded(width), -turnover, 0.0, _WIDEST_BAND)
    positions: Floats = np.sign(mean_exposure) * rival.held(band)
    return positions


class _Targeting:
    """Positions that fall with volatility, scaled to hold `mean_exposure` whatever the band."""

    def __init__(
        self, bars: pd.DataFrame, mean_exposure: float, decide_every: int, halflife_min: float
    ) -> None:
        level = EwmaThresholds(halflife_min).level(bars).to_numpy()
        calm = np.nan_to_num(np.exp(-level), nan=0.0)
        self._calm = held_between(calm / max(calm.max(), _TINY), bars, decide_every)
        self._mean_exposure = mean_exposure

    def held(self, band: float) -> Floats:
        """Positions with changes of up to `band` left out."""
        scale = _halve(lambda s: self._at(s, band)[:-1].mean(), self._mean_exposure, 0.0, _LARGEST)
        return self._at(scale, band)

    def traded(self, band: float) -> float:
        """Sum of the changes of position that :meth:`held` pays for."""
        return float(np.abs(np.diff(self.held(band)[:-1], prepend=0.0)).sum())

    def _at(self, scale: float, band: float) -> Floats:
        wanted = np.minimum(1.0, np.expm1(scale) * self._calm)
        return within_band(wanted, band) if band else wanted


def _halve(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a rising function reaches `wanted`, from above."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) >= wanted else (middle, high)
    return high


def _paired_days(one: Ledger, other: Ledger) -> Floats:
    """Bars, years, and sums and squares of both returns by day: (n_days, 6)."""
    columns = (np.ones(len(one.net)), one.years, one.net, one.net**2, other.net, other.net**2)
    starts = day_starts(one.index)
    return np.column_stack([np.add.reduceat(column, starts) for column in columns])


def _sharpe_gap(totals: Floats) -> Floats:
    bars, years, own, own_squares, net, squares = totals.T
    pair = ((own, own_squares), (net, squares))
    first, second = (_sharpe(bars, years, total, square) for total, square in pair)
    return first - second


def _sharpe(bars: Floats, years: Floats, total: Floats, squares: Floats) -> Floats:
    mean, spread = yearly(bars, total, squares, bars / years)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, mean / spread, 0.0)


def _sharpe_of(ledger: Ledger, inside: npt.NDArray[np.bool_]) -> float:
    net, years = ledger.net[inside], ledger.years[inside]
    parts = (len(net), years.sum(), net.sum(), (net**2).sum())
    return float(_sharpe(*(np.array([part], np.float64) for part in parts))[0])
