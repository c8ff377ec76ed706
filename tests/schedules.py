"""Schedules, clocks and workers for tests of the scheduler."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from microstream_lab.research.run_folder import (
    folder_of,
    write_record,
)
from microstream_lab.schedule.jobs import Job, Keep, Schedule
from microstream_lab.schedule.scheduler import Scheduler
from microstream_lab.schedule.worker import WorkOrder
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
PARAMETERS = 'symbol = "SIMUSDT"\nstart: str | None = None\nmode = "work"\n'

TRAINING_PARAMETERS = """
symbol = "SIMUSDT"
market = "sim"
interval = "1m"
start: str | None = None
end: str | None = None
validation_share = 0.2
"""
TRAINING = """
import pandas as pd
from microstream_lab import Registry, Settings, train_bundle
from microstream_lab.research.challenge import challenge
from microstream_lab.research.inputs import load_bars
from microstream_lab.research.metrics import record_metrics
bars = load_bars(symbol, interval, market, start, end)
window_start = bars.index[-int(len(bars) * validation_share)]
training = bars[: window_start - pd.Timedelta("1h")].iloc[:-1]
bundle = train_bundle(training, n_jobs=1)
done = challenge(bundle, bars, window_start, Registry(Settings.load().models_path), end=end)
record_metrics(done.metrics())
"""
"""What 02_train does, without tables and figures."""


def at(text: str, zone: tzinfo = UTC) -> int:
    """A wall time as microseconds UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * SECOND


def write_notebook(
    settings: Settings, *cells: str, name: str = "nightly", parameters: str = PARAMETERS
) -> Path:
    """A notebook with parameters, in the home folder."""
    path = settings.path("notebooks", f"{name}.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    code = [new_code_cell(source) for source in cells]
    nbformat.write(new_notebook(cells=[first, *code]), path)
    return path


def write_training(settings: Settings) -> str:
    """A notebook that only trains, in the home folder; returns its name."""
    return write_notebook(settings, TRAINING, name="train", parameters=TRAINING_PARAMETERS).stem


def make_job(notebook: Path, **options: Any) -> Job:
    """A job that is due every midnight UTC."""
    return replace(Job("nightly", notebook, "0 0 * * *"), **options)


class Clock:
    """Wall time that is set by hand."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class FakeWorker:
    """A run that ends when told, and does as much of it as told."""

    def __init__(self, order: WorkOrder, settings: Settings) -> None:
        self.order, self.settings = order, settings
        self.code: int | None = None
        self.told_to_stop = self.killed = False
        self.folder = folder_of(order.run_id, settings)

    @property
    def _run(self) -> Run:
        order = self.order
        return Run(
            *(order.run_id, Path(order.notebook).stem, order.started_at),
            parameters=order.parameters,
            job=order.job,
            scheduled_for=order.scheduled_for,
            attempt=order.attempt,
            cause=order.cause,
        )

    def end(self, status: str = "done", error: str | None = None, **metrics: Any) -> None:
        """End as a worker does that has written its run down."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ended = replace(self._run, status=status, error=error, metrics=metrics)  # type: ignore[arg-type]
        write_record(replace(ended, ended_at=self.order.started_at + SECOND), self.folder)
        self.code = 0 if status == "done" else 1

    def vanish(self, code: int = -9) -> None:
        """End as a worker does that was killed."""
        self.code = code

    def poll(self) -> int | None:
        return self.code

    def stop(self) -> None:
        self.told_to_stop = True
        self.end("failed", "interrupted")

    def kill(self) -> None:
        self.killed = True
        self.code = -9

    def complaint(self) -> str:
        return ""


class Bench:
    """A scheduler whose clock and workers are in the hands of the test."""

    def __init__(self, home: Path, *jobs: Job, now: int, **options: Any) -> None:
        self.settings = Settings(microstream_home=home, microstream_offline=True)
        self.clock = Clock(now)
        self.workers: list[FakeWorker] = []
        self.told: list[str] = []
        self.schedule = Schedule(jobs, **{"keep": Keep(1000), **options})
        self.store = Store(self.settings.store_path, timeout_s=0.2)
        self.scheduler = self.another()

    def another(self) -> Scheduler:
        """One more scheduler of the same jobs, as after a restart."""
        return Scheduler(
            self.schedule,
            self.settings,
            self.store,
            clock=self.clock,
            launch=self._launch,
            tell=self.told.append,
        )

    def _launch(self, order: WorkOrder, settings: Settings) -> FakeWorker:
        self.workers.append(FakeWorker(order, settings))
        return self.workers[-1]

    def step_at(self, now: int) -> list[FakeWorker]:
        """Look at the clock at a time; returns the workers that were started."""
        before, self.clock.now = len(self.workers), now
        self.scheduler.step()
        return self.workers[before:]

    def restart(self, now: int) -> None:
        """Lose the scheduler as a kill does, and open another one."""
        self.scheduler._release()  # what the end of a process does to its locks
        self.clock.now = now
        self.scheduler = self.another()
        self.scheduler.open()

    def rows(self) -> list[tuple[str, str, Any]]:
        """Status, cause and moment of all runs, oldest first."""
        runs = self.store.runs().iloc[::-1]
        return list(zip(runs["status"], runs["cause"], runs["scheduled_for"], strict=True))
