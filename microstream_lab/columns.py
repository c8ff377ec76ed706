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
        codes = np.asarray(column.cat.codes)
        return bool(0 <= codes.min() == codes.max())
    return bool((column == column.iloc[0]).all())


def are_even(times: npt.NDArray[np.int64], step: int) -> bool:
    """Whether each time is one `step` after the one before it."""
    pieces = (times[begin : begin + _PIECE + 1] for begin in range(0, len(times) - 1, _PIECE))
    return all((np.diff(piece) == step).all() for piece in pieces)
