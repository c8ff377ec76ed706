"""Reports: one page that needs nothing but itself, and that a person wants to read."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from microstream_lab.research.report import ReportHead, render_report

HEAD = ReportHead(
    run_id="20240501T120000Z-02_train-abc123",
    notebook="02_train",
    status="done",
    when="01 May 2024",
    parameters={"symbol": "SIM<b>USDT", "n_regimes": 2, "start": None},
    metrics={"log_likelihood": -508.63592, "bars": 352800},
    changed=frozenset({"n_regimes"}),
)
FIGURE = go.Figure(
    go.Scatter(y=[1.0, 3.0, 2.0], name="close"), layout={"title": "A </script> walk"}
)


def shown(data: dict[str, object], **metadata: object) -> NotebookNode:
    return new_output("display_data", data=data, metadata=metadata)


def figure_output() -> NotebookNode:
    return shown({"application/vnd.plotly.v1+json": FIGURE.to_plotly_json() | {"frames": []}})


def executed(*outputs: NotebookNode) -> NotebookNode:
    settings = new_code_cell("secret_default = 1", metadata={"tags": ["parameters"]})
    return new_notebook(
        cells=[
            new_markdown_cell("# What do regimes tell?\n\nA question."),
            settings,
            new_code_cell("work()", outputs=list(outputs)),
            new_code_cell("   "),
        ]
    )


class Loads(HTMLParser):
    """Everything a browser would fetch for a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        styles = re.findall(r"<style.*?</style>", page, re.DOTALL)
        self.found += re.findall(r"@import[^;]*|url\([^)]*\)", "".join(styles))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"link": ("href",)}.get(tag, ("src", "srcset", "data", "poster"))
        self.found += [value or "" for name, value in attrs if name in wanted]


def test_page_loads_nothing_and_forbids_the_browser_to() -> None:
    page = render_report(executed(figure_output()), HEAD)
    assert [load for load in Loads(page).found if not load.startswith("data:")] == []
    assert "default-src 'none'" in page


def test_loads_are_seen_where_there_are_some() -> None:
    page = "<script src='https://a'></script><link href='b'><style>@import 'c';</style>"
    assert Loads(page).found == ["https://a", "b", "@import 'c'"]


def test_figures_are_drawn_from_their_own_data_and_plotly_is_there_once() -> None:
    page = render_report(executed(figure_output(), figure_output()), HEAD)
    assert page.count("Plotly.newPlot(") - page.split("<body>")[0].count("Plotly.newPlot(") == 2
    assert page.count("plotly.js v") == 1
    assert "A </script> walk" not in page


def test_page_without_figures_is_small() -> None:
    assert len(render_report(executed(), HEAD)) < 60_000


def test_head_tells_title_run_parameters_and_figures() -> None:
    page = render_report(executed(), HEAD)
    assert "<h1>What do regimes tell?</h1>" in page
    assert page.count("What do regimes tell?") == 2, "in the title and once on the page"
    assert HEAD.run_id in page
    assert "<td>-508.636</td>" in page
    assert "<td>352,800</td>" in page
    assert '<tr class="changed"><th>n_regimes</th><td>2</td></tr>' in page
    assert "SIM&lt;b&gt;USDT" in page


def test_failed_run_says_so_above_everything_else() -> None:
    head = replace(HEAD, status="failed", error="In [5] (fit()): ValueError: found <3>")
    page = render_report(executed(), head)
    assert '<span class="status failed">failed</span>' in page
    assert '<p class="failure">In [5] (fit()): ValueError: found &lt;3&gt;</p>' in page


def test_what_only_a_kernel_or_a_runner_needs_does_not_show() -> None:
    widget = shown({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "FigureWidget("})
    metrics = shown({"text/plain": ""}, microstream_metrics=[["loglik", 1.0]])
    page = render_report(executed(widget, metrics), HEAD)
    assert "FigureWidget(" not in page
    assert "secret_default" not in page
    assert "output_area" not in page


def test_notebook_is_left_as_it_was() -> None:
    notebook = executed(figure_output())
    before = repr(notebook)
    render_report(notebook, HEAD)
    assert repr(notebook) == before


@pytest.mark.browser
def test_browser_draws_the_figures_without_fetching_or_complaining(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on the PATH")
    (tmp_path / "report.html").write_text(render_report(executed(figure_output()), HEAD), "utf-8")
    asked, complaints = [], []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        page.wait_for_selector(".main-svg .scatterlayer path")
        assert not page.is_visible("text=work()")
        page.check("#show-code")
        assert page.is_visible("text=work()")
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert complaints == []
