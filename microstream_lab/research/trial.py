"""What a sweep needs of whatever it tries at the points of a grid.

Invariant: a task and its arguments can be pickled, and say all there is to say of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import pandas as pd

__all__ = ["Options", "Task", "Trial"]

Options: TypeAlias = dict[str, Any]


class Task(NamedTuple):
    """Work that gives the figures of some rows: `function` of `arguments`.

    The arguments travel with every task: a copy that waits on one worker would be lost with it.
    """

    rows: list[int]
    function: Callable[..., list[Options]]
    arguments: tuple[Any, ...]


class Trial(Protocol):
    """What is tried at each point of a grid."""

    @property
    def unit(self) -> str:
        """What one task is, in a word."""
        ...

    def check(self, points: Sequence[Options]) -> None:
        """Refuse what cannot be tried, before anything is."""
        ...

    def tasks(self, points: Sequence[Options]) -> list[Task]:
        """The work, each row in exactly one task."""
        ...

    def table(self, rows: list[Options]) -> pd.DataFrame:
        """The finished table of rows, parameters first."""
        ...
