"""The folder of a run: its notebook, its report, its record ``run.json``, and whether it is alive.

Invariant: the notebook says by its name how the run ended, ``02_train.ipynb``,
``02_train.failed.ipynb`` or, while it runs, ``02_train.running.ipynb``; a run is alive for just as
long as its process holds the lock in its folder, which no kill and no power cut can leave behind.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from microstream_lab.errors import RunError
from microstream_lab.research.metrics import read_metrics, read_tables
from microstream_lab.research.notebooks import read_notebook
from microstream_lab.research.parameters import notebook_parameters
from microstream_lab.settings import Settings
from microstream_lab.store.results import Run

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from microstream_lab.research.report import ReportHead

__all__ = [
    "RECORD",
    "REPORT",
    "executed_notebook",
    "finish_folder",
    "folder_of",
    "is_alive",
    "moment",
    "new_run_id",
    "read_record",
    "running",
    "write_record",
]

REPORT: Final = "report.html"
RECORD: Final = "run.json"
_LOCK: Final = "run.lock"
_TIMES: Final = ("started_at", "ended_at", "scheduled_for")
_log = logging.getLogger(__name__)


def moment(micros: int) -> datetime:
    """Microseconds since 1970 as a UTC time."""
    return datetime.fromtimestamp(micros / 1e6, UTC)


def new_run_id(started_at: int, notebook: str) -> str:
    """An id that sorts by time, tells the notebook and is nobody else's."""
    return f"{moment(started_at):%Y%m%dT%H%M%SZ}-{notebook}-{secrets.token_hex(3)}"


def folder_of(run_id: str, settings: Settings) -> Path:
    """Where a run keeps its files."""
    return settings.runs_path / run_id


def executed_notebook(folder: Path, run: Run) -> Path:
    """The notebook in a run's folder, whose name tells how it ended."""
    kind = "" if run.status == "done" else f".{run.status}"
    return folder / f"{run.notebook}{kind}.ipynb"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[None]:
    """Be alive, as :func:`is_alive` sees it from any process."""
    lock = FileLock(folder / _LOCK)
    with lock:
        yield
    (folder / _LOCK).unlink(missing_ok=True)


def is_alive(folder: Path) -> bool:
    """Whether a process is at work on the run of that folder."""
    if not (folder / _LOCK).exists():
        return False
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return False
    except Timeout:
        return True


def write_record(run: Run, folder: Path) -> None:
    """Write ``run.json``, whole or not at all."""
    times = {name: _iso(getattr(run, name)) for name in _TIMES}
    text = json.dumps({**asdict(run), **times}, indent=2, ensure_ascii=False, default=str)
    partial = folder / f"{RECORD}.partial"
    partial.write_text(f"{text}\n", encoding="utf-8")
    partial.replace(folder / RECORD)


def read_record(folder: Path) -> Run | None:
    """The run of a folder as its record has it; None where there is no readable one."""
    try:
        fields = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise TypeError(f"found {type(fields).__name__}, expected the fields of a run")
        times = {name: _micros(fields.get(name)) for name in _TIMES}
        return Run(**{**fields, **times})
    except (OSError, ValueError, TypeError) as error:
        _log.debug("%s: no record: %s", folder, error)
        return None


def finish_folder(run: Run, folder: Path, source: Path | None) -> Run:
    """Give the notebook its final name, and write tables and report.

    Parameters
    ----------
    run : Run
        As it ended. Of a failed one as much is kept as can be read and written: its notebook may
        be cut short, its disk full.
    source : Path, optional
        The notebook that was run, where it still is.

    Returns
    -------
    Run
        With the metrics that the notebook has recorded.
    """
    if run.status == "done":
        return _finished(run, folder, source)
    try:
        return _finished(run, folder, source)
    except Exception as error:  # whatever is wrong with it, the run failed for another reason
        _log.warning("%s: kept without a report: %s", run.run_id, error)
        return run


def _finished(run: Run, folder: Path, source: Path | None) -> Run:
    final = executed_notebook(folder, run)
    _rename_notebook(run, folder, source, final)
    executed = read_notebook(final)
    run = replace(run, metrics=read_metrics(executed))
    for name, text in read_tables(executed).items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    from microstream_lab.research.report import render_report  # slow to import

    images = folder if source is None else source.parent
    html = render_report(executed, _head(run, executed), images)
    (folder / REPORT).write_text(html, encoding="utf-8")
    return run


def _rename_notebook(run: Run, folder: Path, source: Path | None, final: Path) -> None:
    before = (executed_notebook(folder, replace(run, status=s)) for s in ("running", "done"))
    for path in before:
        if path.exists():
            path.rename(final)
            return
    if final.exists():
        return
    if source is None:  # killed before papermill saved anything, and the notebook is gone
        raise RunError(f"{folder}: found no notebook, expected {final.name}")
    shutil.copyfile(source, final)


def _iso(micros: int | None) -> str | None:
    return None if micros is None else moment(micros).isoformat()


def _micros(text: str | None) -> int | None:
    if text is None:
        return None
    whole = datetime.fromisoformat(text)
    return int(whole.timestamp()) * 1_000_000 + whole.microsecond


def _head(run: Run, executed: NotebookNode) -> ReportHead:
    from microstream_lab.research.report import ReportHead

    took_s = ((run.ended_at or run.started_at) - run.started_at) / 1e6
    known = notebook_parameters(executed, run.notebook)
    when = f"{moment(run.started_at):%d %B %Y, %H:%M:%S} UTC · took {took_s:,.0f} s"
    return ReportHead(
        run_id=run.run_id,
        notebook=run.notebook,
        status=run.status,
        when=when if run.job is None else f"{when} · job {run.job}, {run.cause}",
        parameters=run.parameters,
        metrics=run.metrics,
        changed=frozenset(
            name for name, value in run.parameters.items() if _is_set(value, name, known)
        ),
        error=run.error,
    )


def _is_set(value: Any, name: str, known: dict[str, Any]) -> bool:
    return name not in known or bool(value != known[name].default)
