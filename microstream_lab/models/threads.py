"""Rows shared out among the cores: kernels hold no interpreter lock, so threads are enough.

Invariant: each part is computed as if it were alone, so the outcome does not depend on the number
of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from joblib import cpu_count

__all__ = ["PART_ROWS", "over_rows", "parts"]

PART_ROWS: Final = 65_536
"""Rows of a part: its arrays stay in the cache, and starting a thread for it is worth while."""


def parts(n_rows: int) -> list[slice]:
    """Slices that cover `n_rows` rows in order, none longer than :data:`PART_ROWS`."""
    return [slice(begin, min(begin + PART_ROWS, n_rows)) for begin in range(0, n_rows, PART_ROWS)]


def over_rows(n_rows: int, task: Callable[[slice], None]) -> None:
    """Call `task` for every part of the rows, on as many threads as there are cores to use."""
    slices = parts(n_rows)
    workers = min(cpu_count(), len(slices))
    if workers <= 1:
        for part in slices:
            task(part)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(task, slices))
