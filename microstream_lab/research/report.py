"""An executed notebook as one HTML page a person wants to read.

Invariant: the page needs nothing but itself. plotly.js stands in it once, figures are drawn from
their own data, and its content policy forbids the browser to fetch anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import plotly.io
import plotly.offline
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode, from_dict

from microstream_lab.research.figures import readable
from microstream_lab.research.metrics import is_metrics_output

__all__ = ["ReportHead", "render_report"]

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PLOTLY: Final = "application/vnd.plotly.v1+json"
_WIDGET: Final = "application/vnd.jupyter.widget-view+json"
_HIDDEN_TAGS: Final = {"parameters", "injected-parameters", "papermill-error-cell-tag"}
_HEADING: Final = re.compile(r"\A\s*#\s+(.+)\n?")


@dataclass(frozen=True)
class ReportHead:
    """What stands above the notebook: which run it was, with which parameters and outcome.

    ``parameters`` holds all of them, ``changed`` the names of those that were not left at their
    default; ``status`` is done or failed; ``when`` is in words.
    """

    run_id: str
    notebook: str
    status: str
    when: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    error: str | None = None


def render_report(notebook: NotebookNode, head: ReportHead, folder: Path | None = None) -> str:
    """The page, as HTML.

    Parameters
    ----------
    notebook : NotebookNode
        Executed; it is left as it is.
    head : ReportHead
        What to say above it.
    folder : Path, optional
        Where images that the text links to are found; they are taken into the page.
    """
    page = from_dict(notebook)
    title = _take_title(page) or head.notebook
    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(_TEMPLATES)],
        preprocessors=[_ForReading],
        embed_images=True,
    )
    report = {
        "title": title,
        "run_id": head.run_id,
        "notebook": head.notebook,
        "status": head.status,
        "when": head.when,
        "error": head.error,
        "metrics": [(readable(name), _counted(value)) for name, value in head.metrics.items()],
        "parameters": [
            (name, _shown(value), name in head.changed) for name, value in head.parameters.items()
        ],
        "plotly_js": plotly.offline.get_plotlyjs() if _has_figures(page) else "",
    }
    resources = {"report": report, "metadata": {"path": str(folder or ".")}}
    body, _ = exporter.from_notebook_node(page, resources=resources)
    return str(body)


class _ForReading(Preprocessor):
    """Drops what only a kernel or a runner needs, and draws figures from their own data."""

    def preprocess(
        self, notebook: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Return the notebook ready for the page."""
        notebook.metadata.pop("widgets", None)
        notebook.cells = [cell for cell in notebook.cells if _worth_reading(cell)]
        for index, cell in enumerate(notebook.cells):
            shown = (
                _drawn(o, f"figure-{index}-{k}") for k, o in enumerate(cell.get("outputs", []))
            )
            if cell.cell_type == "code":
                cell.outputs = [output for output in shown if output is not None]
        return notebook, resources


def _worth_reading(cell: NotebookNode) -> bool:
    return bool(cell.source.strip()) and not _HIDDEN_TAGS & set(cell.metadata.get("tags", []))


def _drawn(output: NotebookNode, element: str) -> NotebookNode | None:
    """An output as the page shows it, None for what has nothing to show."""
    data = output.get("data", {})
    if is_metrics_output(output) or _WIDGET in data:
        return None
    if _PLOTLY in data:
        html = plotly.io.to_html(
            _figure(data[_PLOTLY]),
            config={"displaylogo": False},
            full_html=False,
            include_plotlyjs=False,
            include_mathjax=False,
            validate=False,
            div_id=element,
        )
        output.data = NotebookNode({"text/html": html})
    return output


def _figure(data: Mapping[str, Any]) -> dict[str, Any]:
    """The figure, at Plotly's own default height where it names none: a page has none to fill."""
    layout = dict(data.get("layout", {}))
    layout.setdefault("height", 450)
    return {"data": data.get("data", []), "layout": layout}


def _has_figures(notebook: NotebookNode) -> bool:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return any(_PLOTLY in output.get("data", {}) for output in outputs)


def _take_title(notebook: NotebookNode) -> str:
    """Cut the first heading out of the notebook: it stands at the top of the page."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (match := _HEADING.match(cell.source)):
            cell.source = cell.source[match.end() :]
            return str(match[1]).strip()
    return ""


def _counted(value: object) -> str:
    return f"{value:,}" if type(value) is int else _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(item) for item in value)
    return str(value)
