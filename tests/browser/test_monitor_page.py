"""The live monitor as a user sees it: in JupyterLab against the simulated market, and in Voila."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from tenacity import retry, stop_after_delay, wait_fixed
from workbench import ROOT, TOKEN, Lab, Visitor, free_port, lab_environment

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.monitor]

PATIENCE_MS = 120_000
IS_READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.isReady && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
RUN_CELL = """async index => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
    const outputs = notebook.model.toJSON().cells[index].outputs;
    return outputs.map(output => output.text ?? output.evalue ?? '').join('');
}"""
DRAWN = "() => document.querySelectorAll('.microstream-figure .boxlayer path.box').length"
FRAME = "() => document.querySelector('.microstream-figure')?.layout?.meta ?? 0"
FRAME_AFTER = f"frame => ({FRAME})() > frame"
TILES = "() => [...document.querySelectorAll('.ms-value')].map(node => node.textContent)"
SPAN = "() => document.querySelector('.microstream-figure').layout.xaxis.range.join(' ')"

SETUP = """
from microstream_lab import LiveSession, RegimeMonitor
session = LiveSession("SIMUSDT", source="local", market="sim", speed=30, store=False).start()
"""
SHOW = "monitor = RegimeMonitor(session)\nmonitor"
BUSY = "import time\nbefore = monitor.n_painted\ntime.sleep(4)\nprint(monitor.n_painted - before)"
FIGURES = """
import ipywidgets, plotly.graph_objects as go
opened = ipywidgets.widgets.widget._instances.values()
print(sum(isinstance(each, go.FigureWidget) for each in opened))
"""


@pytest.fixture
def watched(lab: Lab, visitor: Visitor) -> Any:
    """A notebook whose second cell shows the monitor, drawn to its end."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text.strip()) for text in (SETUP, SHOW, BUSY, FIGURES)],
        metadata={"kernelspec": {"display_name": "Python 3", "name": "python3"}},
    )
    nbformat.write(notebook, lab.home / "notebooks" / "watch.ipynb")
    page = visitor.page
    page.set_default_timeout(PATIENCE_MS)
    page.goto(lab.notebook("notebooks/watch.ipynb"))
    page.wait_for_function(IS_READY)
    for cell in (0, 1):
        assert page.evaluate(RUN_CELL, cell) == ""
    page.wait_for_function(f"({DRAWN})() >= 450")
    page.wait_for_function(f"({TILES})()[0] !== '\u2013'")
    return page


def test_monitor_is_drawn_goes_on_by_itself_and_complains_of_nothing(
    watched: Any, visitor: Visitor
) -> None:
    regime, probability, score, price = watched.evaluate(TILES)
    assert regime in ("Stable liquidity", "High volatility", "Liquidity crisis")
    assert probability.endswith("%")
    assert 0 < float(score) <= 1
    assert float(price.replace(",", "")) > 0
    watched.wait_for_function(FRAME_AFTER, arg=watched.evaluate(FRAME) + 5)
    assert "no price here is real" in watched.locator(".ms-banner").inner_text()
    assert visitor.complaints == []
    assert visitor.refused == []


def test_monitor_goes_on_while_a_cell_is_busy(watched: Any) -> None:
    watched.wait_for_function(FRAME_AFTER, arg=watched.evaluate(FRAME) + 5)
    assert int(watched.evaluate(RUN_CELL, 2)) >= 3


def test_cell_run_again_shows_a_single_figure(watched: Any) -> None:
    for cell in (0, 1):
        assert watched.evaluate(RUN_CELL, cell) == ""
    watched.wait_for_function("() => document.querySelectorAll('.microstream-figure').length === 1")
    watched.wait_for_function(f"({DRAWN})() >= 450")
    watched.wait_for_function(FRAME_AFTER, arg=watched.evaluate(FRAME) + 2)
    assert watched.evaluate(RUN_CELL, 3).strip() == "1"


def test_pause_freezes_the_figure_and_not_the_price(watched: Any) -> None:
    watched.get_by_role("button", name="Pause").click()
    watched.wait_for_timeout(1_500)
    frame, price = watched.evaluate(FRAME), watched.evaluate(TILES)[3]
    watched.wait_for_function(f"price => ({TILES})()[3] !== price", arg=price)
    assert watched.evaluate(FRAME) == frame
    watched.get_by_role("button", name="Paused").click()
    watched.wait_for_function(FRAME_AFTER, arg=frame)


def test_pan_of_the_user_is_kept_until_follow_is_pressed(watched: Any) -> None:
    box = watched.locator(".microstream-figure .nsewdrag").first.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    watched.mouse.move(*middle)
    watched.mouse.down()
    watched.mouse.move(middle[0] + 200, middle[1], steps=5)
    watched.mouse.up()
    watched.wait_for_timeout(2_500)
    span = watched.evaluate(SPAN)
    watched.wait_for_function(FRAME_AFTER, arg=watched.evaluate(FRAME) + 3)
    assert watched.evaluate(SPAN) == span
    watched.get_by_role("button", name="Follow").click()
    watched.wait_for_function(f"span => ({SPAN})() !== span", arg=span)


def test_page_opened_again_shows_the_monitor_that_still_runs(watched: Any, lab: Lab) -> None:
    watched.evaluate("async () => await window.jupyterapp.commands.execute('docmanager:save')")
    watched.goto("about:blank")
    watched.goto(lab.notebook("notebooks/watch.ipynb"))
    watched.wait_for_function(IS_READY)
    watched.wait_for_function(f"({DRAWN})() >= 450")
    watched.wait_for_function(FRAME_AFTER, arg=watched.evaluate(FRAME) + 2)


@pytest.fixture(scope="module")
def voila(lab: Lab) -> Iterator[str]:
    """`microstream monitor` on a free port, with the token of the tests."""
    port, log = free_port(), lab.home / "voila.log"
    command = [str(Path(sys.executable).with_name("microstream")), "monitor", "--no-browser"]
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [*command, f"--port={port}", f"--token={TOKEN}"],
            cwd=ROOT,
            env=lab_environment(lab.home),
            stdout=sink,
            stderr=sink,
        )
        try:
            yield f"http://localhost:{port}/"
        finally:
            server.terminate()
            server.wait(30)


@retry(stop=stop_after_delay(60), wait=wait_fixed(0.25), reraise=True)
def answer_of(url: str) -> httpx.Response:
    return httpx.get(url, timeout=5)


def test_voila_serves_the_monitor_without_code_to_those_with_the_token(
    voila: str, visitor: Visitor
) -> None:
    assert answer_of(voila).status_code in (302, 403)
    page = visitor.page
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{voila}?token={TOKEN}")
    page.wait_for_function(f"({DRAWN})() >= 450")
    page.wait_for_function(FRAME_AFTER, arg=page.evaluate(FRAME) + 2)
    assert page.locator(".jp-InputArea .cm-content, .jp-InputArea pre").count() == 0
    assert "LiveSession(" not in page.locator("body").inner_text()
    assert visitor.complaints == []
