"""Building blocks of figures: traces and axes as plain dictionaries, and the way into plotly.

Invariant: plotly is imported by :func:`figure` alone, when the first figure is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab import theme
from microstream_lab.errors import DataError
from microstream_lab.research.thinning import Bins, numbers, times

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "areas",
    "candles",
    "category_axis",
    "densities",
    "figure",
    "line",
    "marks",
    "mean_stays",
    "names_of",
    "panel",
    "require_rows",
    "share_axis",
    "times_of",
]

Json: TypeAlias = dict[str, Any]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Texts: TypeAlias = npt.NDArray[np.str_]


def figure(traces: list[Json], layout: Json) -> go.Figure:
    """A plotly figure of plain traces and layout."""
    import plotly.graph_objects as go

    return go.Figure({"data": traces, "layout": layout})


def require_rows(frame: pd.DataFrame, where: str) -> None:
    """Raise :class:`DataError` where there is nothing to draw."""
    if frame.empty:
        raise DataError(where, "no rows", "something to draw")


def times_of(frame: pd.DataFrame) -> Texts:
    """The frame's index as plotly takes it."""
    return np.array(times(pd.DatetimeIndex(frame.index)))


def candles(bars: pd.DataFrame, bins: Bins) -> Json:
    """Candles of the bins, stamped with their first bar's open time."""
    column = {name: bars[name].to_numpy(np.float64) for name in ("open", "high", "low", "close")}
    return {
        "type": "candlestick",
        "x": times(bins.edges[:-1]),
        "open": numbers(bins.first(column["open"])),
        "high": numbers(bins.highest(column["high"])),
        "low": numbers(bins.lowest(column["low"])),
        "close": numbers(bins.last(column["close"])),
        "increasing": {"line": {"color": theme.UP, "width": 1}, "fillcolor": theme.UP},
        "decreasing": {"line": {"color": theme.DOWN, "width": 1}, "fillcolor": theme.DOWN},
        "name": "price",
        "showlegend": False,
        "yaxis": "y2",
    }


def line(when: Texts, values: Floats, name: str, color: str, **looks: Any) -> Json:
    """A line; `looks` are plotly's attributes of it, such as ``width``."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": when.tolist(),
        "y": numbers(values),
        "name": name,
        "line": {"color": color, "width": 1.5, **looks},
    }


def marks(when: Texts, values: Floats, name: str) -> Json:
    """Open circles around single bars."""
    ring = {"symbol": "circle-open", "size": 7, "color": theme.ANOMALY, "line": {"width": 1.5}}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": when.tolist(),
        "y": numbers(values),
        "name": name,
        "marker": ring,
    }


def areas(probs: Floats, bins: Bins) -> list[Json]:
    """Stacked areas of probabilities (n_bars, K), calmest at the bottom, blank in a hole."""
    when = times(bins.edges[:-1])
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": when,
            "y": numbers(bins.mean(probs[:, k])),
            "name": name,
            "stackgroup": "filtered",
            "line": {"width": 0},
            "fillcolor": theme.translucent(color, 0.75),
            "hovertemplate": "%{y:.3f}",
        }
        for k, (name, color) in enumerate(theme.regime_styles(probs.shape[1]))
    ]


def densities(values: Floats, regime: Ints, n_regimes: int, n_bins: int) -> list[Json]:
    """Outlined histograms of `values` by regime over a common range, each of area one."""
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.005, 0.995]) if len(known) else (0.0, 1.0)
    borders = np.linspace(low, high if high > low else low + 1, n_bins + 1)
    middles = (borders[1:] + borders[:-1]) / 2
    traces = []
    for k, (name, color) in enumerate(theme.regime_styles(n_regimes)):
        counts = np.histogram(values[regime == k], borders)[0]
        density = counts / max(1, counts.sum()) / (borders[1] - borders[0])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": numbers(middles),
                "y": numbers(density),
                "name": name,
                "legendgroup": name,
                "line": {"color": color, "width": 1.5, "shape": "hvh"},
                "fill": "tozeroy",
                "fillcolor": theme.translucent(color, 0.18),
            }
        )
    return traces


def panel(number: int, n_panels: int, name: str) -> Json:
    """Axes of one of several panels side by side, titled below."""
    suffix = "" if number == 1 else str(number)
    width = 1 / n_panels
    left, right = (number - 1) * width, number * width - (0.04 if number < n_panels else 0)
    across = {"title": {"text": name}, "domain": [left, right], "anchor": f"y{suffix}"}
    return {
        f"xaxis{suffix}": theme.value_axis(nticks=5) | across,
        f"yaxis{suffix}": theme.value_axis(anchor=f"x{suffix}", showticklabels=False),
    }


def share_axis(title: str, **more: Any) -> Json:
    """A vertical axis from 0 to 1."""
    return theme.value_axis(title, range=[0, 1], **more)


def category_axis(**more: Any) -> Json:
    """A horizontal axis of names."""
    return {"type": "category", "linecolor": "rgba(0,0,0,0)", "showgrid": False, **more}


def names_of(regimes: Iterable[int], n_regimes: int) -> tuple[list[str], list[str]]:
    """Names and colours of regimes; -1 is ``unknown``."""
    styles: Sequence[tuple[str, str]] = [
        *theme.regime_styles(n_regimes),
        ("unknown", theme.BASELINE),
    ]
    chosen = [styles[k] for k in regimes]
    return [name for name, _ in chosen], [color for _, color in chosen]


def mean_stays(regime: Ints, n_regimes: int) -> Floats:
    """Mean length in bars of the runs of each regime, NaN for one that never occurs."""
    begins = np.flatnonzero(np.diff(regime, prepend=-2))
    lengths = np.diff(np.append(begins, len(regime)))
    found = regime[begins]
    return np.array(
        [lengths[found == k].mean() if (found == k).any() else np.nan for k in range(n_regimes)]
    )
