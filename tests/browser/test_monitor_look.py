"""What the monitor looks like in a browser, feature by feature, on one page for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from notebook_page import NotebookPage
from workbench import Lab, opened_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
from microstream_lab import LiveSession, RegimeMonitor
options = {"source": "local", "market": "sim", "speed": 30, "store": False}
sessions = [LiveSession("SIMUSDT", interval, **options).start() for interval in ("1m", "3m")]
"""
SHOW = "monitor = RegimeMonitor(sessions)\nmonitor"
ALERT = """
from microstream_lab.live.alerts import AlertBook
monitor._book = AlertBook([lambda picture: "look out"])
monitor._book._is_first = False
"""
DRAWN = """() => document.querySelector('.microstream-figure')?._fullData?.[2]?.x?.length >= 450
    && document.querySelector('.microstream-figure').layout.meta > 0"""
INKED = """() => {
    const canvas = document.querySelector('.microstream-figure canvas.ms-ink');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    for (let k = 3; k < data.length; k += 4) sum += data[k] > 0;
    return sum;
}"""
STROKES = "() => document.querySelector('.microstream-figure canvas.ms-ink').toDataURL()"
TITLE = "() => [...document.querySelectorAll('.ms-label')].at(3).textContent"
TOO_WIDE = """() => [...document.querySelectorAll(
    '.ms-tile, .ms-item, .ms-event, .microstream-monitor :is(button, select, .main-svg)')]
    .filter(node => node.getBoundingClientRect().right > innerWidth + 1)
    .map(node => node.className)"""
FILLED = """() => {
    const figure = document.querySelector('.microstream-figure');
    return Math.abs(figure._fullLayout.width - figure.clientWidth) <= 1;
}"""
THEME = "name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name })"
COLOR = """name => getComputedStyle(document.querySelector(name)).color
    .match(/\\d+/g).slice(0, 3).map(Number)"""


@pytest.fixture(scope="module")
def notebook(lab: Lab, browser: Any) -> Iterator[NotebookPage]:
    """A notebook that shows a monitor of two sessions, drawn to its end."""
    with opened_page(browser) as visitor:
        notebook = NotebookPage(lab, visitor, "look.ipynb", (SETUP, SHOW, ALERT))
        for cell in (0, 1):
            assert notebook.run(cell) == ""
        notebook.until(DRAWN)
        yield notebook


@pytest.fixture
def page(notebook: NotebookPage) -> Any:
    """The page of that notebook."""
    return notebook.page


def test_forming_bar_is_inked_and_moves_with_the_trades(page: Any) -> None:
    page.wait_for_function(f"({INKED})() > 0")
    page.wait_for_function(f"before => ({STROKES})() !== before", arg=page.evaluate(STROKES))


def test_watchlist_names_all_sessions_and_a_click_shows_another(page: Any) -> None:
    page.wait_for_function("() => document.querySelectorAll('.ms-watchlist tbody tr').length === 2")
    rows = page.locator(".ms-watchlist tbody tr")
    assert [row.split("\n")[0].split("\t")[0] for row in rows.all_inner_texts()] == [
        "SIMUSDT 1m (simulated)",
        "SIMUSDT 3m (simulated)",
    ]
    rows.nth(1).click()
    page.wait_for_function(f"() => ({TITLE})() === 'SIMUSDT 3m (simulated)'")
    rows.nth(0).click()
    page.wait_for_function(f"() => ({TITLE})() === 'SIMUSDT 1m (simulated)'")


def test_alert_is_a_toast_that_goes_away(notebook: NotebookPage) -> None:
    page = notebook.page
    assert notebook.run(2) == ""
    toast = page.locator(".ms-toast", has_text="look out")  # the market may raise others meanwhile
    toast.wait_for()
    toast.wait_for(state="detached")


def test_text_is_light_on_dark_and_dark_on_light(page: Any) -> None:
    assert max(page.evaluate(COLOR, ".ms-value")) < 100
    page.evaluate(THEME, "JupyterLab Dark")
    page.wait_for_function(f"() => Math.min(...({COLOR})('.ms-value')) > 150")
    page.evaluate(THEME, "JupyterLab Light")
    page.wait_for_function(f"() => Math.max(...({COLOR})('.ms-value')) < 100")


def test_page_of_voila_follows_the_theme_of_the_system(page: Any) -> None:
    page.evaluate("() => { document.body.dataset.voila = 'voila'; }")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => Math.min(...({COLOR})('.ms-value')) > 150")
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"() => Math.max(...({COLOR})('.ms-value')) < 100")
    page.evaluate("() => { delete document.body.dataset.voila; }")


def test_figure_fills_its_place_and_nothing_sticks_out_of_a_narrow_window(page: Any) -> None:
    for width in (640, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_function(FILLED)
        assert page.evaluate(TOO_WIDE) == []


def test_cell_run_again_shows_the_same_figure_drawn_to_its_end(notebook: NotebookPage) -> None:
    page = notebook.page
    assert notebook.run(1) == ""
    page.wait_for_function("() => document.querySelectorAll('.microstream-figure').length === 1")
    page.wait_for_function(DRAWN)
    page.wait_for_function(f"({INKED})() > 0")
