"""Runs that are asked for: a file for each job or task, which the scheduler that has it picks up.

Invariant: whoever asks never waits and needs no store; a request appears whole, is picked up at
least once, and asking twice before that is asking once.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from microstream_lab.schedule.locks import schedule_path
from microstream_lab.settings import Settings

__all__ = ["asked", "request_run", "taken"]

_log = logging.getLogger(__name__)


def request_run(settings: Settings, job: str, reason: str, symbol: str | None = None) -> Path:
    """Ask for a run of a job as soon as may be; a drift alarm does, or a person.

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
    path = _path(settings, job if symbol is None else f"{job}.{symbol}")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({"reason": reason}), encoding="utf-8")
    draft.replace(path)
    return path


def asked(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """The reasons of what is asked for now, of jobs and tasks of these names."""
    there = {path.stem for path in _folder(settings).glob("*.json")}
    return {name: _reason(_path(settings, name)) for name in names if name in there}


def taken(settings: Settings, name: str) -> None:
    """Forget a request: its run has been started."""
    _path(settings, name).unlink(missing_ok=True)


def _folder(settings: Settings) -> Path:
    return schedule_path(settings) / "requests"


def _path(settings: Settings, name: str) -> Path:
    return _folder(settings) / f"{name}.json"


def _reason(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s: found no reason: %s", path, error)
        return "without a reason"
