"""Figures of a regime estimate against what happened next, each with its bootstrap interval.

Invariant: labels count as they are named (0 calm .. K-1 crisis), never after the best
permutation, and only bars with a known regime and a known outcome are judged.

All figures are functions of sums by day, so one matrix product resamples them all. The rank-based
AUC is exact as a value; its interval comes from scores sorted into bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.research.bootstrap import day_starts, interval_of_sums
from microstream_lab.schema import interval_us

__all__ = [
    "Outcomes",
    "area_under_curve",
    "moments",
    "reliability",
    "score",
    "variance_explained",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

_BINS = 100
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What followed the judged bars, arrays of shape (n_bars,), NaN where it is not known.

    ``volatility`` and ``amihud`` are logarithms. ``wild`` marks the top 5 % of volatility,
    ``rough`` its top 10 %, ``illiquid`` the top 5 % of Amihud illiquidity.
    """

    index: pd.DatetimeIndex
    interval: str
    volatility: Floats
    amihud: Floats
    wild: Bools
    rough: Bools
    illiquid: Bools


def score(
    signals: pd.DataFrame, outcomes: Outcomes, n_regimes: int, level: float, n: int, seed: int
) -> pd.DataFrame:
    """Figures of one estimate as rows ``value low high``.

    ``eta_squared`` and ``eta_amihud``: share of the variance of the coming log volatility and
    illiquidity that the regime explains. ``auc_stress``, ``auc_crisis``: how well
    ``expected_stress`` and the probability of the last regime rank the wildest 5 %;
    ``auc_amihud``, ``auc_amihud_crisis``: the same against the most illiquid 5 %. ``brier``: mean
    squared error of the last regime's probability of the top 10 %. ``switches_per_hour``;
    ``known``, the share of bars with a regime; by regime ``share_k`` and ``minutes_k``, the mean
    stay.
    """
    parts = _Sums(signals, outcomes, n_regimes)
    table = pd.DataFrame(
        [
            parts.figures(parts.daily.sum(axis=0)[None])[0],
            *interval_of_sums(parts.daily, parts.figures, level, n, seed=seed),
        ],
        index=["value", "low", "high"],
        columns=parts.names,
    ).T
    for name, (scores, events) in parts.ranked.items():
        table.loc[name, "value"] = area_under_curve(scores, events)
    return table


