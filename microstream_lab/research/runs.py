"""Notebook runs: started with checked parameters, kept whole, and told apart when they failed.

Invariant: every run that got as far as a kernel has a folder ``data/runs/<run id>/`` and a row in
the run table, whatever became of it. The notebook in the folder says by its name how it ended:
``02_train.ipynb``, ``02_train.failed.ipynb``, or ``02_train.running.ipynb`` while it runs.
"""

from __future__ import annotations

import json
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, Protocol

import nbformat
from nbformat import NotebookNode

from microstream_lab.errors import NotebookFailedError, RunError
from microstream_lab.research.execute import KERNEL_NAME, execute
from microstream_lab.research.metrics import read_metrics, record_metrics
from microstream_lab.research.parameters import Parameter, notebook_parameters, validated
from microstream_lab.research.report import ReportHead, render_report
from microstream_lab.settings import Settings

__all__ = [
    "Run",
    "RunStatus",
    "RunTable",
    "find_notebook",
    "notebooks_folder",
    "record_metrics",
    "run_notebook",
]

RunStatus = Literal["running", "done", "failed"]
DEFAULT_TIMEOUT_S: Final = 3600.0
_PACKAGE: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Run:
    """One run of a notebook.

    Parameters
    ----------
    run_id : str
        Start time in UTC, notebook and a random suffix; ids sort by time.
    notebook : str
        Name of the notebook, without folder and suffix.
    status : {"running", "done", "failed"}
        How far it got.
    started_at, finished_at : int
        Microseconds UTC; ``finished_at`` is None while it runs.
    parameters : dict
        All of the notebook's parameters as it saw them, defaults included.
    metrics : dict
        Figures the notebook recorded.
    error : str, optional
        In one line, which cell failed and why.
    folder : Path
        Where the executed notebook, ``report.html`` and ``run.json`` are.
    """

    run_id: str
    notebook: str
    status: RunStatus
    started_at: int
    folder: Path
    parameters: dict[str, Any]
    finished_at: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def record(self) -> dict[str, Any]:
        """The run as plain data, times as ISO text, as in ``run.json``."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return fields | {
            "started_at": _iso(self.started_at),
            "finished_at": None if self.finished_at is None else _iso(self.finished_at),
            "folder": str(self.folder),
        }

    @property
    def notebook_path(self) -> Path:
        """The executed notebook."""
        kind = "" if self.status == "done" else f".{self.status}"
        return self.folder / f"{self.notebook}{kind}.ipynb"

    @property
    def report_path(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"


class RunTable(Protocol):
    """Where runs are written down: the store."""

    def write_run(self, run: Mapping[str, Any]) -> None:
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
    known = notebook_parameters(_read(path), path.name)
    given = validated(parameters or {}, known, path.name)
    run = _opened(path, known, given, settings, clock())
    _keep(run, store)
    try:
        with _sigterm_interrupts():
            execute(
                path,
                run.notebook_path,
                given,
                settings=settings,
                timeout_s=timeout_s,
                progress=progress,
                kernel_name=kernel_name,
            )
    except BaseException as error:
        message = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        failed = replace(run, status="failed", error=message, finished_at=clock())
        _finish(failed, path, known, store)
        if not isinstance(error, NotebookFailedError):
            raise
        text = f"{run.notebook}: {message}; see {failed.report_path}"
        raise NotebookFailedError(text) from error
    return _finish(replace(run, status="done", finished_at=clock()), path, known, store)


def find_notebook(notebook: Path | str, settings: Settings) -> Path:
    """The file of a notebook given as a path, or by the name of one of the project's.

    Raises
    ------
    RunError
        If there is no such file, naming the notebooks there are.
    """
    path = Path(notebook).expanduser()
    folder = notebooks_folder(settings)
    for candidate in (path, folder / path.name, folder / f"{path.name}.ipynb"):
        if candidate.suffix == ".ipynb" and candidate.is_file():
            return candidate.resolve()
    there = ", ".join(sorted(each.stem for each in folder.glob("*.ipynb"))) or "none"
    raise RunError(f"notebook {notebook}: not found; in {folder}: {there}")


def notebooks_folder(settings: Settings) -> Path:
    """``notebooks/`` of the home folder, else of the project."""
    own = settings.path("notebooks")
    return own if own.is_dir() else _PACKAGE.parent / "notebooks"


def _read(path: Path) -> NotebookNode:
    try:
        notebook: NotebookNode = nbformat.read(path, 4)
    except (ValueError, OSError) as error:
        raise RunError(f"{path}: found no readable notebook: {error}") from error
    return notebook


def _opened(
    path: Path,
    known: Mapping[str, Parameter],
    given: Mapping[str, Any],
    settings: Settings,
    now: int,
) -> Run:
    """A new run with its folder."""
    started = datetime.fromtimestamp(now / 1e6, UTC)
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{path.stem}-{secrets.token_hex(3)}"
    folder = settings.runs_path / run_id
    folder.mkdir(parents=True)
    parameters = {name: given.get(name, known[name].default) for name in known}
    return Run(run_id, path.stem, "running", now, folder, parameters)


def _finish(run: Run, source: Path, known: Mapping[str, Parameter], store: RunTable | None) -> Run:
    """Give the notebook its final name, write the report, and write the run down."""
    running = replace(run, status="running").notebook_path
    if running.exists():
        running.rename(run.notebook_path)
    else:  # stopped before papermill saved anything
        nbformat.write(_read(source), run.notebook_path)
    executed = _read(run.notebook_path)
    run = replace(run, metrics=read_metrics(executed))
    try:
        html = render_report(executed, _head(run, known), source.parent)
        run.report_path.write_text(html, encoding="utf-8")
    finally:
        _keep(run, store)
    return run


def _keep(run: Run, store: RunTable | None) -> None:
    """Write the run to ``run.json`` and to the run table."""
    record = run.record()
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    partial = run.folder / "run.json.partial"
    partial.write_text(f"{text}\n", encoding="utf-8")
    partial.replace(run.folder / "run.json")
    if store is not None:
        store.write_run(record)


def _iso(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds")


def _head(run: Run, known: Mapping[str, Parameter]) -> ReportHead:
    started = datetime.fromtimestamp(run.started_at / 1e6, UTC)
    took_s = ((run.finished_at or run.started_at) - run.started_at) / 1e6
    changed = (name for name, value in run.parameters.items() if value != known[name].default)
    return ReportHead(
        run_id=run.run_id,
        notebook=run.notebook,
        status=run.status,
        when=f"{started:%d %B %Y, %H:%M:%S} UTC · took {took_s:,.0f} s",
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
