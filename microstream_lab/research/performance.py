"""Figures of a strategy's path, each with its bootstrap interval.

Nearly every figure is a function of sums over bars. They are summed by day once, and one function
turns totals into figures, for the path itself and for all its resamples alike, so that a value
and its interval cannot mean different things. The drawdown depends on order: its resamples are
put together from each day's own growth, peak, trough and drawdown. Buying in happens once, however
the days fall, so it is not resampled.

A year is a year of the calendar: a day of missing bars counts as a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.research.bootstrap import day_starts, interval, interval_of_sums

__all__ = ["FIGURES", "Ledger", "max_drawdown", "regime_figures", "summarise", "yearly"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

_SUMS = (
    "total_return",
    "annual_return",
    "volatility",
    "sharpe",
    "mean_exposure",
    "turnover",
    "costs",
    "trades",
)
FIGURES = (*_SUMS[:4], "max_drawdown", *_SUMS[4:])
"""Rows of :func:`summarise`."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """One strategy's path: arrays of shape (n_bars,), a share of equity each.

    ``position`` is held over the bar, ``traded`` is the change needed to get there, ``net`` the
    simple return after costs of ``cost`` per unit traded, ``log_growth`` its logarithm, ``years``
    the time since the bar before.
    """

    index: pd.DatetimeIndex
    position: Floats
    traded: Floats
    net: Floats
    log_growth: Floats
    cost: float
    years: Floats

    @property
    def bars_per_year(self) -> float:
        """Bars there were, by year of the calendar."""
        return float(len(self.years) / self.years.sum())


def summarise(ledger: Ledger, level: float, n: int, seed: int) -> pd.DataFrame:
    """The :data:`FIGURES` of a ledger as rows ``value low high``."""
    starts = day_starts(ledger.index)
    daily = _daily_sums(ledger, starts)

    def figures(totals: Floats) -> Floats:
        return _figures_of_sums(totals, ledger)

    by_sum = pd.DataFrame(
        [
            figures(daily.sum(axis=0)[None])[0],
            *interval_of_sums(daily, figures, level, n, seed=seed),
        ],
        index=["value", "low", "high"],
        columns=list(_SUMS),
    ).T
    days = _daily_paths(ledger.log_growth, starts)
    deepest = interval(days, _deepest, level, n, seed=seed)
    by_sum.loc["max_drawdown"] = [_deepest(days[None])[0], *map(float, deepest)]
    return by_sum.loc[list(FIGURES)]


def max_drawdown(log_growth: Floats) -> float:
    """Largest loss since a high, 0 .. -1, of a path that starts at 1."""
    path = np.concatenate([[0.0], log_growth.cumsum()])
    return float(np.expm1((path - np.maximum.accumulate(path)).min()))


def _daily_sums(ledger: Ledger, starts: Ints) -> Floats:
    later = ledger.traded.copy()
    later[0] = 0.0
    columns = (
        np.ones(len(ledger.net)),
        ledger.years,
        ledger.log_growth,
        ledger.net,
        ledger.net**2,
        ledger.position,
        later,
        (later > 0).astype(np.float64),
    )
    return np.column_stack([np.add.reduceat(column, starts) for column in columns])


def _figures_of_sums(totals: Floats, ledger: Ledger) -> Floats:
    """Totals (m, 8) of :func:`_daily_sums` to figures (m, 8) in the order of ``_SUMS``."""
    bars, years, growth, net, squares, position, later, trades = totals.T
    traded = later + ledger.traded[0]
    mean, volatility = yearly(bars, net, squares, bars / years)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.column_stack(
            [
                np.expm1(growth),
                np.expm1(growth / years),
                volatility,
                mean / np.where(volatility > 0, volatility, np.nan),
                position / bars,
                traded,
                traded * ledger.cost,
                trades + (ledger.traded[0] > 0),
            ]
        )


def yearly(
    bars: Floats, total: Floats, squares: Floats, per_year: float | Floats
) -> tuple[Floats, Floats]:
    """Yearly mean and volatility of returns given by count, sum and sum of squares."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / bars
        spread = np.sqrt(np.maximum(squares / bars - mean**2, 0.0))
    return mean * per_year, spread * np.sqrt(per_year)


def _daily_paths(log_growth: Floats, starts: Ints) -> Floats:
    """Growth, peak, trough and deepest drawdown of each day's own path, (n_days, 4), in logs."""
    days = np.empty((len(starts), 4))
    for row, part in enumerate(np.split(log_growth, starts[1:])):
        path = part.cumsum()
        drawdown = (path - np.maximum.accumulate(path)).min()
        days[row] = path[-1], path.max(), path.min(), drawdown
    return days


def _deepest(days: Floats) -> Floats:
    """Drawdown (m,) of paths put together from days (m, n_days, 4)."""
    growth, peak, trough, own = np.moveaxis(days, -1, 0)
    begin = growth.cumsum(axis=1) - growth
    highs = np.maximum.accumulate(np.maximum(begin + peak, begin), axis=1)
    before = np.concatenate([np.zeros((len(days), 1)), highs[:, :-1]], axis=1)
    across = begin + trough - np.maximum(before, begin)
    deepest: Floats = np.expm1(np.minimum(np.minimum(across, own), 0.0).min(axis=1))
    return deepest


def regime_figures(
    ledger: Ledger,
    market: Floats,
    regime: Ints,
    n_regimes: int,
    level: float,
    n: int,
    seed: int,
) -> pd.DataFrame:
    """What the market did and the strategy earned under each regime; see ``by_regime``."""
    labels = np.union1d(np.unique(regime), np.arange(n_regimes))
    starts = day_starts(ledger.index)
    rows = []
    for label in labels:
        inside = (regime == label).astype(np.float64)
        columns = (inside, inside * market, inside * market**2)
        daily = np.column_stack([np.add.reduceat(column, starts) for column in columns])
        rows.append(_regime_row(daily, ledger, inside, level, n, seed))
    return pd.DataFrame(rows, index=pd.Index(labels, name="regime"))


def _regime_row(
    daily: Floats, ledger: Ledger, inside: Floats, level: float, n: int, seed: int
) -> dict[str, float]:
    per_year = ledger.bars_per_year
    bars, total, squares = daily.sum(axis=0)
    mean, volatility = yearly(bars, total, squares, per_year)

    def yearly_mean(sums: Floats) -> Floats:
        return yearly(sums[:, 0], sums[:, 1], sums[:, 2], per_year)[0]

    low, high = interval_of_sums(daily, yearly_mean, level, n, seed=seed)
    return {
        "bars": int(bars),
        "share": bars / len(inside),
        "mean_return": float(mean),
        "low": float(low),
        "high": float(high),
        "volatility": float(volatility),
        "sharpe": float(mean / volatility) if volatility > 0 else np.nan,
        "mean_position": float(inside @ ledger.position / bars) if bars else np.nan,
        "contribution": float(inside @ ledger.net / len(inside) * per_year),
    }
