"""How many regimes and features a kernel is compiled for.

A tuple tells its length to the compiler, which unrolls the short loops over it: two to four times
as fast, for a few seconds of compilation that stay in the cache. An array does not, and one
compilation serves every size. Both do the same operations in the same order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Size", "size_for"]

Size = tuple[int, ...] | npt.NDArray[np.int8]


def size_for(n: int, n_rows: int, worth_from: int) -> Size:
    """`n` to a kernel: known to the compiler where there are at least `worth_from` rows."""
    return (0,) * n if n_rows >= worth_from else np.empty(n, np.int8)
