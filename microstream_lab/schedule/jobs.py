"""Jobs as ``schedule.toml`` declares them, and the tasks they consist of: one for each symbol.

Invariant: a job that was read can be run: its notebook is there and takes its parameters, its cron
expression has moments, its time zone is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final, Literal

from microstream_lab.errors import RunError

__all__ = ["CatchUp", "Job", "Keep", "Schedule", "Task", "resolved"]

CatchUp = Literal["latest", "none"]
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_DAY: Final = re.compile(r"day(?:\s*([+-])\s*(\d{1,4}))?")


@dataclass(frozen=True)
class Keep:
    """Which runs of a job stay on disk: so many of the newest, none older than so many days.

    Runs whose bundle is current, or may be by a rollback, always stay.
    """

    runs: int = 100
    days: float | None = None


@dataclass(frozen=True)
class Job:
    """A notebook to run by the clock.

    Parameters
    ----------
    name : str
        Small letters, digits, ``-`` and ``_``.
    notebook : Path
        The file.
    cron : str
        Five fields, read in `zone`.
    timeout_s, retry_after_s : float
        Limit of one attempt; pause before the second one, doubled before each further one.
    retries : int
        Further attempts after a failed one.
    catch_up : {"latest", "none"}
        Whether the last of the moments that passed unnoticed is made up for.
    symbols : tuple of str
        One run for each, one after another; none if the notebook shall choose.
    parameters : mapping
        Values, whose texts may hold ``{day}`` or ``{day-30}``: the day of the moment, UTC.
    on_drift_s : float, optional
        Run also when a drift alarm asks for it, no sooner than so long after the last start.
    defaults : mapping
        The notebook's own values of its parameters.
    """

    name: str
    notebook: Path
    cron: str
    zone: tzinfo = UTC
    timeout_s: float = 3600.0
    retries: int = 2
    retry_after_s: float = 60.0
    catch_up: CatchUp = "latest"
    symbols: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    on_drift_s: float | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What there is to do at each moment."""
        return tuple(Task(self, symbol) for symbol in self.symbols) or (Task(self, None),)


@dataclass(frozen=True)
class Task:
    """A job for one symbol."""

    job: Job
    symbol: str | None

    @property
    def name(self) -> str:
        """``nightly``, or ``nightly.BTCUSDT``."""
        return self.job.name if self.symbol is None else f"{self.job.name}.{self.symbol}"

    @property
    def series(self) -> tuple[str, str, str] | None:
        """Market, symbol and interval it is about, if its notebook has such parameters."""
        named = {} if self.symbol is None else {"symbol": self.symbol}
        values = {**self.job.defaults, **named, **self.job.parameters}
        market, symbol, interval = map(values.get, ("market", "symbol", "interval"))
        if not (isinstance(market, str) and isinstance(symbol, str) and isinstance(interval, str)):
            return None
        return market, symbol.upper(), interval

    def parameters(self, moment: int) -> dict[str, Any]:
        """The parameters of a run that is due at a moment (us)."""
        named = {} if self.symbol is None else {"symbol": self.symbol}
        return {**named, **{name: resolved(v, moment) for name, v in self.job.parameters.items()}}


@dataclass(frozen=True)
class Schedule:
    """All jobs of a file, how many runs may go on at a time, and which of them are kept."""

    jobs: tuple[Job, ...]
    parallel: int = 1
    keep: Keep = Keep()

    def only(self, name: str, symbol: str | None = None) -> Schedule:
        """The schedule of one job, perhaps of one of its symbols.

        Raises
        ------
        RunError
            If there is no such job or symbol, with those there are.
        """
        found = next((job for job in self.jobs if job.name == name), None)
        if found is None:
            there = ", ".join(job.name for job in self.jobs)
            raise RunError(f"job {name}: not in the schedule, which has: {there}")
        if symbol is None:
            return replace(self, jobs=(found,))
        if symbol not in found.symbols:
            there = ", ".join(found.symbols) or "none of its own"
            raise RunError(f"job {name}: found no symbol {symbol}, it has: {there}")
        return replace(self, jobs=(replace(found, symbols=(symbol,)),))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of all jobs."""
        return tuple(task for job in self.jobs for task in job.tasks)


def resolved(value: Any, moment: int) -> Any:
    """`value` with the days in it written out, as seen from a moment (us).

    Raises
    ------
    ValueError
        At a placeholder that is not ``{day}``, ``{day-N}`` or ``{day+N}``.
    """
    if isinstance(value, list):
        return [resolved(item, moment) for item in value]
    if not isinstance(value, str):
        return value
    today = datetime.fromtimestamp(moment // 1_000_000, UTC).date()

    def day(match: re.Match[str]) -> str:
        parts = _DAY.fullmatch(match[1].strip())
        if parts is None:
            raise ValueError(f"found {match[0]}, expected {{day}}, {{day-30}} or {{day+1}}")
        days = int(f"{parts[1] or '+'}{parts[2] or 0}")
        return (today + timedelta(days=days)).isoformat()

    return _PLACEHOLDER.sub(day, value)
