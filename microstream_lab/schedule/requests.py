"""Runs that are asked for: a file for each job, task or series, until a run has answered it.

A person asks for a job by its name. A drift alarm knows no jobs: it asks for a training of its
series, which the scheduler answers with the job that declares ``on_drift``, and
``train --requested`` where no scheduler is at work.

Invariant: whoever asks never waits and needs no store; a request appears whole, is answered at
least once, and asking twice before that is asking once.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from microstream_lab.schedule.locks import schedule_path
from microstream_lab.settings import Settings

if TYPE_CHECKING:
    from microstream_lab.models.drift_report import DriftReport

__all__ = ["Request", "pending", "request_run", "request_training", "series_name", "withdraw"]

_log = logging.getLogger(__name__)
_SERIES_PARTS: Final = 3


class Request(msgspec.Struct, frozen=True):
    """What is asked for, why, and since when (us)."""

    name: str
    reason: str
    at: int

    @property
    def series(self) -> tuple[str, str, str] | None:
        """Market, symbol and interval, if a training of a series is asked for."""
        parts = self.name.split(".")
        return (parts[0], parts[1], parts[2]) if len(parts) == _SERIES_PARTS else None


def series_name(market: str, symbol: str, interval: str) -> str:
    """What a series is called in requests: no job or task has two dots in its name."""
    return f"{market}.{symbol}.{interval}"


def request_run(settings: Settings, job: str, reason: str, symbol: str | None = None) -> Path:
    """Ask for a run of a job as soon as may be.

    Parameters
    ----------
    job : str
        A job of the schedule.
    reason : str
        Why; it is kept with the run.
    symbol : str, optional
        Only this one of the job's symbols.

    Returns
    -------
    Path
        The file that asks. A scheduler that has the job starts the run within seconds; if none is
        at work, the next one does.
    """
    return _ask(settings, job if symbol is None else f"{job}.{symbol}", reason)


def request_training(settings: Settings, report: DriftReport) -> Path:
    """Ask for a training of a series after a drift alarm, in the report's words.

    It is what ``LiveSession(on_drift=...)`` is given when ``DRIFT_REQUESTS_TRAINING`` is set.
    """
    name = series_name(report.market, report.symbol, report.interval)
    return _ask(settings, name, f"drift, {report}")


def pending(settings: Settings) -> list[Request]:
    """What is asked for now, oldest first."""
    found = filter(None, map(_read, _folder(settings).glob("[!.]*.json")))
    return sorted(found, key=lambda request: (request.at, request.name))


def withdraw(settings: Settings, request: Request) -> None:
    """Forget a request that was answered; one that was made anew meanwhile stays."""
    path = _path(settings, request.name)
    if _read(path) in (None, request):
        path.unlink(missing_ok=True)


def _ask(settings: Settings, name: str, reason: str) -> Path:
    path = _path(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"reason": reason, "at": time.time_ns() // 1_000}, file)
    Path(draft).replace(path)
    return path


def _folder(settings: Settings) -> Path:
    return schedule_path(settings) / "requests"


def _path(settings: Settings, name: str) -> Path:
    return _folder(settings) / f"{name}.json"


def _read(path: Path) -> Request | None:
    """The request in a file; one that says nothing readable still asks."""
    name = path.name.removesuffix(".json")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Request(name, str(told["reason"]), int(told["at"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s: found no reason: %s", path, error)
        return Request(name, "without a reason", 0)
