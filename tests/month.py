"""Days of scheduled trainings under a fake clock, with mishaps by plan, and what came of them."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import psutil
from schedules import DAY, MINUTE, Clock, write_training

from microstream_lab.errors import MicrostreamError
from microstream_lab.registry import Registry
from microstream_lab.schedule.process import Worker, start_worker
from microstream_lab.schedule.reading import parse_schedule
from microstream_lab.schedule.scheduler import Scheduler
from microstream_lab.schedule.worker import WorkOrder
from microstream_lab.settings import Settings
from microstream_lab.store import Store
from microstream_lab.training import train_bundle

SYMBOL, INTERVAL, MARKET = SERIES = ("BTCUSDT", "1m", "um")
PRICES = ["open", "high", "low", "close"]
QUOTA_BYTES = 20_000
HANG_LIMIT_S = 12.0
BUSY_S = 2.0
LIMIT_S = 300.0
SCHEDULE = """
[keep]
runs = {keep}

[jobs.nightly]
notebook = "{notebook}"
cron = "30 0 * * *"
timeout = "{limit_s}s"
retries = 3
retry_after = "5m"

[jobs.nightly.parameters]
symbol = "BTCUSDT"
market = "um"
start = "{{day-{days}}}"
end = "{{day}}"
validation_share = {share}
"""


def shuffled(bars: pd.DataFrame) -> pd.DataFrame:
    """The bars with their prices dealt out anew among them."""
    order = np.random.default_rng(0).permutation(len(bars))
    mixed = bars.copy()
    mixed[PRICES] = bars[PRICES].to_numpy()[order]
    return mixed


@dataclass
class Plan:
    """Which day (counted from 0) brings what.

    `poisoned` and `missing` days are mended in the store so many days later; `mishaps` befall the
    attempts of a night, in order: ``crash hang full kill``.
    """

    poisoned: Mapping[int, int] = field(default_factory=dict)
    missing: Mapping[int, int] = field(default_factory=dict)
    mishaps: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


class Month:
    """A home with a scheduler that trains every night on the days before it.

    It begins with a champion of half the days, which is not hard to better.

    Parameters
    ----------
    home : Path
        Its folder.
    truth : DataFrame
        Real bars, from `n_days` before the first night on.
    n_days : int
        Days that a training takes, its window included.
    share : float
        Of the window.
    plan : Plan
        What goes wrong when.
    notebook : str, optional
        One of the project's; a short one if not given.
    keep : int
        Runs that are kept.
    """

    def __init__(
        self,
        home: Path,
        truth: pd.DataFrame,
        n_days: int,
        share: float,
        plan: Plan,
        notebook: str | None = None,
        keep: int = 4,
    ) -> None:
        self.settings = Settings(microstream_home=home, microstream_offline=True)
        self.truth, self.n_days, self.plan = truth, n_days, plan
        self.store = Store(self.settings.store_path)
        self.registry = Registry(self.settings.models_path)
        self.first = int(truth.index[0].value // 1000) + n_days * DAY
        self.clock = Clock(self.first)
        self.waiting: list[str] = []
        self.befell: list[str] = []
        self.told: list[str] = []
        self.bytes: list[int] = []
        self.current: list[str | None] = []
        name = notebook or write_training(self.settings)
        text = SCHEDULE.format(keep=keep, notebook=name, limit_s=LIMIT_S, days=n_days, share=share)
        self.schedule = parse_schedule(text, "schedule.toml", self.settings)
        self._kill = False
        self.store.write_bars(self._day_span(-n_days, 0))
        makeshift = train_bundle(self._day_span(-n_days, n_days * 7 // 12 - n_days), n_jobs=1)
        self.registry.promote(*SERIES[:2], self.registry.save(makeshift), MARKET)
        self.scheduler = self._open()

    def work(self, n_nights: int) -> None:
        """Go through so many nights."""
        for night in range(n_nights):
            self._bring_bars(night)
            self.waiting = list(self.plan.mishaps.get(night, ()))
            self.clock.now = self.first + night * DAY + 31 * MINUTE
            self._until_idle()
            self.current.append(self.registry.current(*SERIES))
            self.bytes.append(size_of(self.settings.microstream_home))
        self.scheduler.close()

    def _bring_bars(self, night: int) -> None:
        """What became known of the day before: its bars, poison, nothing, or older bars mended."""
        bars = self._day_span(night - 1, night) if night else None
        if bars is not None and night not in self.plan.missing:
            self.store.write_bars(shuffled(bars) if night in self.plan.poisoned else bars)
        for past, after in {**self.plan.poisoned, **self.plan.missing}.items():
            if night == past + after:
                self.store.write_bars(self._day_span(past - 1, past), replace=True)

    def _day_span(self, first: int, last: int) -> pd.DataFrame:
        begin = (self.n_days + first) * 1440
        return self.truth.iloc[begin : begin + (last - first) * 1440]

    def _until_idle(self) -> None:
        self.scheduler.step()
        while not self.scheduler.idle:
            if not self.scheduler.busy:
                self.clock.now += MINUTE  # nothing but a pause before the next attempt
            elif self._kill:
                self._kill = False
                self._lose_scheduler()
            time.sleep(0.05)
            self.scheduler.step()

    def _open(self) -> Scheduler:
        scheduler = Scheduler(
            *(self.schedule, self.settings, self.store),
            clock=self.clock,
            launch=self._launch,
            tell=self.told.append,
        )
        scheduler.open()
        return scheduler

    def _lose_scheduler(self) -> None:
        """What a power cut does: run, kernel and locks are gone, and nothing was written."""
        for work in self.scheduler._own_work():
            assert work.worker is not None
            kernel_at_work(work.worker)
            work.worker.kill()
        self.scheduler._release()
        self.clock.now += MINUTE
        self.scheduler = self._open()

    def _launch(self, order: WorkOrder, settings: Settings) -> Worker:
        mishap = self.waiting.pop(0) if self.waiting else ""
        if mishap:
            self.befell.append(mishap)
        if mishap == "hang":
            order = msgspec.structs.replace(order, timeout_s=HANG_LIMIT_S)
        worker = start_worker(order, settings)
        if mishap == "crash":
            kernel_at_work(worker).kill()
        elif mishap == "hang":
            kernel_at_work(worker).suspend()
        elif mishap == "full":
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (QUOTA_BYTES, QUOTA_BYTES))
        self._kill = mishap == "kill"
        return worker

    def rows(self) -> list[dict[str, Any]]:
        """All runs, oldest first."""
        return self.store.runs().iloc[::-1].to_dict("records")


def kernel_at_work(worker: Worker) -> psutil.Process:
    """The kernel of a run that is amid its cells: one that dies earlier is started again."""
    deadline = time.monotonic() + 60
    while worker.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(worker.pid).children():
                if sum(child.cpu_times()[:2]) > BUSY_S:
                    return child
        time.sleep(0.02)
    raise MicrostreamError(f"worker {worker.pid}: found no kernel at work, expected one")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
