"""Pictures of the workbench and of the monitor in every state, as a user of JupyterLab sees them.

They go into ``docs/img``.

Usage: ``python tools/screenshots.py``; needs chromium and the extra ``browser``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from watching import IS_READY, Lab, browser_page, jupyterlab, paced_market, watch  # noqa: E402

FOLDER = ROOT / "docs" / "img"
MOST_BYTES = 200_000
WIDE, NARROW = {"width": 940, "height": 1300}, {"width": 640, "height": 1500}
DESK = {"width": 1440, "height": 1000}
SESSION = """
import os
os.environ.update({addresses})
from microstream_lab import LiveSession, RegimeMonitor
session = LiveSession("BTCUSDT", "1m", source="binance", store=False).start()
"""
SHOW = "monitor = RegimeMonitor(session)\nmonitor"
CALM, VOLATILE, CRISIS = 1, 3, 20
THEME = "name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name })"
IS_STALE = "() => document.querySelector('.ms-health')?.textContent.includes('stale')"
HAS_REGIME = "() => /[a-z]/.test(document.querySelector('.ms-value')?.textContent ?? '')"
HIDE = """async () => {
    const { commands } = window.jupyterapp;
    await commands.execute('application:toggle-left-area');
}"""
RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"
TRAINING, CHART = "02_train.ipynb", "plots.price(bars, signals)"

Picture = tuple[str, Callable[[Any], None]]


def plain(page: Any) -> None:
    """As it is."""


def paused(page: Any) -> None:
    """After a click on Pause."""
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(2_000)


def dark(page: Any) -> None:
    """In JupyterLab's dark theme, going on."""
    page.get_by_role("button", name="Paused").click()
    page.evaluate(THEME, "JupyterLab Dark")
    page.wait_for_timeout(2_000)


def narrow(page: Any) -> None:
    """In a narrow window, in the light theme."""
    page.evaluate(THEME, "JupyterLab Light")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(3_000)


# Of each market, by its wildness now and the regimes of its bundle; each picture after the other.
PICTURES: dict[tuple[float, int], tuple[Picture, ...]] = {
    (CALM, 3): (("calm", plain), ("paused", paused), ("dark", dark), ("narrow", narrow)),
    (VOLATILE, 3): (("volatile", plain),),
    (CRISIS, 3): (("crisis", plain),),
    (CRISIS, 2): (("two-regimes", plain),),
    (CRISIS, 4): (("four-regimes", plain),),
}
WHEN_GONE = {(CRISIS, 3): "stale"}


def main() -> None:
    """Take all pictures."""
    with jupyterlab() as lab:
        paths = [workbench(lab)]
        paths += [path for market in PICTURES for path in take(lab, market)]
    for path in paths:
        print(path.relative_to(ROOT), path.stat().st_size)
    if large := [path.name for path in paths if path.stat().st_size > MOST_BYTES]:
        sys.exit(f"expected at most {MOST_BYTES} bytes, found more in {', '.join(large)}")


def workbench(lab: Lab) -> Path:
    """The picture of JupyterLab with the training notebook, run, at its first chart."""
    path = FOLDER / "lab.png"
    for notebook in (ROOT / "notebooks").glob("0*.ipynb"):
        shutil.copy(notebook, lab.home / "notebooks")
    with browser_page(viewport=DESK) as page:
        page.goto(lab.notebook(f"notebooks/{TRAINING}"))
        page.wait_for_function(IS_READY)
        page.evaluate(RUN_ALL)
        cell = page.locator(".jp-CodeCell", has_text=CHART)
        cell.scroll_into_view_if_needed()
        cell.locator(".js-plotly-plot").wait_for()
        cell.evaluate("cell => cell.scrollIntoView()")
        page.wait_for_timeout(3_000)
        page.screenshot(path=path)
    return path


def take(lab: Lab, market: tuple[float, int]) -> list[Path]:
    """The pictures of one market, at last the one when its exchange is gone."""
    paths = []
    with browser_page(viewport=WIDE) as page:
        with paced_market(3, "1m", lab.home, *market) as addresses:
            name = PICTURES[market][0][0]
            watch(page, lab, [SESSION.format(addresses=addresses), SHOW], name)
            page.evaluate(HIDE)
            page.wait_for_function(HAS_REGIME)
            page.wait_for_timeout(5_000)
            for name, prepare in PICTURES[market]:
                prepare(page)
                paths.append(shot(page, name))
        if market in WHEN_GONE:
            page.wait_for_function(IS_STALE)
            page.wait_for_timeout(2_000)
            paths.append(shot(page, WHEN_GONE[market]))
    return paths


def shot(page: Any, name: str) -> Path:
    """A picture of the monitor alone."""
    path = FOLDER / f"monitor-{name}.png"
    page.locator(".microstream-monitor").screenshot(path=path)
    return path


if __name__ == "__main__":
    main()
