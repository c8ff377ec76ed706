"""The scheduler: looks at the clock, starts what is due, and writes down what became of it.

Invariant: every moment of every job ends as a run that is done or failed, or as one that was
missed, and its row says which; nothing that goes wrong with a run, the store or the disk ends the
scheduler.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from microstream_lab.errors import MicrostreamError
from microstream_lab.research.retention import prune_runs
from microstream_lab.research.run_folder import folder_of, is_alive, moment, write_record
from microstream_lab.research.run_index import refresh_index
from microstream_lab.research.runs import settle
from microstream_lab.schedule.inbox import Inbox
from microstream_lab.schedule.jobs import Schedule, Task
from microstream_lab.schedule.ledger import Ledger
from microstream_lab.schedule.locks import JobLock
from microstream_lab.schedule.plan import Missed, Start, TaskPlan
from microstream_lab.schedule.process import RunningWorker, start_worker
from microstream_lab.schedule.recovery import Recovered, recover
from microstream_lab.schedule.rows import missed_run, new_run, order_of
from microstream_lab.schedule.worker import WorkOrder
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store

__all__ = ["Scheduler"]

_OVERTIME_S: Final = 60.0
"""What a worker gets beyond the limit of its run, to write it down."""
_FAREWELL_S: Final = 30.0
_log = logging.getLogger(__name__)


@dataclass
class _Work:
    """A run that is going on; without a worker it is one of a scheduler that is gone."""

    run: Run
    worker: RunningWorker | None
    kill_at: float
    killed: bool = False


class Scheduler:
    """Runs the jobs of a schedule, each in a process of its own.

    Parameters
    ----------
    schedule : Schedule
        What to run when.
    settings : Settings
        Where the home folder is.
    store : Store
        Where rows go.
    clock : callable
        Wall time in microseconds since 1970 UTC; it may jump.
    launch : callable
        Starts a worker.
    tell : callable
        Gets a line about whatever happens.
    by_clock : bool
        Start what is due. Otherwise only what :meth:`ask` asks for.
    """

    def __init__(
        self,
        schedule: Schedule,
        settings: Settings,
        store: Store,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        launch: Callable[[WorkOrder, Settings], RunningWorker] = start_worker,
        tell: Callable[[str], object] = _log.info,
        by_clock: bool = True,
    ) -> None:
        self.schedule, self.settings = schedule, settings
        self._store, self._clock, self._launch, self._tell = store, clock, launch, tell
        self._by_clock = by_clock
        self._ledger = Ledger(store)
        self._inbox = Inbox(schedule, settings, tell)
        self._locks = [JobLock(job.name, settings) for job in schedule.jobs]
        self._plans: dict[str, TaskPlan] = {}
        self._work: dict[str, _Work] = {}
        self._undone: set[str] = set()

    def open(self) -> None:
        """Take the locks, and settle what an earlier scheduler has left.

        Raises
        ------
        JobLockedError
            If another scheduler has one of the jobs; then none is held.
        """
        try:
            for lock in self._locks:
                lock.acquire()
            self._take_over(self._clock())
        except BaseException:
            self._release()
            raise

    def run(self, stop: threading.Event, poll_s: float = 1.0) -> None:
        """Work until `stop` is set, then end the runs that go on and write them down."""
        try:
            while not stop.is_set():
                self.step()
                stop.wait(poll_s)
        finally:
            self.close()

    def run_to_end(self, stop: threading.Event, poll_s: float = 0.2) -> bool:
        """Work until nothing is left of what was asked for; whether all of it was done."""
        try:
            while not (stop.is_set() or self.idle):
                self.step()
                stop.wait(poll_s)
            return self.idle and not self._undone
        finally:
            self.close()

    @property
    def idle(self) -> bool:
        """Whether nothing is running, waiting or to be tried again."""
        return all(plan.idle for plan in self._plans.values())

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return bool(self._work)

    def ask(self, reason: str) -> None:
        """Have every task run once, as soon as may be."""
        for plan in self._plans.values():
            plan.ask(reason)

    def step(self) -> None:
        """Look once: at runs that ended, at requests and at the clock; start what may start."""
        now = self._clock()
        for name in list(self._work):
            self._look_after(name, now)
        self._hear_requests(now)
        for plan in self._plans.values():
            self._look_at_clock(plan, now)
        for plan in sorted(self._plans.values(), key=_urgency):
            if self._may_start(plan) and (start := plan.take()):
                self._start(plan, start, now)
        self._ledger.flush()

    def close(self) -> None:
        """End the runs that go on, write them down, and give the locks back."""
        for work in self._work.values():
            if work.worker is not None:
                work.worker.stop()
        deadline = time.monotonic() + _FAREWELL_S
        while self._own_work() and time.monotonic() < deadline:
            self._collect()
            time.sleep(0.05)
        for work in self._own_work():
            assert work.worker is not None
            work.worker.kill()
        self._collect()
        if not self._ledger.flush():
            self._tell("some rows could not be written; the next start finds them in data/runs")
        self._release()

    def _own_work(self) -> list[_Work]:
        return [work for work in self._work.values() if work.worker is not None]

    def _collect(self) -> None:
        for name, work in list(self._work.items()):
            if work.worker is not None and work.worker.poll() is not None:
                self._look_after(name, self._clock())

    def _release(self) -> None:
        for lock in self._locks:
            lock.release()

    def _take_over(self, now: int) -> None:
        self._store.write_schedule([], {})  # makes the store, or says why it cannot be used
        names = [job.name for job in self.schedule.jobs]
        alive = recover(self.settings, self._store, names, now, self._tell)
        handled = self._store.handled_until()
        for task in self.schedule.tasks:
            past = Recovered.of(task, self._store, alive)
            plan = TaskPlan(task, handled.get(task.name, now), past.ran)
            self._plans[task.name] = plan
            if past.started_at is not None:
                self._inbox.remember(task, past.started_at)
            if past.running is not None:
                plan.adopt(_start_of(task, past.running))
                self._work[task.name] = _Work(past.running, None, float("inf"))
            elif past.unfinished is not None and self._by_clock:
                plan.failed(_start_of(task, past.unfinished), now)
            if self._by_clock:
                self._ledger.handled(task.name, plan.accounted_until)
        self._ledger.flush()

    def _hear_requests(self, now: int) -> None:
        if self._by_clock:
            for task, reason in self._inbox.hear(now):
                self._plans[task.name].ask(reason)

    def _look_at_clock(self, plan: TaskPlan, now: int) -> None:
        if not self._by_clock:
            plan.bring_retry(now)
            return
        before = plan.accounted_until
        for missed in plan.update(now):
            self._write_missed(missed, now)
        if plan.accounted_until != before and plan.waiting is None:
            self._ledger.handled(plan.task.name, plan.accounted_until)

    def _may_start(self, plan: TaskPlan) -> bool:
        job = plan.task.job.name
        same_job = any(self._plans[name].task.job.name == job for name in self._work)
        return not same_job and len(self._work) < self.schedule.parallel

    def _start(self, plan: TaskPlan, start: Start, now: int) -> None:
        run = new_run(start, self.settings, now)
        self._ledger.add(run)
        if self._by_clock:
            self._ledger.handled(plan.task.name, plan.accounted_until)
        if not self._ledger.flush():  # the worker writes its row, and this one might come after it
            self._ledger.forget(run.run_id)
        job = start.task.job
        self._inbox.started(start.task, now)
        self._tell(f"{start.task.name}: started, {start.cause}")
        try:
            worker = self._launch(order_of(run, start), self.settings)
        except OSError as error:
            self._end(plan, run, f"no process could be started: {error}", now)
            return
        kill_at = time.monotonic() + job.timeout_s + _OVERTIME_S
        self._work[start.task.name] = _Work(run, worker, kill_at)

    def _look_after(self, name: str, now: int) -> None:
        work, plan = self._work[name], self._plans[name]
        if work.worker is None:
            if not is_alive(folder_of(work.run.run_id, self.settings)):
                self._end(plan, work.run, "its process is gone", now)
            return
        code = work.worker.poll()
        if code is not None:
            self._end(plan, work.run, _why(work, code, plan.task), now)
        elif time.monotonic() > work.kill_at:
            work.killed = True
            work.worker.kill()

    def _end(self, plan: TaskPlan, run: Run, error: str, now: int) -> None:
        self._work.pop(plan.task.name, None)
        ended = settle(run, self.settings, self._ledger, error, now)
        refresh_index(self.settings)
        (self._undone.discard if ended.status == "done" else self._undone.add)(plan.task.name)
        again = plan.ended(ended.status == "done", now)
        told = f"{plan.task.name}: {ended.status}"
        if ended.status != "done":
            told += f": {ended.error}"
        if again is not None:
            told += f"; tried again at {moment(again):%H:%M:%S} UTC"
        self._tell(told)
        self._ledger.flush()
        self._make_room(plan.task, now)

    def _make_room(self, task: Task, now: int) -> None:
        keep = self.schedule.keep
        try:
            pruned = prune_runs(
                *(self.settings, self._store, now, keep.runs, keep.days),
                wanted=lambda run: run.job == task.name,
            )
        except (MicrostreamError, OSError) as error:
            _log.warning("%s: old runs stay for now: %s", task.name, error)
            return
        if pruned:
            self._tell(f"{task.name}: {len(pruned)} old runs deleted")

    def _write_missed(self, missed: Missed, now: int) -> None:
        run = missed_run(missed, now)
        self._ledger.add(run)
        self._tell(f"{missed.task.name}: missed {run.error}")
        folder = folder_of(run.run_id, self.settings)
        try:
            folder.mkdir(parents=True)
            write_record(run, folder)
        except OSError as error:
            _log.warning("%s: no record: %s", run.run_id, error)


def _urgency(plan: TaskPlan) -> int:
    """Who has waited longest comes first, and what was asked for before all."""
    start = plan.waiting
    return 0 if start is None or start.scheduled_for is None else start.scheduled_for


def _start_of(task: Task, run: Run) -> Start:
    return Start(task, run.scheduled_for, run.attempt, run.cause or "schedule")


def _why(work: _Work, code: int, task: Task) -> str:
    """Why a worker ended that has not said so itself."""
    if work.killed:
        return f"did not end at its limit of {task.job.timeout_s:g} s, and was killed"
    said = work.worker.complaint() if work.worker else ""
    how = (
        f"its process was killed by signal {-code}"
        if code < 0
        else f"its process ended with {code}"
    )
    return said or how
