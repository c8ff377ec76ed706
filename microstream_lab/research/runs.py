"""Notebook runs: started with checked parameters, kept whole, and told apart when they failed.

Invariant: every run that got as far as a kernel has a folder ``data/runs/<run id>/`` and a row in
the run table, whatever became of it.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

from microstream_lab.errors import NotebookFailedError, ParameterError, RunError
from microstream_lab.research.execute import KERNEL_NAME, execute
from microstream_lab.research.metrics import record_metrics
from microstream_lab.research.notebooks import find_notebook, read_source
from microstream_lab.research.parameters import (
    Parameter,
    find,
    notebook_parameters,
    parse_text,
    validated,
)
from microstream_lab.research.run_folder import (
    REPORT,
    executed_notebook,
    finish_folder,
    folder_of,
    new_run_id,
    read_record,
    running,
    write_record,
)
from microstream_lab.research.run_index import refresh_index
from microstream_lab.settings import Settings
from microstream_lab.store.results import Run

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "REPORT",
    "Order",
    "Run",
    "RunTable",
    "executed_notebook",
    "record_metrics",
    "run_notebook",
    "settle",
    "typed_parameters",
]

DEFAULT_TIMEOUT_S: Final = 3600.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What the scheduler says of a run it orders; fields as in :class:`Run`."""

    run_id: str | None = None
    job: str | None = None
    scheduled_for: int | None = None
    attempt: int = 1
    cause: str | None = None


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
    order: Order | None = None,
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
    order : Order, optional
        Which job of the scheduler the run is of, and why it was started.

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
    run = _opened(path, known, given, settings, clock(), order or Order())
    folder = folder_of(run.run_id, settings)
    folder.mkdir(parents=True)
    with running(folder), _sigterm_interrupts():
        try:
            _written(run, folder, store)
            execute(
                path,
                executed_notebook(folder, run),
                given,
                settings=settings,
                timeout_s=timeout_s,
                progress=progress,
                kernel_name=kernel_name,
            )
            done = finish_folder(replace(run, status="done", ended_at=clock()), folder, path)
        except BaseException as error:
            _failed(run, error, folder, path, store, clock())
            refresh_index(settings)
            if not isinstance(error, NotebookFailedError):
                raise
            text = f"{run.notebook}: {error}; see {folder / REPORT}"
            raise NotebookFailedError(text) from error
        _written(done, folder, store)
    refresh_index(settings)
    return done


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


def settle(run: Run, settings: Settings, store: RunTable, error: str, now: int) -> Run:
    """Write down how a run ended whose process is gone, and return it.

    What its record says of an end is taken; otherwise the run failed with `error`, and its notebook
    is kept as far as it got.

    Parameters
    ----------
    now : int
        Microseconds since 1970 UTC.
    """
    folder = folder_of(run.run_id, settings)
    found = read_record(folder)
    if found is not None and found.ended_at is not None:
        store.write_run(found)
        return found
    failed = replace(found or run, status="failed", error=error, ended_at=max(now, run.started_at))
    if not folder.exists():
        store.write_run(failed)
        return failed
    return _written(finish_folder(failed, folder, _source(run, settings)), folder, store)


def _source(run: Run, settings: Settings) -> Path | None:
    try:
        return find_notebook(run.notebook, settings)
    except RunError:
        return None


def _opened(
    path: Path,
    known: Mapping[str, Parameter],
    given: Mapping[str, Any],
    settings: Settings,
    now: int,
    order: Order,
) -> Run:
    """A new run of a notebook."""
    run_id = order.run_id or new_run_id(now, path.stem)
    report = (folder_of(run_id, settings) / REPORT).relative_to(settings.microstream_home)
    return Run(
        *(run_id, path.stem, now),
        parameters={name: given.get(name, known[name].default) for name in known},
        report=report.as_posix(),
        job=order.job,
        scheduled_for=order.scheduled_for,
        attempt=order.attempt,
        cause=order.cause,
    )


def _failed(
    run: Run,
    error: BaseException,
    folder: Path,
    source: Path,
    store: RunTable | None,
    now: int,
) -> None:
    message = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    failed = replace(run, status="failed", error=message, ended_at=now)
    _written(finish_folder(failed, folder, source), folder, store)


def _written(run: Run, folder: Path, store: RunTable | None) -> Run:
    """The run, in ``run.json`` and in the run table; the table gets it even on a full disk."""
    try:
        write_record(run, folder)
    except OSError as error:
        if run.status != "failed":
            raise
        _log.warning("%s: no record: %s", run.run_id, error)
    if store is not None:
        store.write_run(run)
    return run


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A run told to stop is written down as failed, as one stopped with Ctrl-C is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: what follows writes it down
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
