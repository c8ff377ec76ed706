"""Trainings that somebody should run: asked for by a drift alarm, run by ``train --requested``.

Invariant: one request a series, a whole file or none; the first reason stays until it is taken.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from microstream_lab.errors import RunError
from microstream_lab.models.drift_report import DriftReport
from microstream_lab.settings import Settings

__all__ = ["TrainingRequest", "pending_requests", "request_training", "withdraw"]


@dataclass(frozen=True)
class TrainingRequest:
    """That a series be trained anew, why, and since when (us)."""

    market: str
    symbol: str
    interval: str
    reason: str
    at: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.market}-{self.symbol}-{self.interval}.json"


def request_training(settings: Settings, report: DriftReport, at: int | None = None) -> bool:
    """Ask for a training after a drift alarm; False if one is asked for already.

    It is what ``LiveSession(on_drift=...)`` is given when ``DRIFT_REQUESTS_TRAINING`` is set.
    """
    at = time.time_ns() // 1_000 if at is None else at
    request = TrainingRequest(report.market, report.symbol, report.interval, str(report), at)
    folder = settings.requests_path
    folder.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=".draft-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(request), file, indent=2)
        os.link(draft, folder / request.name)  # unlike a rename, never over another
    except FileExistsError:
        return False
    finally:
        Path(draft).unlink(missing_ok=True)
    return True


def pending_requests(settings: Settings) -> list[TrainingRequest]:
    """The requests there are, oldest first.

    Raises
    ------
    RunError
        At one that cannot be read.
    """
    found = sorted(_read(settings), key=lambda request: (request.at, request.name))
    return found


def withdraw(settings: Settings, request: TrainingRequest) -> None:
    """Take a request away: its training has been run, whatever became of it."""
    (settings.requests_path / request.name).unlink(missing_ok=True)


def _read(settings: Settings) -> Iterator[TrainingRequest]:
    for path in settings.requests_path.glob("[!.]*.json"):
        try:
            yield TrainingRequest(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            continue  # taken away by another program
        except (ValueError, TypeError) as error:
            raise RunError(f"{path}: found {error}, expected a request for a training") from error
