"""Straight lines between known points, for many numbers at once."""

from __future__ import annotations

import numpy as np

from microstream_lab.compiled import compiled

__all__ = ["interpolate"]


@compiled
def interpolate(values, points, heights, slopes, lowest, by_unit, before, out):  # type: ignore[no-untyped-def]
    """Heights at `values`, those of the ends beyond them, NaN for NaN: ``np.interp``, in its bits.

    Parameters
    ----------
    values : array of shape (n,)
    points, heights : arrays of shape (n_points,)
        Ascending; of equal points the last one counts.
    slopes : array of shape (n_points - 1,)
        Height by unit from each point to the next.
    lowest, by_unit, before
        See :class:`~microstream_lab.models.buckets.Buckets`, of the points.
    out : array of shape (n,), written
    """
    highest, last = float(len(before) - 2), len(points) - 1
    for row in range(len(values)):
        value = values[row]
        if np.isnan(value):
            out[row] = np.nan
            continue
        bucket = np.uint32(min(max((value - lowest) * by_unit, 0.0), highest))
        low, high = before[bucket], before[bucket + np.uint32(1)]
        while low < high:
            middle = (low + high) >> np.uint32(1)
            if points[middle] <= value:
                low = middle + np.uint32(1)
            else:
                high = middle
        if low == 0 or low > last:
            out[row] = heights[0 if low == 0 else last]
        else:
            left = low - np.uint32(1)
            out[row] = slopes[left] * (value - points[left]) + heights[left]
