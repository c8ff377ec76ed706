"""Balanced accuracy against a known truth, over many sequences.

Invariant: labels count as they are named, unless the best permutation is asked for by name.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from microstream_lab.errors import DataError

__all__ = ["BalancedAccuracy", "balanced_accuracy", "best_recalls", "named_recalls"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


class BalancedAccuracy(NamedTuple):
    """A figure over sequences: its value, the spread of one sequence's, and an interval."""

    value: float
    sd: float
    low: float
    high: float
    n: int


def named_recalls(states: Ints, labels: Ints, n_regimes: int) -> Floats:
    """Share of the rows of each regime that carry its label, NaN for one that does not occur."""
    return np.diagonal(_shares(states, labels, n_regimes)).copy()


def best_recalls(states: Ints, labels: Ints, n_regimes: int) -> Floats:
    """The same after the renaming of labels that serves the sequence best: flattering."""
    shares = _shares(states, labels, n_regimes)
    regimes, names = linear_sum_assignment(-np.nan_to_num(shares))
    return np.asarray(shares[regimes, names])


def balanced_accuracy(
    recalls: npt.ArrayLike, level: float = 0.9, n_resamples: int = 1000, seed: int = 0
) -> BalancedAccuracy:
    """Mean over regimes of the mean recall over the sequences in which the regime occurs.

    Parameters
    ----------
    recalls : array_like of shape (n_sequences, K)
        Of each sequence, as from :func:`named_recalls`. A regime that occurs in none of them, as
        happens with a few short ones, is left out.
    level, n_resamples, seed
        Of the interval, by drawing whole sequences anew.

    Raises
    ------
    DataError
        If no regime occurs in any sequence.
    """
    table = np.asarray(recalls, np.float64)
    known = ~np.isnan(table)
    if not known.any():
        raise DataError("balanced accuracy", f"recalls of shape {table.shape}", "one that is known")
    n = len(table)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_resamples)
    weights = np.vstack([np.ones((1, n)), drawn])
    with np.errstate(invalid="ignore"):  # a resample may miss a rare regime
        by_regime = weights @ np.where(known, table, 0.0) / (weights @ known)
    figures = np.nanmean(by_regime[:, known.any(axis=0)], axis=1)
    low, high = np.nanquantile(figures[1:], [(1 - level) / 2, (1 + level) / 2])
    each = np.nanmean(table, axis=1)
    return BalancedAccuracy(float(figures[0]), float(each.std()), float(low), float(high), n)


def _shares(states: Ints, labels: Ints, n_regimes: int) -> Floats:
    """Share of regime k's rows labelled j, shape ``(K, K)``; rows of absent regimes are NaN."""
    counts = np.zeros((n_regimes, n_regimes))
    labelled = labels >= 0
    np.add.at(counts, (states[labelled], labels[labelled]), 1)
    of_regime = np.bincount(states, minlength=n_regimes).astype(np.float64)
    of_regime[of_regime == 0] = np.nan
    return np.asarray(counts / of_regime[:, None])
