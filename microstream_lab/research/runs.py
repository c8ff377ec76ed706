"""Notebook runs: started with checked parameters, kept whole, and told apart when they failed.

Invariant: every run that got as far as a kernel has a folder ``data/runs/<run id>/`` and a row in
the run table, whatever became of it. The notebook in the folder says by its name how it ended:
``02_train.ipynb``, ``02_train.failed.ipynb``, or ``02_train.running.ipynb`` while it runs.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

from microstream_lab.errors import NotebookFailedError, ParameterError
from microstream_lab.research.execute import KERNEL_NAME, execute
from microstream_lab.research.metrics import read_metrics, read_tables, record_metrics
from microstream_lab.research.notebooks import find_notebook, read_notebook, read_source
from microstream_lab.research.parameters import (
    Parameter,
    find,
    notebook_parameters,
    parse_text,
    validated,
)
from microstream_lab.settings import Settings
from microstream_lab.store.results import Run

if TYPE_CHECKING:
    from microstream_lab.research.report import ReportHead

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "REPORT",
    "Run",
    "RunTable",
    "executed_notebook",
    "record_metrics",
    "run_notebook",
    "typed_parameters",
]

DEFAULT_TIMEOUT_S: Final = 3600.0
REPORT: Final = "report.html"


class RunTable(Protocol):
    """Where runs are written down: the store."""

    def write_run(self, run: Run) -> object:
        """Insert the run, or update the row with its ``run_id``."""
        ...


def run_notebook(
    notebook: Path | str,
    parameters: Mapping[str, object] | None = None,
    *,
    settings: Settings,
    store: RunTable | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    progress: bool = False,
    kernel_name: str = KERNEL_NAME,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Run:
    """Run a notebook with `parameters` and keep what it did and its report.

    Parameters
    ----------
    notebook : Path or str
        A file, or the name of one of the project's notebooks, such as ``02_train``.
    parameters : mapping, optional
        Values for some of the parameters in the notebook's ``parameters`` cell.
    settings : Settings
        Its home folder is the kernel's, and holds ``data/runs``.
    store : RunTable, optional
        Gets a row when the run starts and the same row when it ends.
    timeout_s : float
        Limit of the whole run.
    progress : bool
        Show a progress bar over the cells on stderr.
    clock : callable
        Microseconds since 1970 UTC.

    Raises
    ------
    ParameterError
        Before anything is started, at an unknown or ill-typed parameter.
    NotebookFailedError
        If a cell failed, the time ran out or the kernel died; the run is kept as failed.
    """
    path = find_notebook(notebook, settings)
    known = notebook_parameters(read_source(path), path.name)
    given = validated(parameters or {}, known, path.name)
    run, folder = _opened(path, known, given, settings, clock())
    try:
        _keep(run, folder, store)
        with _sigterm_interrupts():
            execute(
                path,
                executed_notebook(folder, run),
                given,
                settings=settings,
                timeout_s=timeout_s,
                progress=progress,
                kernel_name=kernel_name,
            )
    except BaseException as error:
        message = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        failed = replace(run, status="failed", error=message, ended_at=clock())
        _finish(failed, folder, path, known, store)
        if not isinstance(error, NotebookFailedError):
            raise
        text = f"{run.notebook}: {message}; see {folder / REPORT}"
        raise NotebookFailedError(text) from error
    done = replace(run, status="done", ended_at=clock())
    return _finish(done, folder, path, known, store)


def typed_parameters(
    notebook: Path | str, assignments: Iterable[str], settings: Settings
) -> dict[str, Any]:
    """Parameters typed as ``name=value``, read as the types the notebook gives them.

    Raises
    ------
    ParameterError
        At the first that is not such an assignment, unknown or of another type.
    """
    path = find_notebook(notebook, settings)
    known = notebook_parameters(read_source(path), path.name)
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise ParameterError(f"{path.name}: found {assignment!r}, expected name=value")
        values[name] = parse_text(find(name, known, path.name), text)
    return values


def executed_notebook(folder: Path, run: Run) -> Path:
    """The notebook in a run's folder, whose name tells how it ended."""
    kind = "" if run.status == "done" else f".{run.status}"
    return folder / f"{run.notebook}{kind}.ipynb"


def _opened(
    path: Path,
    known: Mapping[str, Parameter],
    given: Mapping[str, Any],
    settings: Settings,
    now: int,
) -> tuple[Run, Path]:
    """A new run, and its folder."""
    run_id = f"{_moment(now):%Y%m%dT%H%M%SZ}-{path.stem}-{secrets.token_hex(3)}"
    folder = settings.runs_path / run_id
    folder.mkdir(parents=True)
    parameters = {name: given.get(name, known[name].default) for name in known}
    report = (folder / REPORT).relative_to(settings.microstream_home).as_posix()
    return Run(run_id, path.stem, now, parameters=parameters, report=report), folder


def _finish(
    run: Run, folder: Path, source: Path, known: Mapping[str, Parameter], store: RunTable | None
) -> Run:
    """Give the notebook its final name, write the report, and write the run down."""
    running, final = (executed_notebook(folder, r) for r in (replace(run, status="running"), run))
    if running.exists():
        running.rename(final)
    else:  # stopped before papermill saved anything
        shutil.copyfile(source, final)
    executed = read_notebook(final)
    run = replace(run, metrics=read_metrics(executed))
    for name, text in read_tables(executed).items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    try:
        from microstream_lab.research.report import render_report  # slow to import

        html = render_report(executed, _head(run, known), source.parent)
        (folder / REPORT).write_text(html, encoding="utf-8")
    finally:
        _keep(run, folder, store)
    return run


def _keep(run: Run, folder: Path, store: RunTable | None) -> None:
    """Write the run to ``run.json`` and to the run table."""
    ended = None if run.ended_at is None else _moment(run.ended_at).isoformat()
    times = {"started_at": _moment(run.started_at).isoformat(), "ended_at": ended}
    text = json.dumps({**asdict(run), **times}, indent=2, ensure_ascii=False, default=str)
    partial = folder / "run.json.partial"
    partial.write_text(f"{text}\n", encoding="utf-8")
    partial.replace(folder / "run.json")
    if store is not None:
        store.write_run(run)


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


def _head(run: Run, known: Mapping[str, Parameter]) -> ReportHead:
    from microstream_lab.research.report import ReportHead

    took_s = ((run.ended_at or run.started_at) - run.started_at) / 1e6
    changed = (name for name, value in run.parameters.items() if value != known[name].default)
    return ReportHead(
        run_id=run.run_id,
        notebook=run.notebook,
        status=run.status,
        when=f"{_moment(run.started_at):%d %B %Y, %H:%M:%S} UTC · took {took_s:,.0f} s",
        parameters=run.parameters,
        metrics=run.metrics,
        changed=frozenset(changed),
        error=run.error,
    )


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A run told to stop is written down as failed, as one stopped with Ctrl-C is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
