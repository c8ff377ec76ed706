"""The run table: what notebooks did, what the scheduler owes, and until when it has looked.

Invariant: a run is one row from its start to its end, and a job's moments are dealt with in the
same transaction that writes what became of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
import pandas as pd

from microstream_lab.store.connection import Connection, transaction
from microstream_lab.store.journal import put
from microstream_lab.store.results import Run, WriteCounts
from microstream_lab.store.series import fetch_frame
from microstream_lab.store.sharing import SharedFile

__all__ = ["RunBook"]

_RUN_KEY: Final = ("run_id",)
_RUN_FACTS: Final = (
    "notebook",
    "parameters",
    "status",
    "started_at",
    "ended_at",
    "metrics",
    "error",
    "report",
    "job",
    "scheduled_for",
    "attempt",
    "cause",
)
_READ_RUNS: Final = f"""
SELECT {", ".join((*_RUN_KEY, *_RUN_FACTS))} FROM runs
WHERE notebook = coalesce($notebook, notebook) AND status = coalesce($status, status)
    AND ($job IS NULL OR job = $job)
ORDER BY started_at DESC, run_id DESC LIMIT $limit
"""
_READ_OPEN_RUNS: Final = """
SELECT run_id, notebook, epoch_us(started_at), status, parameters, NULL, metrics, error, report,
    job, epoch_us(scheduled_for), attempt, cause
FROM runs WHERE status = 'running' ORDER BY started_at, run_id
"""


class RunBook:
    """Runs in the store: the part of :class:`Store` that runners and the scheduler need."""

    def __init__(self, file: SharedFile) -> None:
        self._file = file

    def write_run(self, run: Run) -> None:
        """Write a notebook run, or bring the one of the same ``run_id`` up to date."""
        with self._file.writing() as connection, transaction(connection):
            _write_run(connection, run)

    def write_schedule(self, runs: Iterable[Run], handled: Mapping[str, int]) -> None:
        """Write runs, and until when (us) the moments of jobs are dealt with, all or nothing."""
        with self._file.writing() as connection, transaction(connection):
            for run in runs:
                _write_run(connection, run)
            _write_handled(connection, handled)

    def runs(
        self,
        notebook: str | None = None,
        status: str | None = None,
        limit: int = 1000,
        job: str | None = None,
    ) -> pd.DataFrame:
        """Notebook runs, newest first; ``parameters`` and ``metrics`` are dictionaries."""
        with self._file.reading() as connection:
            return _read_runs(connection, notebook, status, job, limit)

    def open_runs(self) -> list[Run]:
        """Runs that are written down as running, oldest first; none if there is no store."""
        if not self._file.exists():
            return []
        with self._file.reading() as connection:
            return _read_open_runs(connection)

    def handled_until(self) -> dict[str, int]:
        """Until when (us) the moments of scheduled jobs are dealt with, by job."""
        if not self._file.exists():
            return {}
        with self._file.reading() as connection:
            return _read_handled(connection)

    def forget_reports(self, run_ids: Iterable[str]) -> None:
        """Keep the rows of runs, and say that their reports are gone."""
        with self._file.writing() as connection, transaction(connection):
            _forget_reports(connection, run_ids)


def _write_run(connection: Connection, run: Run) -> WriteCounts:
    """Write a run, or bring it up to date; call it within a transaction."""
    values = {name: getattr(run, name) for name in (*_RUN_KEY, *_RUN_FACTS)}
    for name in ("parameters", "metrics"):
        values[name] = msgspec.json.encode(values[name], enc_hook=str).decode()
    return put(connection, "runs", _RUN_KEY, _RUN_FACTS, values)


def _read_runs(
    connection: Connection, notebook: str | None, status: str | None, job: str | None, limit: int
) -> pd.DataFrame:
    """The latest runs, newest first; ``parameters`` and ``metrics`` as dictionaries."""
    values = {"notebook": notebook, "status": status, "job": job, "limit": limit}
    frame = fetch_frame(connection, _READ_RUNS, values)
    for name in ("parameters", "metrics"):
        decoded = [msgspec.json.decode(text) for text in frame[name]]
        frame[name] = pd.Series(decoded, index=frame.index, dtype=object)
    return frame


def _read_open_runs(connection: Connection) -> list[Run]:
    """Runs that are written down as running, oldest first."""
    rows = connection.execute(_READ_OPEN_RUNS).fetchall()
    return [_run_of(row) for row in rows]


def _run_of(row: tuple[Any, ...]) -> Run:
    parameters, _, metrics = (msgspec.json.decode(text or "{}") for text in row[4:7])
    return replace(Run(*row), parameters=parameters, metrics=metrics)


def _forget_reports(connection: Connection, run_ids: Iterable[str]) -> None:
    """Runs whose reports are no longer there; call it within a transaction."""
    for run_id in run_ids:
        connection.execute("UPDATE runs SET report = NULL WHERE run_id = ?", [run_id])


def _write_handled(connection: Connection, handled: Mapping[str, int]) -> None:
    """Write until when the moments of jobs are dealt with; call it within a transaction."""
    for job, until in handled.items():
        put(connection, "jobs", ("job",), ("handled_until",), {"job": job, "handled_until": until})


def _read_handled(connection: Connection) -> dict[str, int]:
    """Until when the moments of jobs are dealt with, by job."""
    rows = connection.execute("SELECT job, epoch_us(handled_until) FROM jobs").fetchall()
    return dict(rows)
