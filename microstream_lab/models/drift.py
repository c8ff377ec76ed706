"""How far the latest bars are from those of the training: features, regimes, likelihood.

A feature's values are counted by the deciles of the training; the population stability index (PSI)
tells how differently they are filled. A day of a market is never like its year, so what a PSI means
depends on the feature: the limit is what the training's own days have reached, and a tenth more.

Invariant: counts are whole numbers, so one row at a time and all at once agree; what is remembered
is the window and nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["DriftReference", "DriftWindow", "Reading", "learn_drift", "stability_index"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PSI_FLOOR: Final = 0.25
"""Below this a PSI is no drift, whatever the training was like: the usual rule of thumb."""
SHORTFALL_FLOOR: Final = 0.25
_BINS: Final = 10
_SLACK: Final = 1.1
_FEWEST_WINDOWS: Final = 4


class Reading(NamedTuple):
    """Distances of a window from the training.

    ``features`` and ``regimes`` are PSI, 0 for no difference; ``shortfall`` is by how many nats a
    bar the mean log likelihood lies below that of the training, negative if above.
    """

    features: FloatArray
    regimes: float
    shortfall: float


@dataclass(frozen=True, eq=False)
class DriftReference:
    """What a window is compared with.

    Attributes
    ----------
    names : tuple of str
        The features watched.
    edges : ndarray of shape (n_features, 9)
        Deciles of the training.
    shares : ndarray of shape (n_features, 10)
        Share of the training rows between them; equal values can make it another than a tenth.
    regimes : ndarray of shape (K,)
        Share of the training rows in each regime told.
    log_likelihood : float
        Mean, nats per row.
    window : int
        Rows that are compared.
    limits : Reading
        What lies beyond is drift; infinite where the training is too short to tell.
    """

    names: tuple[str, ...]
    edges: FloatArray
    shares: FloatArray
    regimes: FloatArray
    log_likelihood: float
    window: int
    limits: Reading

    def bins(self, values: FloatArray) -> IntArray:
        """Number of the decile of each value, shape of `values`: ``(n_rows, n_features)``."""
        columns = [
            np.searchsorted(edges, column, side="right")
            for edges, column in zip(self.edges, values.T, strict=True)
        ]
        return np.column_stack(columns).astype(np.int64)

    def read(self, counts: IntArray, regimes: IntArray, log_likelihood: float) -> Reading:
        """Distances of a window with these counts, ``(n_features, 10)`` and ``(K,)``."""
        return Reading(
            stability_index(counts, self.shares),
            float(stability_index(regimes[None], self.regimes[None])[0]),
            float(self.log_likelihood - log_likelihood),
        )

    def alarms(self, reading: Reading) -> tuple[str, ...]:
        """What is beyond its limit: names of features, ``regimes``, ``likelihood``."""
        beyond = reading.features > self.limits.features
        found = [name for name, over in zip(self.names, beyond, strict=True) if over]
        found += ["regimes"] if reading.regimes > self.limits.regimes else []
        found += ["likelihood"] if reading.shortfall > self.limits.shortfall else []
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        """Ready for JSON: the window and the limits."""
        limits = dict(zip(self.names, self.limits.features.tolist(), strict=True))
        limits |= {"regimes": self.limits.regimes, "likelihood": self.limits.shortfall}
        told = {name: round(x, 4) if np.isfinite(x) else None for name, x in limits.items()}
        return {"window": self.window, "limits": told}


class DriftWindow:
    """The last rows of one series, counted.

    Parameters
    ----------
    reference : DriftReference
        What they are compared with.
    """

    def __init__(self, reference: DriftReference) -> None:
        self.reference = reference
        size, n_features = reference.window, len(reference.names)
        self._bins = np.zeros((size, n_features), np.int8)
        self._regimes = np.zeros(size, np.int8)
        self._likelihoods = np.zeros(size)
        self._counts = np.zeros((n_features, _BINS), np.int64)
        self._by_regime = np.zeros(len(reference.regimes), np.int64)
        self._columns = np.arange(n_features)
        self._next = self.n_rows = 0

    @property
    def is_full(self) -> bool:
        """Whether as many rows are there as are compared."""
        return self.n_rows == self.reference.window

    def add(self, values: FloatArray, regime: int, log_likelihood: float) -> None:
        """Take the next row, all known, and let go of the oldest."""
        place = self._next
        if self.is_full:
            self._counts[self._columns, self._bins[place]] -= 1
            self._by_regime[self._regimes[place]] -= 1
        else:
            self.n_rows += 1
        bins = self.reference.bins(values[None])[0]
        self._counts[self._columns, bins] += 1
        self._by_regime[regime] += 1
        self._bins[place], self._regimes[place] = bins, regime
        self._likelihoods[place] = log_likelihood
        self._next = (place + 1) % self.reference.window

    def read(self) -> Reading:
        """How far the window is from the training."""
        mean = float(self._likelihoods[: self.n_rows].mean())
        return self.reference.read(self._counts, self._by_regime, mean)


def learn_drift(
    names: tuple[str, ...],
    values: FloatArray,
    regimes: npt.NDArray[np.int8],
    log_likelihood: FloatArray,
    n_regimes: int,
    window: int,
) -> DriftReference:
    """What later windows are compared with, and how far the training's own windows lie from it.

    Parameters
    ----------
    names : tuple of str
        Of the columns.
    values : array of shape (n_rows, n_features)
        Features of the training rows, all known.
    regimes, log_likelihood : array of shape (n_rows,)
        Told of each.
    n_regimes : int
        K.
    window : int
        Rows to compare; a quarter of the training at most.
    """
    window = max(1, min(window, len(values) // 4))
    edges = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1], axis=0).T
    plain = DriftReference(
        names, edges, np.zeros((0, _BINS)), np.zeros(0), float(log_likelihood.mean()), window, _NONE
    )
    bins = plain.bins(values)
    halves = np.arange(len(values)) // max(1, window // 2)
    counts = np.stack([_counted(halves, column, _BINS) for column in bins.T], axis=1)
    by_regime = _counted(halves, regimes.astype(np.int64), n_regimes)
    shares, told = _shares(counts.sum(axis=0)), _shares(by_regime.sum(axis=0))
    reference = DriftReference(names, edges, shares, told, plain.log_likelihood, window, _NONE)
    sums = np.bincount(halves, log_likelihood)
    sizes = np.bincount(halves)
    whole = range(len(sizes) - 2)  # the last half may be a shorter one
    readings = [
        reference.read(
            counts[k] + counts[k + 1],
            by_regime[k] + by_regime[k + 1],
            (sums[k] + sums[k + 1]) / (sizes[k] + sizes[k + 1]),
        )
        for k in whole
    ]
    limits = _limits(readings, len(names))
    return DriftReference(names, edges, shares, told, plain.log_likelihood, window, limits)


def stability_index(counts: IntArray, shares: FloatArray) -> FloatArray:
    """PSI of counts by bin from expected shares, row by row; half a row is added to each bin.

    References
    ----------
    Siddiqi (2006), Credit Risk Scorecards, chapter 8; it is the sum of both Kullback-Leibler
    divergences (Jeffreys 1946).
    """
    found = _shares(counts)
    return np.asarray(((found - shares) * np.log(found / shares)).sum(axis=1))


_NONE: Final = Reading(np.zeros(0), np.inf, np.inf)


def _limits(readings: list[Reading], n_features: int) -> Reading:
    if len(readings) < _FEWEST_WINDOWS:
        return Reading(np.full(n_features, np.inf), np.inf, np.inf)
    features = np.max([reading.features for reading in readings], axis=0)
    return Reading(
        np.maximum(PSI_FLOOR, _SLACK * features),
        max(PSI_FLOOR, _SLACK * max(reading.regimes for reading in readings)),
        max(SHORTFALL_FLOOR, _SLACK * max(float(reading.shortfall) for reading in readings)),
    )


def _shares(counts: IntArray) -> FloatArray:
    """Shares along the last axis, none of them 0."""
    more = counts + 0.5
    return np.asarray(more / more.sum(axis=-1, keepdims=True))


def _counted(groups: IntArray, bins: IntArray, n_bins: int) -> IntArray:
    """How many of each group are in each bin, shape ``(n_groups, n_bins)``."""
    n_groups = int(groups[-1]) + 1
    counts = np.bincount(groups * n_bins + bins, minlength=n_groups * n_bins)
    return counts.reshape(n_groups, n_bins)
