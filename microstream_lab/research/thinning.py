"""Fewer points that tell the same: what a figure draws of a long series.

A figure of a notebook is stored in it and compared bit by bit, so it has at most
:data:`MAX_POINTS` points, numbers of six significant digits and times in whole seconds.

Invariant: thinning keeps the extremes. A spike of one bar in a year is still on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["MAX_POINTS", "Bins", "extremes", "numbers", "times"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

MAX_POINTS = 500
_DIGITS = 6


def numbers(values: npt.ArrayLike) -> list[Any]:
    """Six significant digits of each value, None for what is not finite; nested as given."""
    array = np.asarray(values, np.float64)
    if array.ndim > 1:
        return [numbers(row) for row in array]
    return [_rounded(value) if np.isfinite(value) else None for value in array.tolist()]


def _rounded(value: float) -> float:
    # A price such as 30026.65 lies between two numbers of six digits, and its last bit would
    # choose; rounded to twelve digits first, it is the same on every machine.
    return float(f"{float(f'{value:.12g}'):.{_DIGITS}g}")


def times(index: pd.DatetimeIndex) -> list[str]:
    """UTC times to the second, without a zone: plotly would convert it to the reader's."""
    return [str(text) for text in index.strftime("%Y-%m-%dT%H:%M:%S")]


def extremes(values: npt.ArrayLike, max_points: int = MAX_POINTS) -> Ints:
    """Rows to draw of a line: first and last, and lowest and highest of each equal stretch.

    Returns
    -------
    ndarray of shape (<= max_points,)
        Ascending row numbers; all of them where `values` are few enough.
    """
    series = np.asarray(values, np.float64)
    if len(series) <= max_points:
        return np.arange(len(series))
    size = -(-len(series) // ((max_points - 2) // 2))
    rows = [0, len(series) - 1]
    for start in range(0, len(series), size):
        part = series[start : start + size]
        if not np.isnan(part).all():
            rows += [start + int(np.nanargmin(part)), start + int(np.nanargmax(part))]
    return np.unique(rows)


@dataclass(frozen=True, eq=False)
class Bins:
    """Rows gathered into stretches of equal time; a stretch without rows stays, as a hole.

    Attributes
    ----------
    index : DatetimeIndex
        Times of the rows, ascending.
    size : int
        Bars that fit into a stretch.
    starts, places : ndarray of shape (n_filled,)
        First row of each stretch that has rows, and its place among all stretches.
    edges : DatetimeIndex of n_bins + 1 times
        Borders of all stretches; the last is the close of the last bar.
    """

    index: pd.DatetimeIndex
    size: int
    starts: Ints
    places: Ints
    edges: pd.DatetimeIndex

    @classmethod
    def of(cls, frame: pd.DataFrame, max_bins: int = MAX_POINTS) -> Bins:
        """At most `max_bins` stretches for the rows of `frame`, which has at least one."""
        index = pd.DatetimeIndex(frame.index).as_unit("us")
        times = index.asi8
        step = int(np.diff(times).min()) if len(times) > 1 else 60_000_000
        n_steps = (int(times[-1]) - int(times[0])) // step + 1
        size = -(-n_steps // max_bins)
        place = (times - times[0]) // (step * size)
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        n_bins = -(-n_steps // size)
        borders = times[0] + step * np.minimum(size * np.arange(n_bins + 1), n_steps)
        edges = pd.DatetimeIndex(pd.to_datetime(borders, unit="us", utc=True))
        return cls(index, size, starts, place[starts], edges)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def note(self, what: str = "bars") -> str:
        """What a reader should know: ``86,400 bars, drawn as 480 of 180 each``, or nothing."""
        if self.size == 1:
            return ""
        return f"{len(self.index):,} {what}, drawn as {len(self):,} of {self.size:,} each"

    def first(self, values: Floats) -> Floats:
        """Value of each bin's first row, NaN in a hole, as in all that follow."""
        return self._placed(values[self.starts])

    def last(self, values: Floats) -> Floats:
        """Value of each bin's last row."""
        return self._placed(values[np.append(self.starts[1:], len(values)) - 1])

    def highest(self, values: Floats) -> Floats:
        """Largest known value of each bin."""
        return self._placed(np.fmax.reduceat(values, self.starts))

    def lowest(self, values: Floats) -> Floats:
        """Smallest known value of each bin."""
        return self._placed(np.fmin.reduceat(values, self.starts))

    def mean(self, values: Floats) -> Floats:
        """Mean of each bin's known values."""
        known = ~np.isnan(values)
        counts = np.add.reduceat(known.astype(np.float64), self.starts)
        sums = np.add.reduceat(np.where(known, values, 0.0), self.starts)
        return self._placed(sums / np.where(counts > 0, counts, np.nan))

    def commonest(self, labels: Ints, n_labels: int) -> list[int | None]:
        """Most frequent of the labels 0 .. n-1 in each bin, the higher of equals; None if none."""
        counts = np.stack(
            [np.add.reduceat((labels == k).astype(np.int64), self.starts) for k in range(n_labels)]
        )
        best = (n_labels - 1 - counts[::-1].argmax(axis=0)).astype(np.float64)
        placed = self._placed(np.where(counts.sum(axis=0) > 0, best, np.nan))
        return [None if np.isnan(label) else int(label) for label in placed]

    def peak_rows(self, values: Floats) -> Ints:
        """Row of each bin's largest value; bins without a known value are left out."""
        stretches = zip(self.starts, np.split(values, self.starts[1:]), strict=True)
        rows = [start + np.nanargmax(part) for start, part in stretches if not np.isnan(part).all()]
        return np.array(rows, np.int64)

    def _placed(self, values: npt.NDArray[Any]) -> Floats:
        grid = np.full(len(self), np.nan)
        grid[self.places] = values
        return grid
