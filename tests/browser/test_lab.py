"""What a user sees after `microstream lab`: notebooks that run, plots on the screen, no callers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from workbench import ROOT, TOKEN, Lab, Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOKS = [
    pytest.param(path, id=path.stem) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
]
FIGURES = ("application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json")
OPEN_MS, RUN_MS, DRAW_MS = 60_000, 240_000, 30_000

IS_READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.isReady && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
RUN_ALL = """async () => {
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
    return window.jupyterapp.shell.currentWidget.content.model.toJSON().cells;
}"""
SCROLL_TO = """async index => {
    await window.jupyterapp.shell.currentWidget.content.scrollToItem(index);
}"""
DRAWN = """index => {
    const cell = window.jupyterapp.shell.currentWidget.content.widgets[index].node;
    return [...cell.querySelectorAll('.js-plotly-plot')].some(plot =>
        plot.getBoundingClientRect().height > 100
        && plot.querySelector('.main-svg .trace, .main-svg .hm'));
}"""


def open_and_run(visitor: Visitor, lab: Lab, name: str) -> list[dict[str, Any]]:
    """The notebook's cells as they are after "Run all cells" in the browser."""
    page = visitor.page
    page.set_default_timeout(RUN_MS)
    page.goto(lab.notebook(name))
    page.wait_for_function(IS_READY, timeout=OPEN_MS)
    return list(page.evaluate(RUN_ALL))


def failures(cells: list[dict[str, Any]]) -> list[str]:
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]


def cells_with_figures(cells: list[dict[str, Any]]) -> list[int]:
    return [
        index
        for index, cell in enumerate(cells)
        if any(
            kind in output.get("data", {}) for output in cell.get("outputs", []) for kind in FIGURES
        )
    ]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_runs_and_every_figure_is_drawn(path: Path, lab: Lab, visitor: Visitor) -> None:
    cells = open_and_run(visitor, lab, f"notebooks/{path.name}")
    assert failures(cells) == []
    figures = cells_with_figures(cells)
    assert figures, "no figure in the notebook"
    for index in figures:
        visitor.page.evaluate(SCROLL_TO, index)
        visitor.page.wait_for_function(DRAWN, arg=index, timeout=DRAW_MS)
    assert visitor.complaints == []
    assert visitor.refused == []


def test_nothing_pops_up_and_nothing_is_fetched_when_the_lab_opens(
    lab: Lab, visitor: Visitor
) -> None:
    page = visitor.page
    page.goto(f"{lab.url}/lab?token={TOKEN}&reset")
    page.wait_for_selector(".jp-DirListing-item", timeout=OPEN_MS)
    page.evaluate("async () => { await window.jupyterapp.restored; }")
    page.wait_for_load_state("networkidle")
    assert page.locator(".jp-Dialog, .Toastify__toast").all_inner_texts() == []
    assert visitor.refused == []


@pytest.mark.parametrize("path", ["news", "update"])
def test_server_asks_nobody_for_news_or_updates(path: str, lab: Lab) -> None:
    answer = httpx.get(f"{lab.url}/lab/api/{path}", params={"token": TOKEN}).json()
    assert answer in ({"news": []}, {"notification": None})


def test_server_refuses_visitors_without_the_token(lab: Lab) -> None:
    name = quote("notebooks/01_explore.ipynb")
    assert httpx.get(f"{lab.url}/api/contents/{name}").status_code == 403
