"""A worker process as its parent sees it: started, looked at, told to stop, killed.

Invariant: nothing here waits except :meth:`Worker.kill`, and whatever is killed takes its kernel
along.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from typing import IO, Final, Protocol

import msgspec
import psutil

from microstream_lab.schedule.worker import WorkOrder
from microstream_lab.settings import Settings

__all__ = ["RunningWorker", "Worker", "start_worker"]

_LAST_LINES: Final = 20
_LONGEST_ERROR: Final = 300


class RunningWorker(Protocol):
    """What the scheduler needs of a worker."""

    def poll(self) -> int | None:
        """Its exit code, None as long as it runs."""
        ...

    def stop(self) -> None:
        """Ask it to write its run down and end."""
        ...

    def kill(self) -> None:
        """End it and its kernel now."""
        ...

    def complaint(self) -> str:
        """The last thing it said on standard error."""
        ...


class Worker:
    """A run in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, None as long as it runs."""
        code = self._process.poll()
        if code is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        return code

    def stop(self) -> None:
        """Ask it to write its run down and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and its kernel now."""
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            own = psutil.Process(self._process.pid)
            family = [*own.children(recursive=True), own]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()

    def complaint(self) -> str:
        """The last thing it said on standard error."""
        self._reader.join(timeout=5)
        lines = [line for line in self._lines if line.strip()]
        return lines[-1].strip()[:_LONGEST_ERROR] if lines else ""

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._lines.append(line.decode(errors="replace"))


def start_worker(order: WorkOrder, settings: Settings) -> Worker:
    """Start the run; it ends by itself when this process does."""
    environment = {
        **os.environ,
        "MICROSTREAM_HOME": str(settings.microstream_home),
        "MICROSTREAM_OFFLINE": str(int(settings.microstream_offline)),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "microstream_lab.schedule.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; its exit code tells
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
    return Worker(process)
