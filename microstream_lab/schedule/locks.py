"""One lock for each job: whoever runs it holds it, and everybody else learns who that is.

Invariant: a lock ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from filelock import FileLock, Timeout

from microstream_lab.errors import JobLockedError
from microstream_lab.settings import Settings
from microstream_lab.store.gate import command_of

__all__ = ["JobLock", "schedule_path"]


def schedule_path(settings: Settings) -> Path:
    """Where the scheduler keeps locks and requests."""
    return settings.path("data", "schedule")


class JobLock:
    """The lock of one job.

    Parameters
    ----------
    job : str
        Its name.
    settings : Settings
        Where the home folder is.
    """

    def __init__(self, job: str, settings: Settings) -> None:
        self.job = job
        self._file = FileLock(schedule_path(settings) / f"{job}.lock", timeout=0)
        # Beside the lock: where locks are mandatory, a locked file cannot be read.
        self._note = schedule_path(settings) / f"{job}.holder"

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        JobLockedError
            If somebody else has it, naming who.
        """
        self._note.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file.acquire()
        except Timeout as error:
            raise JobLockedError(self.job, self._holder()) from error
        with contextlib.suppress(OSError):  # a full disk: held all the same, by nobody known
            self._note.write_text(_ourselves(), encoding="utf-8")

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._file.is_locked:
            with contextlib.suppress(OSError):
                self._note.unlink(missing_ok=True)
            self._file.release()

    def _holder(self) -> str:
        try:
            return self._note.read_text(encoding="utf-8") or "another program"
        except OSError:
            return "another program"


def _ourselves() -> str:
    pid = os.getpid()
    command = command_of(pid)
    return f"PID {pid} ({command})" if command else f"PID {pid}"
