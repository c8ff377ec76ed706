"""Intervals by the stationary bootstrap: how far a figure could have come out differently.

Bars of a minute are too many and too dependent to be drawn one by one. They are summed by UTC day
first, and blocks of days are drawn. A figure that is a function of sums (mean, Sharpe, eta
squared) costs one matrix product for all resamples, so a year of minutes takes milliseconds.

Invariant: same values, same seed, same interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import SettingsError

__all__ = [
    "MIN_DAYS",
    "Interval",
    "day_starts",
    "interval",
    "interval_of_sums",
    "percentiles",
    "stationary_indices",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Statistic: TypeAlias = Callable[[Floats], Floats]

MIN_DAYS = 8
"""Fewer observations say nothing about their own spread: the interval is NaN."""

_CHUNK_BYTES = 64_000_000


class Interval(NamedTuple):
    """Percentile interval; a float each, or an array where the statistic has several figures."""

    low: Floats
    high: Floats


def stationary_indices(
    n_obs: int, n: int = 1000, mean_block: float | None = None, seed: int = 0
) -> Ints:
    """Row numbers of `n` resamples, made of blocks of geometric length that wrap around.

    Parameters
    ----------
    n_obs : int
        Observations, usually days.
    n : int
        Resamples.
    mean_block : float, optional
        Mean block length in observations; the cube root of `n_obs` unless given.
    seed : int
        Of the generator.

    Returns
    -------
    ndarray of shape (n, n_obs)

    Raises
    ------
    SettingsError
        If a size is not positive.

    References
    ----------
    Politis and Romano (1994), The stationary bootstrap, JASA 89, section 2.
    """
    mean_block = max(1.0, n_obs ** (1 / 3)) if mean_block is None else mean_block
    if n_obs < 1 or n < 1 or mean_block < 1:
        found = f"n_obs={n_obs}, n={n}, mean_block={mean_block}"
        raise SettingsError(f"bootstrap: found {found}, expected 1 or more of each")
    generator = np.random.default_rng(seed)
    begins = generator.random((n, n_obs)) < 1 / mean_block
    begins[:, 0] = True
    columns = np.arange(n_obs)
    block_begin = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    first = generator.integers(0, n_obs, (n, n_obs))
    return (np.take_along_axis(first, block_begin, axis=1) + columns - block_begin) % n_obs


def interval(
    values: npt.ArrayLike,
    statistic: Statistic,
    level: float = 0.9,
    n: int = 1000,
    mean_block: float | None = None,
    seed: int = 0,
) -> Interval:
    """Percentile interval of any statistic of a dependent series, order included.

    Parameters
    ----------
    values : array_like of shape (n_obs,) or (n_obs, n_columns)
        In time order, usually one row a day.
    statistic : callable
        Takes resamples, shape (m, n_obs) or (m, n_obs, n_columns), and returns one figure (m,)
        or several (m, n_figures) for each.
    level : float
        Share of the resampled figures inside the interval.
    n, mean_block, seed
        See :func:`stationary_indices`.
    """
    sample = np.asarray(values, np.float64)
    indices = stationary_indices(len(sample), n, mean_block, seed)
    per_resample = max(1, sample.nbytes)
    chunks = np.array_split(indices, min(n, 1 + n * per_resample // _CHUNK_BYTES))
    figures = np.concatenate([statistic(sample[chunk]) for chunk in chunks])
    return percentiles(figures, level, len(sample))


def interval_of_sums(
    daily_sums: npt.ArrayLike,
    statistic: Statistic,
    level: float = 0.9,
    n: int = 1000,
    mean_block: float | None = None,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic that depends on the days through their sum alone.

    Parameters
    ----------
    daily_sums : array_like of shape (n_days, n_columns)
        Additive quantities by day, such as counts, sums and sums of squares.
    statistic : callable
        Takes resampled totals, shape (n, n_columns); returns (n,) or (n, n_figures).
    level, n, mean_block, seed
        See :func:`interval`.
    """
    sums = np.asarray(daily_sums, np.float64)
    n_days = len(sums)
    indices = stationary_indices(n_days, n, mean_block, seed)
    flat = indices + n_days * np.arange(n)[:, None]
    times_drawn = np.bincount(flat.ravel(), minlength=n * n_days).reshape(n, n_days)
    return percentiles(statistic(times_drawn @ sums), level, n_days)


def percentiles(figures: Floats, level: float, n_obs: int) -> Interval:
    """Middle `level` of the resampled `figures`, NaN below :data:`MIN_DAYS` observations."""
    if not 0 < level < 1:
        raise SettingsError(f"level: found {level}, expected a share between 0 and 1")
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(figures, [tail, 1 - tail], axis=0)
    if n_obs < MIN_DAYS:
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    return Interval(low, high)


def day_starts(index: pd.DatetimeIndex) -> Ints:
    """Row at which each UTC day of an ascending index begins, for ``np.add.reduceat``."""
    days = index.as_unit("us").asi8 // 86_400_000_000
    return np.flatnonzero(np.diff(days, prepend=days[0] - 1)).astype(np.int64)
