"""A notebook with the monitor in a real JupyterLab: its cells are run and its pixels looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
from workbench import Lab, Visitor

PATIENCE_MS = 120_000
IS_READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.isReady && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
RUN_CELL = """async index => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
BEGIN_CELL = """index => {
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
    window.jupyterapp.commands.execute('notebook:run-cell');
}"""
TEXT = """index => {
    const cells = window.jupyterapp.shell.currentWidget.content.model.toJSON().cells;
    return cells[index].outputs.map(output => output.text ?? output.evalue ?? output.ename ?? '')
        .join('');
}"""
KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
SAVE = "async () => await window.jupyterapp.commands.execute('docmanager:save')"
DRAWN = "() => document.querySelectorAll('.microstream-figure .boxlayer path.box').length"
FRAME = "() => document.querySelector('.microstream-figure')?.layout?.meta ?? 0"
FRAME_AFTER = f"frame => ({FRAME})() > frame"
TILES = "() => [...document.querySelectorAll('.ms-value')].map(node => node.textContent)"
HEALTH = "() => document.querySelector('.ms-health')?.textContent ?? ''"

EXCHANGE = """
import asyncio, sys, time
import pandas as pd
from microstream_lab.market.exchange import EndlessMarket, LocalExchange

port, speed, opened_at = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
START = pd.Timestamp("2024-03-01", tz="UTC")

def moment():
    return START + pd.Timedelta(hours=11, seconds=(time.time() - opened_at) * speed)

async def serve():
    market = EndlessMarket(("SIMUSDT",), START, seed=3)
    async with LocalExchange(market, speed=speed, play_from=moment, port=port):
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(serve())
"""


def start_exchange(port: int, speed: float, opened_at: float) -> subprocess.Popen[bytes]:
    """An exchange in a process of its own, to be killed; started again it is the same market."""
    words = (str(port), str(speed), str(opened_at))
    process = subprocess.Popen(
        [sys.executable, "-c", EXCHANGE, *words],
        stdout=subprocess.PIPE,
        env={**os.environ, "MICROSTREAM_OFFLINE": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    return process


class NotebookPage:
    """A notebook of our own in a page, opened in JupyterLab.

    Parameters
    ----------
    lab : Lab
        Where.
    visitor : Visitor
        In whose page.
    name : str
        Of the file.
    cells : sequence of str
        Code of each cell.
    """

    def __init__(self, lab: Lab, visitor: Visitor, name: str, cells: tuple[str, ...]) -> None:
        self.lab, self.page, self.visitor = lab, visitor.page, visitor
        self.path = lab.home / "notebooks" / name
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(text.strip()) for text in cells],
            metadata={"kernelspec": {"display_name": "Python 3", "name": "python3"}},
        )
        nbformat.write(notebook, self.path)
        self.page.set_default_timeout(PATIENCE_MS)
        self.open()

    def open(self) -> None:
        """Open it, again if it was open."""
        self.page.goto("about:blank")
        self.page.goto(self.lab.notebook(f"notebooks/{self.path.name}"))
        self.page.wait_for_function(IS_READY)

    def run(self, cell: int) -> str:
        """Run a cell to its end and return its text."""
        self.page.evaluate(RUN_CELL, cell)
        return self.text(cell)

    def begin(self, cell: int) -> None:
        """Run a cell without waiting for it."""
        self.page.evaluate(BEGIN_CELL, cell)

    def text(self, cell: int) -> str:
        """What a cell has said so far."""
        return str(self.page.evaluate(TEXT, cell))

    def until_cell_says(self, cell: int, text: str) -> None:
        """Wait for a word of a cell."""
        self.until(f"([index, text]) => ({TEXT})(index).includes(text)", [cell, text])

    def until(self, holds: str, argument: Any = None, timeout_ms: float = PATIENCE_MS) -> None:
        """Wait until a function of the page says so."""
        self.page.wait_for_function(holds, arg=argument, timeout=timeout_ms)

    def until_health_says(self, pattern: str, timeout_ms: float = PATIENCE_MS) -> None:
        """Wait until the line under the tiles matches."""
        from playwright.sync_api import TimeoutError as TooLate

        try:
            self.until(f"pattern => ({HEALTH})().match(pattern)", pattern, timeout_ms)
        except TooLate as error:
            found = self.page.evaluate(HEALTH)
            raise AssertionError(f"health: found {found!r}, expected {pattern!r}") from error

    def until_drawn(self, n_bars: int = 450) -> None:
        """Wait for the figure, and for a regime in the tiles."""
        self.until(f"n => ({DRAWN})() >= n", n_bars)
        self.until(f"() => ({TILES})()[0] !== '\\u2013'")

    def until_figures_pass(self, n: int) -> None:
        """Wait until the figure was drawn so many times more."""
        self.until(FRAME_AFTER, self.page.evaluate(FRAME) + n)

    def saved(self) -> tuple[int, dict[str, Any]]:
        """Save it; the file's size and its content."""
        self.page.evaluate(SAVE)
        content = Path(self.path).read_bytes()
        return len(content), json.loads(content)