class _Sums:
    """Additive quantities by day, and the figures that totals of them give."""

    def __init__(self, signals: pd.DataFrame, outcomes: Outcomes, n_regimes: int) -> None:
        self.n_regimes = n_regimes
        self.step_us = interval_us(outcomes.interval)
        regime = signals["regime"].to_numpy(np.int64)
        stress = signals["expected_stress"].to_numpy(np.float64)
        crisis = signals[f"p_{n_regimes - 1}"].to_numpy(np.float64)
        judged = (regime >= 0) & ~np.isnan(outcomes.volatility)
        liquid = (regime >= 0) & ~np.isnan(outcomes.amihud)
        ranked = {
            "auc_stress": (judged, stress, outcomes.wild),
            "auc_crisis": (judged, crisis, outcomes.wild),
            "auc_amihud": (liquid, stress, outcomes.illiquid),
            "auc_amihud_crisis": (liquid, crisis, outcomes.illiquid),
        }
        error = np.where(judged, (crisis - outcomes.rough) ** 2, 0.0)
        columns: dict[str, Sequence[npt.NDArray[Any]]] = {
            **self._stays(regime, outcomes.index),
            "volatility": moments(self._inside(regime), judged, outcomes.volatility),
            "amihud": moments(self._inside(regime), liquid, outcomes.amihud),
            "brier": [judged, error],
        }
        self.ranked = {name: (x[mask], event[mask]) for name, (mask, x, event) in ranked.items()}
        starts = day_starts(outcomes.index)
        day = np.searchsorted(starts, np.arange(len(regime)), side="right") - 1
        blocks = {name: _by_day(block, starts) for name, block in columns.items()}
        for name, (mask, _, _) in ranked.items():
            blocks[name] = _binned(*self.ranked[name], day[mask], len(starts))
        self._adopt(blocks)

    def _inside(self, regime: npt.NDArray[np.int64]) -> list[Bools]:
        return [regime == k for k in range(self.n_regimes)]

    def _stays(
        self, regime: npt.NDArray[np.int64], index: pd.DatetimeIndex
    ) -> dict[str, list[Bools]]:
        """Bars with a known regime, switches to another one, bars and entries by regime."""
        follows = np.diff(index.asi8, prepend=np.iinfo(np.int64).min // 2) == self.step_us
        stays = follows & np.append(False, regime[1:] == regime[:-1])
        known = regime >= 0
        switches = follows & known & np.append(False, known[:-1]) & ~stays
        inside = self._inside(regime)
        return {
            "bars": [np.ones_like(known), known, switches],
            "inside": inside,
            "entries": [mask & ~stays for mask in inside],
        }

    def _adopt(self, blocks: dict[str, Floats]) -> None:
        ends = np.cumsum([block.shape[1] for block in blocks.values()])
        self._columns = {
            name: slice(end - block.shape[1], end)
            for (name, block), end in zip(blocks.items(), ends, strict=True)
        }
        self.daily = np.hstack(list(blocks.values()))

    @property
    def names(self) -> list[str]:
        """Figures in the order of :meth:`figures`."""
        plain = ["eta_squared", "auc_stress", "auc_crisis", "eta_amihud", "auc_amihud"]
        plain += ["auc_amihud_crisis", "brier", "switches_per_hour", "known"]
        regimes = range(self.n_regimes)
        return [*plain, *(f"share_{k}" for k in regimes), *(f"minutes_{k}" for k in regimes)]

    def figures(self, totals: Floats) -> Floats:
        """Totals (m, n_columns) to figures (m, n_figures)."""
        block = {name: totals[:, columns] for name, columns in self._columns.items()}
        bars, known, switches = block["bars"].T
        with np.errstate(invalid="ignore", divide="ignore"):
            hours = known * self.step_us / _HOUR_US
            stays = block["inside"] / block["entries"] * self.step_us / 60_000_000
            plain = (
                variance_explained(block["volatility"]),
                _area_of_bins(block["auc_stress"]),
                _area_of_bins(block["auc_crisis"]),
                variance_explained(block["amihud"]),
                _area_of_bins(block["auc_amihud"]),
                _area_of_bins(block["auc_amihud_crisis"]),
                block["brier"][:, 1] / block["brier"][:, 0],
                switches / hours,
                known / bars,
            )
            return np.column_stack([*plain, block["inside"] / known[:, None], stays])


def variance_explained(moments: Floats) -> Floats:
    """Eta squared (m,) from count, sum and sum of squares of each class, (m, 3 * n_classes).

    References
    ----------
    Fisher (1925), Statistical Methods for Research Workers, section 45 (correlation ratio).
    """
    counts, sums, squares = (moments[:, part::3] for part in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        center = sums.sum(axis=1) ** 2 / counts.sum(axis=1)
        between = np.where(counts > 0, sums**2 / counts, 0.0).sum(axis=1) - center
        explained: Floats = between / (squares.sum(axis=1) - center)
    return explained


def area_under_curve(scores: Floats, events: Bools) -> float:
    """Probability that an event scores higher than a non-event, ties counting half."""
    n_events = int(events.sum())
    n_others = len(events) - n_events
    if not n_events or not n_others:
        return float("nan")
    ranks = pd.Series(scores).rank().to_numpy()
    return float((ranks[events].sum() - n_events * (n_events + 1) / 2) / (n_events * n_others))


def reliability(probability: Floats, events: Bools, n_bins: int = 10) -> pd.DataFrame:
    """Forecast beside frequency, in bins of equal width: ``forecast observed bars``."""
    bins = np.minimum((probability * n_bins).astype(np.int64), n_bins - 1)
    frame = pd.DataFrame({"forecast": probability, "observed": events, "bin": bins})
    table = frame.groupby("bin").agg(
        forecast=("forecast", "mean"), observed=("observed", "mean"), bars=("observed", "size")
    )
    return table.set_index(table.index / n_bins)


def moments(inside: list[Bools], judged: Bools, values: Floats) -> list[Floats]:
    """Count, sum and sum of squares by class; centred, so that their differences are exact."""
    centred = np.where(judged, values - np.nanmean(values) if judged.any() else 0.0, 0.0)
    parts = []
    for mask in inside:
        weight = (mask & judged).astype(np.float64)
        parts += [weight, weight * centred, weight * centred**2]
    return parts


def _by_day(columns: Sequence[npt.NDArray[Any]], starts: npt.NDArray[np.int64]) -> Floats:
    sums = [np.add.reduceat(column.astype(np.float64), starts) for column in columns]
    return np.column_stack(sums)


def _binned(scores: Floats, events: Bools, day: npt.NDArray[np.int64], n_days: int) -> Floats:
    """Events, then others, by day and quantile bin of the score: (n_days, 2 * n_bins)."""
    if not len(scores):
        return np.zeros((n_days, 2))
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)[1:-1]))
    n_bins = len(edges) + 1
    cell = (2 * day + ~events) * n_bins + np.searchsorted(edges, scores, side="left")
    counts = np.bincount(cell, minlength=n_days * 2 * n_bins)
    return counts.reshape(n_days, 2 * n_bins).astype(np.float64)


def _area_of_bins(counts: Floats) -> Floats:
    """AUC (m,) from counts of events and of others by bin, (m, 2 * n_bins)."""
    events, others = np.split(counts, 2, axis=1)
    below = others.cumsum(axis=1) - others
    wins = (events * (below + others / 2)).sum(axis=1)
    area: Floats = wins / (events.sum(axis=1) * others.sum(axis=1))
    return area
