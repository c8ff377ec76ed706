"""One run in a process of its own, as its parent orders it on standard input.

Invariant: the process does not outlive its parent. Standard input stays open as long as the parent
lives; when it ends, the run is interrupted, written down as failed, and over.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from microstream_lab.errors import MicrostreamError
from microstream_lab.research.runs import Order, run_notebook
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["WorkOrder", "main"]


class WorkOrder(msgspec.Struct, frozen=True):
    """What a worker shall do; times are microseconds UTC."""

    notebook: str
    parameters: dict[str, Any]
    run_id: str
    started_at: int
    timeout_s: float
    job: str
    scheduled_for: int | None
    attempt: int
    cause: str


def main() -> int:
    """Do what the first line of standard input says; 0 if the notebook went through."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkOrder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    threading.Thread(target=_end_with_parent, daemon=True).start()
    settings = Settings.load()
    try:
        run_notebook(
            Path(order.notebook),
            order.parameters,
            settings=settings,
            store=Store(settings.store_path, timeout_s=60.0),
            timeout_s=order.timeout_s,
            clock=_clock_from(order.started_at),
            order=Order(order.run_id, order.job, order.scheduled_for, order.attempt, order.cause),
        )
    except KeyboardInterrupt:
        return 130
    except (MicrostreamError, OSError) as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    return 0


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _clock_from(started_at: int) -> Callable[[], int]:
    """A clock that begins at the parent's time and cannot be set: runs take what they take."""
    began = time.monotonic()
    return lambda: started_at + int((time.monotonic() - began) * 1e6)


if __name__ == "__main__":
    sys.exit(main())
