"""One notebook through one kernel, by papermill's Python API, within one time limit.

Invariant: however a run ends (a failing cell, a dead kernel, the time limit), the notebook as far
as it got is on disk and the error says in one line which cell it was and why.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt

from microstream_lab.errors import NotebookFailedError
from microstream_lab.settings import Settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["KERNEL_NAME", "execute", "strip_widget_state"]

KERNEL_NAME = "python3"
_LONGEST_MESSAGE = 300


def _died_at_start(error: BaseException) -> bool:
    """Whether a kernel ended before it answered once: no cell has run, so it can be started anew.

    It happens where another process takes a port between its choice and the kernel's own bind.
    """
    return type(error) is RuntimeError and "Kernel died before replying" in str(error)


_STARTS = Retrying(
    retry=retry_if_exception(_died_at_start), stop=stop_after_attempt(3), reraise=True
)


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    *,
    settings: Settings,
    timeout_s: float,
    progress: bool = False,
    kernel_name: str = KERNEL_NAME,
) -> NotebookNode:
    """Run `notebook` with `parameters` (already validated) and leave what it did in `output`.

    The kernel works in the notebook's folder, as it does in JupyterLab, with the home folder of
    `settings`. `timeout_s` bounds the whole run, not each cell.

    Raises
    ------
    NotebookFailedError
        Naming the cell and the exception, the time limit or the death of the kernel.
    """
    # Slow to import, and a run that is stopped meanwhile is written down already.
    import nbformat
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    deadline = time.monotonic() + timeout_s
    try:
        with _kernel_environment(settings), _quiet("papermill"):
            executed: NotebookNode = _STARTS(
                papermill.execute_notebook,
                _literal(notebook),
                _literal(output),
                parameters=dict(parameters),
                kernel_name=kernel_name,
                language="python",
                cwd=notebook.parent,
                progress_bar={"desc": notebook.stem, "disable": not progress, "leave": False},
                extra_arguments=["--IPKernelApp.log_level=50"],  # what it logs is on our stderr
                execution_timeout=timeout_s,
                # nbclient counts per cell, and reads zero as no limit
                timeout_func=lambda _cell: max(deadline - time.monotonic(), 0.01),
            )
    except PapermillExecutionError as error:
        where = f"In [{error.exec_count}] ({_headline(error.source)})"
        raise NotebookFailedError(f"{where}: {error.ename}: {_one_line(error.evalue)}") from error
    except CellTimeoutError as error:
        where = _last_started(output)
        raise NotebookFailedError(f"{where}: ran into the limit of {timeout_s:g} s") from error
    except DeadKernelError as error:
        raise NotebookFailedError(f"{_last_started(output)}: the kernel died") from error
    except NoSuchKernel as error:
        raise NotebookFailedError(f"no kernel named {kernel_name!r} is installed") from error
    except RuntimeError as error:  # jupyter_client's word for a kernel that does not come up
        raise NotebookFailedError(f"kernel {kernel_name!r}: {_one_line(str(error))}") from error
    strip_widget_state(executed)
    nbformat.write(executed, output)
    return executed


def strip_widget_state(notebook: NotebookNode) -> None:
    """Drop the saved state of widgets: megabytes a figure, and of no use without a kernel."""
    notebook.metadata.pop("widgets", None)


def _literal(path: Path) -> str:
    """A path papermill will not take for a format string."""
    return str(path).replace("{", "{{").replace("}", "}}")


@contextmanager
def _kernel_environment(settings: Settings) -> Iterator[None]:
    """The environment a kernel inherits: papermill has no other way to hand it one.

    Runs of one home may overlap in threads, as they do on a worker of a cluster; the last to leave
    puts back what was there. Those of another home wait.
    """
    wanted = {
        "MICROSTREAM_HOME": str(settings.microstream_home),
        "MICROSTREAM_OFFLINE": str(int(settings.microstream_offline)),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a warning of the debugger on the terminal
    }
    with _ENVIRONMENT.changed:
        _ENVIRONMENT.changed.wait_for(lambda: _ENVIRONMENT.wanted in ({}, wanted))
        if not _ENVIRONMENT.users:
            _ENVIRONMENT.before = {name: os.environ.get(name) for name in wanted}
            _ENVIRONMENT.wanted = wanted
            os.environ.update(wanted)
        _ENVIRONMENT.users += 1
    try:
        yield
    finally:
        with _ENVIRONMENT.changed:
            _ENVIRONMENT.users -= 1
            if not _ENVIRONMENT.users:
                _ENVIRONMENT.put_back()


class _Environment:
    """What kernels of this process inherit, and how many runs rely on it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.users = 0
        self.wanted: dict[str, str] = {}
        self.before: dict[str, str | None] = {}

    def put_back(self) -> None:
        """Leave the process as it was."""
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.wanted = {}
        self.changed.notify_all()


_ENVIRONMENT = _Environment()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """No log lines beside the exception that says the same."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _last_started(output: Path) -> str:
    """The cell that was running when a run broke off, as one finds it in the saved notebook."""
    import nbformat

    if not output.exists():
        return "before the first cell"
    code = [c for c in nbformat.read(output, 4).cells if c.cell_type == "code" and c.source.strip()]
    started = [c for c in code if c.metadata.get("papermill", {}).get("start_time")]
    if not started:
        return "before the first cell"
    return f"In [{len(started)}] ({_headline(started[-1].source)})"


def _headline(source: str) -> str:
    lines = [line.strip() for line in source.splitlines()]
    first = next((line for line in lines if line and not line.startswith("#")), "empty cell")
    return first if len(first) <= 60 else f"{first[:57]}..."


def _one_line(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= _LONGEST_MESSAGE else f"{joined[:_LONGEST_MESSAGE]}..."
