"""The live monitor where things go wrong: a dead exchange, a closed tab, a kernel that goes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from notebook_page import DRAWN, KERNEL, NotebookPage, start_exchange
from workbench import Lab, free_port, opened_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SPEED = 20.0
STALE_WITHIN_MS = 10_000  # a quarter of a second, where the machine has nothing else to do
SLOWER = 4
SETUP = """
import os
os.environ |= {{"BINANCE_WS_URL": "ws://127.0.0.1:{port}", "MARKET": "sim"}}
os.environ["BINANCE_REST_URL"] = "http://127.0.0.1:{port}"
from microstream_lab import LiveSession, RegimeMonitor
session = LiveSession("SIMUSDT", source="binance", store=False).start()
"""
SHOW = "monitor = RegimeMonitor(session)\nmonitor"
SLEEP = "import time\nprint('asleep', flush=True)\ntime.sleep(600)"
COUNT = """
import threading, ipywidgets, plotly.graph_objects as go
opened = ipywidgets.widgets.widget._instances.values()
figures = sum(isinstance(each, go.FigureWidget) for each in opened)
sessions = sum(thread.name.startswith("live ") for thread in threading.enumerate())
print(figures, sessions, session.status().phase)
"""
REPAIRED = """
import json
from microstream_lab.schema import REPAIRED, QUALITIES
shown = session.picture()
mended = shown.columns["quality"] == QUALITIES.index(REPAIRED)
pairs = zip(shown.times[mended] // 1_000, shown.columns["close"][mended])
print(json.dumps({str(at): close for at, close in pairs}))
"""
TRUTH = """
import httpx, numpy as np
url = os.environ["BINANCE_REST_URL"] + "/api/v3/klines"
asked = {"symbol": "SIMUSDT", "interval": "1m", "limit": 100}
known = {row[0]: float(row[4]) for row in httpx.get(url, params=asked).json()[:-1]}
shown = session.picture()
ours = dict(zip((shown.times // 1_000).tolist(), shown.columns["close"].tolist()))
common = sorted(known.keys() & ours.keys())
holes = int((np.diff(shown.times) != 60_000_000).sum())
print(len(common) > 50, [known[at] for at in common] == [ours[at] for at in common], holes)
"""
CLOSES = """times => {
    const figure = document.querySelector('.microstream-figure');
    const bars = figure._fullData.find(trace => trace.type === 'candlestick');
    const at = new Map(Array.from(bars.x, (time, place) => [String(Number(time)), place]));
    return times.map(time => at.has(time) ? bars.close[at.get(time)] : null);
}"""
FIGURES = "() => document.querySelectorAll('.microstream-figure').length"


class Desk:
    """An exchange that can be killed, and the monitor that shows its market."""

    def __init__(self, page: NotebookPage, port: int, opened_at: float) -> None:
        self.notebook, self._port, self._opened_at = page, port, opened_at
        self.open_exchange()

    def open_exchange(self) -> None:
        self.exchange = start_exchange(self._port, SPEED, self._opened_at)

    def mend_exchange(self) -> None:
        """Open it again if a test that failed has left it dead."""
        if self.exchange.poll() is not None:
            self.open_exchange()

    def kill_exchange(self) -> None:
        self.exchange.send_signal(signal.SIGKILL)
        self.exchange.wait()

    def show(self) -> None:
        """Run the cells of session and monitor, as a user does at first and ever again."""
        for cell in (0, 1):
            assert self.notebook.run(cell) == ""
        self.notebook.until_drawn()


@pytest.fixture(scope="module")
def opened(lab: Lab, browser: Any) -> Iterator[Desk]:
    port = free_port()
    cells = (SETUP.format(port=port), SHOW, SLEEP, COUNT, REPAIRED, TRUTH)
    with opened_page(browser) as visitor:
        desk = Desk(NotebookPage(lab, visitor, "faults.ipynb", cells), port, time.time())
        try:
            desk.show()
            yield desk
        finally:
            desk.kill_exchange()


@pytest.fixture
def desk(opened: Desk) -> Desk:
    """The monitor as a test finds it: live and drawn."""
    opened.mend_exchange()
    opened.notebook.until_health_says("feed live")
    return opened


@pytest.fixture
def notebook(desk: Desk) -> NotebookPage:
    return desk.notebook


def test_killed_exchange_is_stale_at_once_and_its_bars_are_repaired_and_drawn(
    desk: Desk, notebook: NotebookPage
) -> None:
    desk.kill_exchange()
    notebook.until_health_says("feed stale", STALE_WITHIN_MS)
    notebook.page.wait_for_timeout(1_000 * 2 * 60 / SPEED)  # so that a whole bar is missed
    desk.open_exchange()
    notebook.until_health_says("feed live")
    notebook.until_health_says("gaps 0 open, [1-9]")
    notebook.until_figures_pass(2)
    mended = json.loads(notebook.run(4))
    assert len(mended) >= 2
    drawn = notebook.page.evaluate(CLOSES, list(mended))
    assert drawn == list(mended.values())
    assert notebook.run(5).split() == ["True", "True", "0"]


def test_cell_run_again_leaves_one_figure_and_one_session(
    desk: Desk, notebook: NotebookPage
) -> None:
    for _ in range(2):
        desk.show()
    notebook.until_figures_pass(1)
    assert notebook.run(3).split() == ["1", "1", "live"]
    assert notebook.page.evaluate(FIGURES) == 1


def test_interrupted_cell_leaves_the_monitor_running(notebook: NotebookPage) -> None:
    notebook.begin(2)
    notebook.until_cell_says(2, "asleep")
    notebook.until_figures_pass(1)
    notebook.page.evaluate(f"async () => await {KERNEL}.interrupt()")
    notebook.until(f"() => {KERNEL}.status === 'idle'")
    assert notebook.text(2).startswith("asleep")
    notebook.until_figures_pass(1)
    assert notebook.run(3).split() == ["1", "1", "live"]


def test_closed_tab_opened_again_shows_the_monitor_that_still_runs(
    notebook: NotebookPage,
) -> None:
    notebook.saved()
    notebook.open()
    notebook.until_drawn()
    notebook.until_figures_pass(1)
    assert notebook.page.evaluate(FIGURES) == 1
    assert notebook.run(3).split() == ["1", "1", "live"]


def test_page_too_slow_for_plotly_to_load_in_two_seconds_is_drawn_all_the_same(
    notebook: NotebookPage,
) -> None:
    browser = notebook.page.context.new_cdp_session(notebook.page)
    browser.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    try:
        notebook.open()
        notebook.until_drawn()
        notebook.until_figures_pass(1)
    finally:
        browser.send("Emulation.setCPUThrottlingRate", {"rate": 1})


def test_file_of_the_notebook_does_not_grow_with_what_is_shown(notebook: NotebookPage) -> None:
    before, _ = notebook.saved()
    notebook.until_figures_pass(3)
    size, content = notebook.saved()
    assert abs(size - before) < 100
    assert size < 20_000
    assert "widgets" not in content["metadata"]


def test_restarted_kernel_shows_the_monitor_when_its_cells_are_run(
    desk: Desk, notebook: NotebookPage
) -> None:
    notebook.page.evaluate(f"async () => await {KERNEL}.restart()")
    notebook.until(f"() => {KERNEL}.status === 'idle'")
    desk.show()
    notebook.until_figures_pass(1)
    assert notebook.page.evaluate(FIGURES) == 1
    assert notebook.run(3).split() == ["1", "1", "live"]
    assert notebook.page.evaluate(DRAWN) >= 450


def test_page_complained_of_nothing(notebook: NotebookPage) -> None:
    assert notebook.visitor.complaints == []
    assert notebook.visitor.refused == []
