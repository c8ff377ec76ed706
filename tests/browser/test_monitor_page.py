"""The live monitor as a user sees it: in JupyterLab against the simulated market, and in Voila."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from notebook_page import DRAWN, FRAME, FRAME_AFTER, PATIENCE_MS, TILES, NotebookPage
from tenacity import retry, stop_after_delay, wait_fixed
from workbench import ROOT, TOKEN, Lab, Visitor, free_port, lab_environment, opened_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SPAN = "() => document.querySelector('.microstream-figure').layout.xaxis.range.join(' ')"

SETUP = """
from microstream_lab import LiveSession, RegimeMonitor
session = LiveSession("SIMUSDT", source="local", market="sim", speed=30, store=False).start()
"""
SHOW = "monitor = RegimeMonitor(session)\nmonitor"
BUSY = "import time\nbefore = monitor.n_painted\ntime.sleep(4)\nprint(monitor.n_painted - before)"
UNTIL_PAUSED_TWICE = """
print("busy", flush=True)
while not monitor.is_frozen():
    time.sleep(0.05)
while monitor.is_frozen():
    time.sleep(0.05)
print("done")
"""


@pytest.fixture(scope="module")
def watched(lab: Lab, browser: Any) -> Iterator[NotebookPage]:
    """A notebook whose second cell shows the monitor, drawn to its end."""
    with opened_page(browser) as visitor:
        notebook = NotebookPage(
            lab, visitor, "watch.ipynb", (SETUP, SHOW, BUSY, UNTIL_PAUSED_TWICE)
        )
        for cell in (0, 1):
            assert notebook.run(cell) == ""
        notebook.until_drawn()
        yield notebook


def test_monitor_is_drawn_goes_on_by_itself_and_complains_of_nothing(
    watched: NotebookPage,
) -> None:
    page = watched.page
    regime, probability, score, price = page.evaluate(TILES)
    assert regime in ("Stable liquidity", "High volatility", "Liquidity crisis")
    assert probability.endswith("%")
    assert 0 < float(score) <= 1
    assert float(price.replace(",", "")) > 0
    watched.until_figures_pass(5)
    assert "no price here is real" in page.locator(".ms-banner").inner_text()
    assert watched.visitor.complaints == []
    assert watched.visitor.refused == []


def test_monitor_goes_on_while_a_cell_is_busy(watched: NotebookPage) -> None:
    for _ in range(3):
        watched.until_figures_pass(1)
        assert int(watched.run(2)) >= 3


def test_button_is_heard_while_a_cell_is_busy(watched: NotebookPage) -> None:
    watched.begin(3)
    watched.until_cell_says(3, "busy")
    watched.page.get_by_role("button", name="Pause").click()
    watched.until(
        "() => [...document.querySelectorAll('.ms-banner')].some("
        "node => node.textContent.includes('Paused'))"
    )
    assert "done" not in watched.text(3)
    watched.page.get_by_role("button", name="Paused").click()
    watched.until_cell_says(3, "done")


def test_pause_freezes_the_figure_and_not_the_price(watched: NotebookPage) -> None:
    page = watched.page
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(1_500)
    frame, price = page.evaluate(FRAME), page.evaluate(TILES)[3]
    watched.until(f"price => ({TILES})()[3] !== price", price)
    assert page.evaluate(FRAME) == frame
    page.get_by_role("button", name="Paused").click()
    watched.until(FRAME_AFTER, frame)


def test_pan_of_the_user_is_kept_until_follow_is_pressed(watched: NotebookPage) -> None:
    page = watched.page
    box = page.locator(".microstream-figure .nsewdrag").first.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 200, middle[1], steps=5)
    page.mouse.up()
    page.wait_for_timeout(2_500)
    span = page.evaluate(SPAN)
    watched.until_figures_pass(3)
    assert page.evaluate(SPAN) == span
    page.get_by_role("button", name="Follow").click()
    watched.until(f"span => ({SPAN})() !== span", span)


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
    page.wait_for_function(FRAME_AFTER, arg=page.evaluate(FRAME) + 2, timeout=PATIENCE_MS)
    assert page.locator(".jp-InputArea .cm-content, .jp-InputArea pre").count() == 0
    assert "LiveSession(" not in page.locator("body").inner_text()
    assert visitor.complaints == []
