"""Which sampled bar each trade belongs to: one compiled pass.

Invariant: whole numbers only. Importing this module imports numba; what was compiled is cached.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from microstream_lab.compiled import compiled

__all__ = ["bar_numbers"]


@compiled
def bar_numbers(counted: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], int]:
    """Number of the bar of each trade, from 0, and how many bars are full.

    A bar is full with the trade whose count reaches `size`.
    """
    numbers = np.empty(len(counted), np.int64)
    bar = total = 0
    for row in range(len(counted)):
        numbers[row] = bar
        total += counted[row]
        if total >= size:
            bar += 1
            total = 0
    return numbers, bar
