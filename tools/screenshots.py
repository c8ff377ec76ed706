"""Pictures of the monitor in every state, as a user of JupyterLab sees it, into ``docs/img``.

Usage: ``python tools/screenshots.py [NAME ...]``; needs chromium and the extra ``browser``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from watching import Lab, browser_page, jupyterlab, paced_market, watch  # noqa: E402

FOLDER = ROOT / "docs" / "img"
MOST_BYTES = 150_000
WIDE, NARROW = {"width": 1080, "height": 1300}, {"width": 640, "height": 1500}
SESSION = """
import os
os.environ.update({addresses})
from microstream_lab import LiveSession, RegimeMonitor
session = LiveSession("BTCUSDT", "1m", source="binance", store=False).start()
"""
SHOW = "monitor = RegimeMonitor(session)\nmonitor"
CALM, VOLATILE, CRISIS = 1, 3, 8
THEME = "name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name })"
IS_STALE = "() => document.querySelector('.ms-health')?.textContent.includes('stale')"
HAS_REGIME = "() => /[a-z]/.test(document.querySelector('.ms-value')?.textContent ?? '')"
HIDE = """async () => {
    const { commands } = window.jupyterapp;
    await commands.execute('application:toggle-left-area');
}"""


def plain(page: Any) -> None:
    """As it is."""


def paused(page: Any) -> None:
    """After a click on Pause."""
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(3_000)


def dark(page: Any) -> None:
    """In JupyterLab's dark theme."""
    page.evaluate(THEME, "JupyterLab Dark")
    page.wait_for_timeout(3_000)


def narrow(page: Any) -> None:
    """In a narrow window."""
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(4_000)


PICTURES: dict[str, tuple[float, int, Callable[[Any], None]]] = {
    "calm": (CALM, 3, plain),
    "volatile": (VOLATILE, 3, plain),
    "crisis": (CRISIS, 3, plain),
    "stale": (VOLATILE, 3, plain),
    "paused": (CALM, 3, paused),
    "dark": (CRISIS, 3, dark),
    "narrow": (VOLATILE, 3, narrow),
    "two-regimes": (CRISIS, 2, plain),
    "four-regimes": (CRISIS, 4, plain),
}


def main(names: list[str]) -> None:
    """Take the pictures of these names."""
    too_large = []
    with jupyterlab() as lab:
        for name in names:
            path = FOLDER / f"monitor-{name}.png"
            take(lab, name, path)
            print(path.relative_to(ROOT), path.stat().st_size, flush=True)
            too_large += [path.name] if path.stat().st_size > MOST_BYTES else []
    if too_large:
        sys.exit(f"expected at most {MOST_BYTES} bytes, found more in {', '.join(too_large)}")


def take(lab: Lab, name: str, path: Path) -> None:
    """One picture."""
    present, n_regimes, prepare = PICTURES[name]
    with browser_page(viewport=WIDE) as page:
        with paced_market(3, "1m", lab.home, present, n_regimes) as addresses:
            watch(page, lab, [SESSION.format(addresses=addresses), SHOW], name)
            page.evaluate(THEME, "JupyterLab Light")
            page.evaluate(HIDE)
            page.wait_for_function(HAS_REGIME)
            page.wait_for_timeout(6_000)
            prepare(page)
            if name != "stale":
                page.locator(".microstream-monitor").screenshot(path=path)
        if name == "stale":
            page.wait_for_function(IS_STALE)
            page.wait_for_timeout(2_000)
            page.locator(".microstream-monitor").screenshot(path=path)


if __name__ == "__main__":
    main(sys.argv[1:] or list(PICTURES))
