"""The figure of a sweep: what each value of each parameter came to.

Invariant: as in :mod:`microstream_lab.research.plots`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from microstream_lab import theme
from microstream_lab.research.comparison import Comparison
from microstream_lab.research.figures import readable
from microstream_lab.research.thinning import numbers
from microstream_lab.research.traces import figure, require_rows

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["by_value"]

Json: TypeAlias = dict[str, Any]

_MOST_POINTS = 500


def by_value(result: Comparison, title: str = "What each setting does") -> go.Figure:
    """The compared figure of every run, above each value it was run with; dashes are medians."""
    require_rows(result.done, "comparison of a sweep")
    traces = [part for name in result.varied for part in _column(result, name)]
    layout = theme.layout(
        title,
        f"{len(result.done):,} runs, {len(result.failed):,} failed",
        xaxis={"type": "category", "linecolor": theme.EDGE, "automargin": True},
        yaxis=theme.value_axis(readable(result.figure)),
        hovermode="closest",
        showlegend=False,
    )
    return figure(traces, layout)


def _column(result: Comparison, name: str) -> list[Json]:
    values = result.done[result.figure].to_numpy(np.float64)[:_MOST_POINTS]
    labels = [f"{name} {value}" for value in result.done[name].astype(str)][:_MOST_POINTS]
    middle = result.by_setting()["median"].xs(name, level="parameter")
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": labels,
        "y": numbers(values),
        "marker": {"size": 7, "color": theme.translucent(theme.STRATEGY, 0.6)},
        "hovertemplate": "%{x}: %{y:.3g}<extra></extra>",
    }
    medians = {
        "type": "scatter",
        "mode": "markers",
        "x": [f"{name} {value}" for value in middle.index],
        "y": numbers(middle.to_numpy(np.float64)),
        "marker": {"size": 26, "symbol": "line-ew-open", "color": theme.TEXT, "line": {"width": 2}},
        "hovertemplate": "%{x}: median %{y:.3g}<extra></extra>",
    }
    return [dots, medians]
