"""What the scheduler has to write down, kept until the store has it.

Invariant: a store that is busy, or a disk that is full, delays rows and never loses them while this
process lives; what is lost with the process is found again in the folders of the runs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from microstream_lab.errors import StoreError
from microstream_lab.store.results import Run

__all__ = ["Ledger", "ScheduleTable"]

_log = logging.getLogger(__name__)


class ScheduleTable(Protocol):
    """Where the scheduler writes: the store."""

    def write_schedule(self, runs: list[Run], handled: Mapping[str, int]) -> object:
        """Write runs and how far jobs are dealt with, all or nothing."""
        ...


class Ledger:
    """Rows on their way to the store.

    Parameters
    ----------
    store : ScheduleTable
        Where they go.
    """

    def __init__(self, store: ScheduleTable) -> None:
        self._store = store
        self._runs: dict[str, Run] = {}
        self._handled: dict[str, int] = {}

    @property
    def owes(self) -> bool:
        """Whether something is not written yet."""
        return bool(self._runs or self._handled)

    def add(self, run: Run) -> None:
        """Have a run written; a later word about it replaces an earlier one."""
        self._runs[run.run_id] = run

    def write_run(self, run: Run) -> None:
        """As :meth:`add`, under the name that runners know."""
        self.add(run)

    def forget(self, run_id: str) -> None:
        """Leave a run to somebody else to write."""
        self._runs.pop(run_id, None)

    def handled(self, task: str, until: int) -> None:
        """Have it written until when (us) the moments of a task are dealt with."""
        self._handled[task] = until

    def flush(self) -> bool:
        """Try to write all of it; whether nothing is owed any more."""
        if not self.owes:
            return True
        try:
            self._store.write_schedule(list(self._runs.values()), self._handled)
        except StoreError as error:
            _log.warning("%d rows wait to be written: %s", len(self._runs), error)
            return False
        self._runs.clear()
        self._handled.clear()
        return True
