"""What an earlier scheduler has left: runs without an end, rows without a run, moments already run.

Invariant: afterwards every run that is written down as running is alive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import pandas as pd

from microstream_lab.errors import JobLockedError
from microstream_lab.research.run_folder import RECORD, folder_of, is_alive, read_record
from microstream_lab.research.run_index import refresh_index
from microstream_lab.research.runs import settle
from microstream_lab.schedule.jobs import Task
from microstream_lab.schedule.locks import JobLock
from microstream_lab.schema import as_micros
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store

__all__ = ["Recovered", "recover"]

_GONE: Final = "its process is gone: killed, or the machine went down"
_MOST: Final = 1000


def recover(
    settings: Settings, store: Store, jobs: Sequence[str], now: int, tell: Callable[[str], object]
) -> list[Run]:
    """Settle runs whose process is gone, and give rows to folders without one.

    Parameters
    ----------
    jobs : sequence of str
        Jobs whose locks are held; those of others are left to them while they are at work.

    Returns
    -------
    list of Run
        Those that are alive.
    """
    alive = []
    for run in [*store.open_runs(), *_unwritten(settings, store)]:
        if is_alive(folder_of(run.run_id, settings)):
            alive.append(run)
        elif _is_ours(run, jobs, settings):
            ended = settle(run, settings, store, _GONE, now)
            tell(f"{ended.job or ended.notebook}: {ended.run_id} {ended.status}: {ended.error}")
    refresh_index(settings)
    return alive


def _unwritten(settings: Settings, store: Store) -> list[Run]:
    """Runs that left a record and no row: the store was busy, or the disk full."""
    folders = sorted((p.parent for p in settings.runs_path.glob(f"*/{RECORD}")), reverse=True)
    known = set(store.runs(limit=10 * _MOST)["run_id"])
    strangers = (folder for folder in folders[:_MOST] if folder.name not in known)
    return [run for run in map(read_record, strangers) if run is not None]


def _is_ours(run: Run, jobs: Sequence[str], settings: Settings) -> bool:
    """Whether nobody else is about to say what became of a run."""
    job = (run.job or "").split(".")[0]
    if not job or job in jobs:
        return True
    lock = JobLock(job, settings)
    try:
        lock.acquire()
    except JobLockedError:
        return False
    lock.release()
    return True


@dataclass(frozen=True)
class Recovered:
    """What the run table knows of a task: moments (us) run, loose ends, and the last start."""

    ran: list[int] = field(default_factory=list)
    running: Run | None = None
    unfinished: Run | None = None
    started_at: int | None = None

    @classmethod
    def of(cls, task: Task, store: Store, alive: Sequence[Run]) -> Recovered:
        """Read it from the store; `alive` are the runs that go on."""
        rows = store.runs(job=task.name, limit=_MOST)
        run_rows = rows[rows["status"] != "missed"]
        ran = run_rows["scheduled_for"].dropna()
        running = next((run for run in alive if run.job == task.name), None)
        unfinished = None
        if task.job.catch_up == "latest" and running is None:
            unfinished = _unfinished(rows)
        moments = [as_micros(moment) for moment in reversed(ran.tolist())]
        started_at = None if run_rows.empty else as_micros(run_rows["started_at"].iloc[0])
        return cls(moments, running, unfinished, started_at)


def _unfinished(rows: pd.DataFrame) -> Run | None:
    """The last run, if it failed: perhaps it may be tried again."""
    if rows.empty or rows["status"].iloc[0] != "failed":
        return None
    last = rows.iloc[0]
    due = None if pd.isna(last["scheduled_for"]) else as_micros(last["scheduled_for"])
    return Run(
        *(last["run_id"], last["notebook"], as_micros(last["started_at"]), "failed"),
        job=last["job"],
        scheduled_for=due,
        attempt=int(last["attempt"]),
        cause=last["cause"],
    )
