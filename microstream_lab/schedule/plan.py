"""When one task runs next: a pure decision, told the time.

Invariant: a moment is either run once, or reported as missed, or still to come. A clock that steps
back runs no moment again that was run; one that leaps ahead is a time in which nobody looked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final

from microstream_lab.schedule.jobs import Task
from microstream_lab.schedule.times import moments_after, next_moment

__all__ = ["GRACE_US", "LONGEST_RETRY_S", "Missed", "Start", "TaskPlan", "upcoming"]

_SECOND: Final = 1_000_000
GRACE_US: Final = 90 * _SECOND
"""A moment that is noticed within it is on time; after it, it was missed."""
LONGEST_RETRY_S: Final = 3600.0
_REMEMBERED: Final = 1000


@dataclass(frozen=True)
class Start:
    """A run to start: of a moment (us), or of none if somebody asked for it."""

    task: Task
    scheduled_for: int | None
    attempt: int
    cause: str


@dataclass(frozen=True)
class Missed:
    """Moments that passed without a run: how many, the first and the last (us), and why."""

    task: Task
    count: int
    first: int
    last: int
    reason: str


class TaskPlan:
    """What one task owes, has started, and waits for.

    Parameters
    ----------
    task : Task
        What to run.
    handled_until : int
        Moments up to here (us) are dealt with.
    ran : iterable of int
        Moments that were run, so that a clock which stepped back does not run them again.
    """

    def __init__(self, task: Task, handled_until: int, ran: Iterable[int] = ()) -> None:
        self.task = task
        self.handled_until = handled_until
        self.current: Start | None = None
        self.waiting: Start | None = None
        self._ran = dict.fromkeys(ran)
        self._retry: tuple[int, Start] | None = None
        self._next: int | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is running, waiting or to be tried again."""
        return not (self.current or self.waiting or self._retry)

    @property
    def accounted_until(self) -> int:
        """Until when (us) nothing would be lost if this plan were: what waits is still to come."""
        moment = self.waiting.scheduled_for if self.waiting else None
        return self.handled_until if moment is None else min(self.handled_until, moment - 1)

    def next_due(self) -> int:
        """The next moment (us) that is neither dealt with nor run."""
        if self._next is None:
            moments = moments_after(self.task.job.cron, self.task.job.zone, self.handled_until)
            self._next = next(moment for moment in moments if moment not in self._ran)
        return self._next

    def update(self, now: int) -> list[Missed]:
        """Look at the clock: what is due waits from now on; returns what was missed.

        Parameters
        ----------
        now : int
            Wall time (us), which may have stepped back or leapt ahead.
        """
        if now < self.handled_until:  # the clock has stepped back; what is due just now still is
            self._look_from(now - 1)
        self.bring_retry(now)
        if now < self.next_due():
            return []
        due = self._due(now)
        self._look_from(now)
        late = now - due[-1] > GRACE_US
        made_up = not late or self.task.job.catch_up == "latest"
        missed = due[:-1] if made_up else due
        told = [] if not missed else [self._missed(missed, "nobody looked at the clock")]
        if made_up:
            told += self._supersede(due[-1])
            cause = f"catch-up, {_delay(now - due[-1])} late" if late else "schedule"
            self.waiting = Start(self.task, due[-1], 1, cause)
        return told

    def ask(self, reason: str) -> None:
        """Have a run as soon as may be, whatever the clock says; asked twice is asked once."""
        if self.waiting is None:
            self.waiting = Start(self.task, None, 1, f"request: {reason}")

    def take(self) -> Start | None:
        """The run to start now, if there is one and none is going on."""
        if self.current is not None or self.waiting is None:
            return None
        self.current, self.waiting = self.waiting, None
        if self.current.scheduled_for is not None:
            self._remember(self.current.scheduled_for)
        return self.current

    def adopt(self, start: Start) -> None:
        """Take over a run that somebody else started and that is still going on."""
        self.current = start

    def ended(self, done: bool, now: int) -> int | None:
        """Hear how the current run ended; returns when (us) it is tried again, if it is."""
        start, self.current = self.current, None
        return None if done or start is None else self.failed(start, now)

    def failed(self, start: Start, now: int) -> int | None:
        """Have a failed run tried again, if it may and nothing newer waits."""
        job = self.task.job
        if start.attempt > job.retries or self.waiting is not None:
            return None
        pause_s = min(
            job.retry_after_s * 2 ** (start.attempt - 1), max(LONGEST_RETRY_S, job.retry_after_s)
        )
        again = replace(start, attempt=start.attempt + 1, cause=f"retry of: {_origin(start.cause)}")
        self._retry = (now + int(pause_s * _SECOND), again)
        return self._retry[0]

    def bring_retry(self, now: int) -> None:
        """Have a failed run wait for its start once its pause is over."""
        if self._retry is None:
            return
        at, start = self._retry
        longest = int(max(LONGEST_RETRY_S, self.task.job.retry_after_s) * _SECOND)
        if at - now > longest:  # the clock has stepped back
            self._retry = (now + longest, start)
        elif now >= at and self.waiting is None and self.current is None:
            self._retry, self.waiting = None, start

    def _due(self, now: int) -> list[int]:
        job = self.task.job
        moments = moments_after(job.cron, job.zone, self.handled_until)
        return [m for m in takewhile(lambda moment: moment <= now, moments) if m not in self._ran]

    def _look_from(self, now: int) -> None:
        self.handled_until, self._next = now, None

    def _supersede(self, newer: int) -> list[Missed]:
        """What waited, or was to be tried again, gives way to a newer moment."""
        self._retry = None
        before, self.waiting = self.waiting, None
        if before is None or before.scheduled_for is None:
            return []
        return [self._missed([before.scheduled_for], "it still waited when the next was due")]

    def _missed(self, moments: list[int], reason: str) -> Missed:
        return Missed(self.task, len(moments), moments[0], moments[-1], reason)

    def _remember(self, moment: int) -> None:
        self._ran[moment] = None
        while len(self._ran) > _REMEMBERED:
            del self._ran[next(iter(self._ran))]


def _origin(cause: str) -> str:
    return cause.removeprefix("retry of: ")


def _delay(micros: int) -> str:
    minutes = micros / _SECOND / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 2880 else f"{minutes / 1440:.0f} days"


def upcoming(tasks: Iterable[Task], now: int, count: int) -> list[tuple[int, Task]]:
    """The next runs of all tasks together, soonest first."""
    waiting = [(next_moment(t.job.cron, t.job.zone, now), n, t) for n, t in enumerate(tasks)]
    found: list[tuple[int, Task]] = []
    while waiting and len(found) < count:
        soonest = min(waiting, key=lambda each: each[:2])
        moment, number, task = soonest
        found.append((moment, task))
        waiting[waiting.index(soonest)] = (
            next_moment(task.job.cron, task.job.zone, moment),
            number,
            task,
        )
    return found
