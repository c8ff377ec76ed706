"""What the run table gets to read: a run that starts, and moments that were missed.

Invariant: a row tells by itself which moment of which job it accounts for.
"""

from __future__ import annotations

from microstream_lab.research.run_folder import REPORT, folder_of, moment, new_run_id
from microstream_lab.schedule.plan import Missed, Start
from microstream_lab.schedule.worker import WorkOrder
from microstream_lab.settings import Settings
from microstream_lab.store import Run

__all__ = ["missed_run", "new_run", "order_of"]


def new_run(start: Start, settings: Settings, now: int) -> Run:
    """The run that is about to start at `now` (us)."""
    notebook = start.task.job.notebook.stem
    run_id = new_run_id(now, notebook)
    report = (folder_of(run_id, settings) / REPORT).relative_to(settings.microstream_home)
    due = now if start.scheduled_for is None else start.scheduled_for
    return Run(
        *(run_id, notebook, now),
        parameters=start.task.parameters(due),
        report=report.as_posix(),
        job=start.task.name,
        scheduled_for=start.scheduled_for,
        attempt=start.attempt,
        cause=start.cause,
    )


def order_of(run: Run, start: Start) -> WorkOrder:
    """What the worker of a run is told."""
    job = start.task.job
    return WorkOrder(
        notebook=str(job.notebook),
        parameters=dict(run.parameters),
        run_id=run.run_id,
        started_at=run.started_at,
        timeout_s=job.timeout_s,
        job=start.task.name,
        scheduled_for=start.scheduled_for,
        attempt=start.attempt,
        cause=start.cause,
    )


def missed_run(missed: Missed, now: int) -> Run:
    """One row for all the moments that were missed in a row."""
    notebook = missed.task.job.notebook.stem
    span = f"{moment(missed.first):%Y-%m-%d %H:%M}"
    if missed.count > 1:
        span += f" to {moment(missed.last):%Y-%m-%d %H:%M}"
    plural = "s" if missed.count > 1 else ""
    return Run(
        *(new_run_id(now, notebook), notebook, now, "missed"),
        parameters=missed.task.parameters(missed.last),
        ended_at=now,
        metrics={"missed": missed.count},
        error=f"{missed.count} run{plural}, {span} UTC: {missed.reason}",
        job=missed.task.name,
        scheduled_for=missed.last,
        cause="schedule",
    )
