"""Tasks side by side on several cores, counted, and what they warn of told once.

Invariant: what comes back is in the order of the tasks, however many ran at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

__all__ = ["side_by_side"]

_Done = TypeVar("_Done")


class _Once(logging.Filter):
    """Lets each message pass once: dozens of fits on one series warn of the same."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is new."""
        message = record.getMessage()
        is_new = message not in self._told
        self._told.add(message)
        return is_new


_ONCE: Final = _Once()
_WARNS: Final = "microstream_lab.training"


def side_by_side(
    tasks: Sequence[Callable[[], _Done]],
    n_jobs: int | None,
    progress: bool,
    what: str,
    unit: str = "part",
) -> Iterator[_Done]:
    """What each task gives, in order.

    Parameters
    ----------
    tasks : sequence of functions without parameters
    n_jobs : int, optional
        Processes; none but this one unless given.
    progress : bool
        Show a bar called `what` that counts every `unit`.
    """
    from joblib import Parallel, delayed

    done = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(_run)(task) for task in tasks)
    yield from _counted(done, len(tasks), what, unit) if progress else done


def _run(task: Callable[[], _Done]) -> _Done:
    logging.getLogger(_WARNS).addFilter(_ONCE)  # here, since it may be another process; once
    return task()


def _counted(done: Iterable[_Done], total: int, what: str, unit: str) -> Iterable[_Done]:
    from tqdm.auto import tqdm

    counted: Iterable[_Done] = tqdm(done, total=total, desc=what, unit=unit)
    return counted
