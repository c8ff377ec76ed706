"""Figures of an evaluation: who explains how much at how many switches, and whose chances hold.

Invariant: as in :mod:`microstream_lab.research.plots`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from microstream_lab import theme
from microstream_lab.research.evaluate import Evaluation
from microstream_lab.research.thinning import numbers
from microstream_lab.research.traces import figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["calibration", "steadiness"]

Json: TypeAlias = dict[str, Any]

_FEWEST_BARS = 100  # a bin of fewer says nothing
_SHOWN = 3  # more lines than these hide each other; the rest waits in the legend


def steadiness(result: Evaluation, title: str = "Explained and steady") -> go.Figure:
    """Variance explained against switches per hour, one mark an estimate; up and left is better."""
    table = result.summary()
    marks = {
        "type": "scatter",
        "mode": "markers+text",
        "x": numbers(table["switches_per_hour"].to_numpy(np.float64)),
        "y": numbers(table["eta_squared"].to_numpy(np.float64)),
        "text": list(table.index),
        "textposition": "top center",
        "marker": {"size": 9, "color": theme.STRATEGY},
        "hovertemplate": "%{text}<br>%{y:.3f} explained, %{x:.2f} switches/h<extra></extra>",
        "showlegend": False,
    }
    across = theme.value_axis("switches per hour", type="log", dtick=1)
    layout = theme.layout(
        title,
        f"{result.n_bars:,} bars, next {result.horizon} bars",
        height=420,
        xaxis=across,
        yaxis=theme.value_axis("variance explained (eta²)"),
    )
    return figure([marks], layout)


def calibration(result: Evaluation, title: str = "P(crisis) and what came") -> go.Figure:
    """How often the coming hour was among the worst 10 %, by the probability of crisis."""
    traces: list[Json] = []
    for number, name in enumerate(result.reliability.index.unique("estimate")):
        curve = result.reliability.loc[name]
        curve = curve[curve["bars"] >= _FEWEST_BARS]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": numbers(curve["forecast"].to_numpy(np.float64)),
                "y": numbers(curve["observed"].to_numpy(np.float64)),
                "name": str(name),
                "visible": True if number < _SHOWN else "legendonly",
            }
        )
    diagonal: Json = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1]}
    dotted = {"color": theme.BASELINE, "dash": "dot", "width": 1}
    traces.append(diagonal | {"name": "as forecast", "line": dotted})
    layout = theme.layout(
        title,
        "",
        height=420,
        xaxis=theme.value_axis("P(crisis)", range=[0, 1]),
        yaxis=theme.value_axis("share among the worst 10 %", range=[0, 1]),
    )
    return figure(traces, layout)
