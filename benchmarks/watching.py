"""A JupyterLab and a headless Chromium that shows the monitor in it, for measuring and pictures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from notebook_page import IS_READY  # noqa: E402
from workbench import (  # noqa: E402
    CHROMIUM_FLAGS,
    TOKEN,
    Lab,
    free_port,
    lab_environment,
    wait_until_up,
)

__all__ = [
    "IS_READY",
    "Lab",
    "browser_page",
    "drawn_bars",
    "jupyterlab",
    "machine",
    "paced_market",
    "run_cell",
    "watch",
]

VIEWPORT = {"width": 1400, "height": 1100}
RUN_CELL = """async index => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
    const outputs = notebook.model.toJSON().cells[index].outputs;
    return outputs.map(output => output.text ?? output.evalue ?? '').join('');
}"""
DRAWN = """() => Math.max(0, ...[...document.querySelectorAll('.microstream-figure')].map(
    figure => figure._fullData?.[2]?.x?.length ?? 0))"""


@contextmanager
def paced_market(
    rate: float, interval: str, home: Path, present: float = 1, n_regimes: int = 3
) -> Iterator[dict[str, str]]:
    """Addresses of an exchange in a process of its own, with a bundle for it in `home`."""
    script = Path(__file__).with_name("paced_market.py")
    process = subprocess.Popen(
        [sys.executable, *map(str, (script, rate, interval, home, present, n_regimes))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.communicate(timeout=30)


@contextmanager
def jupyterlab() -> Iterator[Lab]:
    """`microstream lab` on a free port, in a home of its own."""
    with TemporaryDirectory(prefix="microstream-") as folder:
        home, port = Path(folder), free_port()
        (home / "notebooks").mkdir()
        log = home / "lab.log"
        command = [str(Path(sys.executable).with_name("microstream")), "lab", "--no-browser"]
        command += [f"--port={port}", f"--IdentityProvider.token={TOKEN}"]
        command += ["--LabApp.expose_app_in_browser=True"]
        with log.open("wb") as sink:
            server = subprocess.Popen(command, cwd=home, env=lab_environment(home), stderr=sink)
        try:
            lab = Lab(f"http://127.0.0.1:{port}", home)
            wait_until_up(lab.url, server, log)
            yield lab
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


@contextmanager
def browser_page(**options: Any) -> Iterator[Any]:
    """A page of a fresh Chromium; `options` are its context's."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        context = browser.new_context(**{"viewport": VIEWPORT, **options})
        page = context.new_page()
        page.set_default_timeout(180_000)
        yield page
        browser.close()


def watch(page: Any, lab: Lab, cells: list[str], name: str = "watch", bars: int = 450) -> None:
    """Open a notebook of these cells, run the first two, and wait until the figure is drawn."""
    kernel = {"display_name": "Python 3", "name": "python3"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text.strip()) for text in cells],
        metadata={"kernelspec": kernel},
    )
    path = f"notebooks/{name}.ipynb"
    nbformat.write(notebook, lab.home / path)
    page.goto(lab.notebook(path))
    page.wait_for_function(IS_READY)
    for cell in (0, 1):
        if told := run_cell(page, cell):
            raise RuntimeError(f"cell {cell} of {name}: found {told!r}, expected no output")
    page.wait_for_function(f"({DRAWN})() >= {bars}")


def run_cell(page: Any, index: int) -> str:
    """Run a cell and return what it printed."""
    return str(page.evaluate(RUN_CELL, index))


def drawn_bars(page: Any) -> int:
    """How many bars the figure shows."""
    return int(page.evaluate(DRAWN))


def machine() -> str:
    """How loaded this machine is."""
    return f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
