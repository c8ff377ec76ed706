"""What is cheap to find out about a whole column of a frame.

Invariant: columns are only read, and nothing as large as a column is made on the way.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["are_even", "holds_one_value"]

_PIECE: Final = 32_768
"""Rows whose differences stay in the cache."""


def holds_one_value(column: pd.Series[Any]) -> bool:
    """Whether all rows have the same value, and it is one; a categorical is judged by its codes."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = np.asarray(column.array.codes)  # those of `column.cat` would be a copy
        return bool(0 <= codes.min() == codes.max())
    return bool((column == column.iloc[0]).all())


def are_even(times: npt.NDArray[np.int64], step: int) -> bool:
    """Whether each time is one `step` after the one before it."""
    room = np.empty(_PIECE, np.int64)
    for begin in range(1, len(times), _PIECE):
        later, earlier = times[begin : begin + _PIECE], times[begin - 1 : begin - 1 + _PIECE]
        steps = np.subtract(later, earlier[: len(later)], out=room[: len(later)])
        if not steps.min() == step == steps.max():
            return False
    return True
