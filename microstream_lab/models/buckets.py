"""Where to begin looking for a number's place among many ascending ones.

Invariant: a number goes to a bucket by the same operations that sent the ascending ones to theirs,
so that none of those in a later bucket is below it, and none of an earlier one above.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Buckets", "bucketed"]


class Buckets(NamedTuple):
    """Ascending numbers, counted by evenly wide buckets.

    Attributes
    ----------
    lowest, by_unit : float
        A number x goes to bucket ``(x - lowest) * by_unit``, the first or last one if beyond.
    before : uint32 array of shape (n_buckets + 1,)
        How many of the numbers are in the buckets before each, and in all of them.
    """

    lowest: float
    by_unit: float
    before: npt.NDArray[np.uint32]


def bucketed(ascending: npt.NDArray[np.float64], n_buckets: int) -> Buckets:
    """Count numbers by bucket; there may be none."""
    low, high = (ascending[0], ascending[-1]) if len(ascending) else (0.0, 0.0)
    by_unit = n_buckets / (high - low) if high > low else 1.0
    places = np.minimum(np.maximum((ascending - low) * by_unit, 0.0), n_buckets - 1.0)
    before = np.searchsorted(places.astype(np.uint32), np.arange(n_buckets + 1))
    return Buckets(float(low), float(by_unit), before.astype(np.uint32))
