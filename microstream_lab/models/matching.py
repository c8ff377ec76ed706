"""The same names after a refit: new regimes matched to the previous ones on common bars.

A fit numbers its regimes by volatility, and so did the one before; nearly always that is the same
numbering. Where two regimes lie close the order may flip without the regimes having moved. Both
models therefore label a reference window, and the new regimes take the names under which they are
nearest to the old ones.

Invariant: the volatility order stands unless another naming is nearer by more than a margin, so
that a name never changes its meaning over noise.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from microstream_lab.errors import DataError

__all__ = ["MARGIN", "MIN_KEPT", "RegimeMatch", "match_regimes"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

MARGIN: Final = 0.1
"""Share of the bars it renames by which a naming has to be nearer than the volatility order."""
MIN_KEPT: Final = 0.5
"""A name means the same as before if most of its bars keep it, and most that bear it had it."""
_RARE: Final = 0.01
"""Share of the bars below which a window does not tell whether a regime has kept its name."""


@dataclass(frozen=True)
class RegimeMatch:
    """How the regimes of a new fit are called, and how sure that is.

    Attributes
    ----------
    permutation : tuple of int
        Name, among the previous fit's, of each new regime; ``(0, 1, 2)`` is the volatility order.
    cost : float
        Mean total variation distance of the two estimates under those names, 0 (equal) .. 1. For
        labels it is the share of bars that are labelled differently.
    agreement : float
        Share of the bars whose most probable regime has the same name in both.
    kept : tuple of float
        By name: bars that both call so, as a share of the larger of the two; NaN where both call
        less than a hundredth of the bars so.
    n_bars : int
        Bars that both label.
    is_poor : bool
        Whether a name is kept by less than :data:`MIN_KEPT`: the new fit found something else, and
        what was learnt about the old regimes does not hold for the new ones. Overall agreement
        would not tell, since a crisis is one bar in ten.
    """

    permutation: tuple[int, ...]
    cost: float
    agreement: float
    kept: tuple[float, ...]
    n_bars: int
    is_poor: bool

    @property
    def order(self) -> tuple[int, ...]:
        """New regimes in the order of their names: ``means_[list(order)]`` is ordered by name."""
        return tuple(int(k) for k in np.argsort(self.permutation))


def match_regimes(previous: npt.ArrayLike, current: npt.ArrayLike) -> RegimeMatch:
    """Match the regimes of a new fit to those of the previous one.

    Parameters
    ----------
    previous, current : array_like of shape (n_bars, K)
        Filtered probabilities of both fits on the same bars; rows with a NaN are left out.
        Integer labels of shape ``(n_bars,)`` are taken as well, -1 where unknown.

    Returns
    -------
    RegimeMatch
        A poor one is logged as a warning.

    Raises
    ------
    DataError
        If the shapes differ, or no bar is labelled by both.

    References
    ----------
    Kuhn (1955), The Hungarian method for the assignment problem, Naval Research Logistics 2.
    """
    before, now = _both_as_probabilities(np.asarray(previous), np.asarray(current))
    if before.shape != now.shape:
        raise DataError("match of regimes", f"{now.shape}", f"{before.shape}, as before")
    known = np.isfinite(before).all(axis=1) & np.isfinite(now).all(axis=1)
    if not known.any():
        raise DataError("match of regimes", "no bar that both fits label", "a common window")
    before, now = before[known], now[known]
    permutation, cost = _nearest_names(before, now)
    named = now[:, np.argsort(permutation)]
    labels = before.argmax(axis=1), named.argmax(axis=1)
    kept = _kept(*labels, before.shape[1])
    match = RegimeMatch(
        permutation=tuple(int(name) for name in permutation),
        cost=cost,
        agreement=float((labels[0] == labels[1]).mean()),
        kept=tuple(float(share) for share in kept),
        n_bars=len(before),
        is_poor=bool((kept < MIN_KEPT).any()),
    )
    if match.is_poor:
        worst = int(np.nanargmin(kept))
        logger.warning(
            "regime %d is another one than before the refit: found %.0f %% of its bars in common, "
            "expected at least %.0f %%; agreement %.2f over %d bars",
            *(worst, 100 * kept[worst], 100 * MIN_KEPT, match.agreement, match.n_bars),
        )
    return match


def _both_as_probabilities(*estimates: npt.NDArray[Any]) -> list[FloatArray]:
    """Labels become certain probabilities, of as many regimes as the two estimates tell of."""
    n_regimes = max(
        estimate.shape[1] if estimate.ndim == 2 else int(estimate.max(initial=0)) + 1
        for estimate in estimates
    )
    return [
        estimate.astype(np.float64) if estimate.ndim == 2 else _certain(estimate, n_regimes)
        for estimate in estimates
    ]


def _certain(labels: npt.NDArray[Any], n_regimes: int) -> FloatArray:
    probabilities = np.eye(n_regimes)[labels]
    probabilities[labels < 0] = np.nan
    return np.asarray(probabilities)


def _nearest_names(before: FloatArray, now: FloatArray) -> tuple[IntArray, float]:
    """Name of each new regime, and the mean total variation distance under these names."""
    distances = np.array([[0.5 * np.abs(b - n).mean() for b in before.T] for n in now.T])
    usual = float(np.trace(distances))
    regimes, names = linear_sum_assignment(distances)
    best = float(distances[regimes, names].sum())
    moved = names != regimes
    renamed = 0.5 * float(before[:, moved].mean(axis=0).sum() + now[:, moved].mean(axis=0).sum())
    if usual - best <= MARGIN * renamed:
        return np.arange(len(distances)), usual
    return names.astype(np.int64), best


def _kept(before: IntArray, now: IntArray, n_regimes: int) -> FloatArray:
    both = np.bincount(before[before == now], minlength=n_regimes)
    sizes = [np.bincount(labels, minlength=n_regimes) for labels in (before, now)]
    larger = np.maximum(*sizes).astype(np.float64)
    larger[larger < _RARE * len(before)] = np.nan
    return np.asarray(both / larger)
