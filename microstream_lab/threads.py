"""Rows shared out among the cores: kernels hold no interpreter lock, so threads are enough.

Invariant: each part is computed as if it were alone, so the outcome does not depend on the number
of threads; no more parts are under way than the threads need, so memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["PART_ROWS", "cpu_count", "in_order", "over_rows", "parts", "share_out"]

PART_ROWS: Final = 65_536
"""Rows of a part: its arrays stay in the cache, and starting a thread for it is worth while."""

_Result = TypeVar("_Result")


def cpu_count() -> int:
    """Cores this process may use, a container's share included."""
    import joblib  # loads with the first rows that are worth sharing out

    return int(joblib.cpu_count())


def parts(n_rows: int) -> list[slice]:
    """Slices that cover `n_rows` rows in order, none longer than :data:`PART_ROWS`."""
    return [slice(begin, min(begin + PART_ROWS, n_rows)) for begin in range(0, n_rows, PART_ROWS)]


def in_order(n_rows: int, task: Callable[[slice], _Result]) -> Iterator[tuple[slice, _Result]]:
    """Each part of the rows and what `task` made of it, in order.

    Tasks run on as many threads as there are cores to use, ahead of whoever takes the outcomes.
    """
    slices = parts(n_rows)
    workers = min(cpu_count(), len(slices)) if len(slices) > 1 else 1
    if workers == 1:
        yield from ((part, task(part)) for part in slices)
        return
    under_way: deque[tuple[slice, Future[_Result]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for part in slices:
            if len(under_way) == 2 * workers:
                done, future = under_way.popleft()
                yield done, future.result()
            under_way.append((part, pool.submit(task, part)))
        for done, future in under_way:
            yield done, future.result()


def over_rows(n_rows: int, task: Callable[[slice], None]) -> None:
    """Call `task` for every part of the rows."""
    for _ in in_order(n_rows, task):
        pass


def share_out(task: Callable[[int], None], numbers: Iterable[int], worth_it: bool = True) -> None:
    """Call `task` for every number, on as many threads as there are cores if that is `worth_it`."""
    if not worth_it or cpu_count() == 1:
        for number in numbers:
            task(number)
        return
    with ThreadPoolExecutor(cpu_count()) as pool:
        for _ in pool.map(task, numbers):
            pass
