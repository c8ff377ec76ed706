"""Requests that the scheduler has heard, until the runs they ask for have been started.

Invariant: a request stays on disk until every run it asks for has begun, so that a scheduler killed
before that leaves it to the next one; what a drift alarm asks for comes no oftener than the job
allows, however often alarms begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from microstream_lab.schedule.jobs import Schedule, Task
from microstream_lab.schedule.requests import Request, pending, series_name, withdraw
from microstream_lab.settings import Settings

__all__ = ["Inbox"]

_SECOND = 1_000_000


class Inbox:
    """What is asked of the tasks of a schedule.

    Parameters
    ----------
    schedule : Schedule
        Its jobs, tasks, and series that drift are what can be asked for.
    settings : Settings
        Where the home folder is.
    tell : callable
        Gets a line about each series whose drift no job of the schedule answers.
    """

    def __init__(
        self, schedule: Schedule, settings: Settings, tell: Callable[[str], object]
    ) -> None:
        self._settings, self._tell = settings, tell
        self._tasks = _by_name(schedule)
        self._unanswered: dict[Request, set[str]] = {}
        self._started: dict[str, int] = {}
        self._told: set[str] = set()

    def hear(self, now: int) -> Iterator[tuple[Task, str]]:
        """What has been asked for since the last time, and why."""
        there = pending(self._settings)
        for gone in [request for request in self._unanswered if request not in there]:
            del self._unanswered[gone]  # asked for anew, or taken back by hand
        for request in there:
            tasks = self._tasks.get(request.name, ())
            if not tasks:
                self._tell_unclaimed(request)
            if not tasks or request in self._unanswered:
                continue
            if not any(self._is_too_soon(task, request, now) for task in tasks):
                self._unanswered[request] = {task.name for task in tasks}
                yield from ((task, request.reason) for task in tasks)

    def started(self, task: Task, now: int) -> None:
        """A run of a task begins, which answers whatever has asked for it."""
        self._started[task.name] = now
        for request, names in list(self._unanswered.items()):
            names.discard(task.name)
            if not names:
                del self._unanswered[request]
                withdraw(self._settings, request)

    def remember(self, task: Task, started_at: int) -> None:
        """When (us) an earlier scheduler last began a run of a task."""
        self._started[task.name] = started_at

    def _tell_unclaimed(self, request: Request) -> None:
        """Say once that drift asks in vain; what asks for a job may be another scheduler's."""
        if request.series is not None and request.name not in self._told:
            self._told.add(request.name)
            series = " ".join(request.series)
            self._tell(f"{series}: {request.reason}; no job here says on_drift for it")

    def _is_too_soon(self, task: Task, request: Request, now: int) -> bool:
        """Whether drift has to wait for its answer."""
        pause_s, last = task.job.on_drift_s, self._started.get(task.name)
        if request.series is None or pause_s is None or last is None:
            return False
        return 0 <= now - last < pause_s * _SECOND


def _by_name(schedule: Schedule) -> Mapping[str, tuple[Task, ...]]:
    """The tasks that a request of each name means."""
    drifting = {
        series_name(*task.series): (task,)
        for task in schedule.tasks
        if task.job.on_drift_s is not None and task.series is not None
    }
    each = {task.name: (task,) for task in schedule.tasks}
    return {**drifting, **each, **{job.name: job.tasks for job in schedule.jobs}}
