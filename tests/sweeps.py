"""A small notebook to sweep, in a home folder of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from microstream_lab.settings import Settings

PARAMETERS = """
x = 1  # a number
mode = "work"  # what to do
symbol = "AUSDT"  # a series
weight: float | None = None  # any
"""
WORK = """
import os, pathlib, time
home = pathlib.Path(os.environ["MICROSTREAM_HOME"])
(home / f"reached-{x}").write_text(str(os.getppid()))
if mode == "fail" and x == 2:
    raise ValueError("two is too many")
while (home / f"hold-{x}").exists():
    time.sleep(0.05)
from microstream_lab.research.metrics import record_metrics
record_metrics({"square": x * x + len(symbol) / 10, "x": -1})
"""
PATIENCE_S = 60


def write_notebook(settings: Settings, name: str = "mini") -> Path:
    """A notebook that squares a number, fails at two when told to, and waits while it is held."""
    path = settings.path("notebooks", f"{name}.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[parameters, new_code_cell(WORK)]), path)
    return path


def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found
