"""Figures of a regime model; :mod:`microstream_lab.research.plots` offers them as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab import theme
from microstream_lab.research.signals import filtered_columns
from microstream_lab.research.thinning import MAX_POINTS, Bins, numbers, times
from microstream_lab.research.traces import (
    category_axis,
    figure,
    line,
    mean_stays,
    names_of,
    require_rows,
    times_of,
)
from microstream_lab.schema import interval_us

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["expected_volatility", "stays", "transitions"]

_BINS = MAX_POINTS // 2


def expected_volatility(
    signals: pd.DataFrame,
    heights: npt.ArrayLike,
    cuts: npt.ArrayLike,
    title: str = "Volatility to expect of the coming hour",
) -> go.Figure:
    """The one number that regimes are bands of, the cuts between them, and the regime told.

    Parameters
    ----------
    signals : DataFrame
        With ``regime``.
    heights : array_like of shape (n_bars,)
        Forecasts of log volatility, as of ``LevelModel.heights``.
    cuts : array_like of shape (K - 1,)
        Where one regime ends and the next begins, on the same scale.
    """
    require_rows(signals, "expected_volatility")
    n_regimes = len(filtered_columns(signals))
    bins = Bins.of(signals, _BINS)
    told = bins.commonest(signals["regime"].to_numpy(np.int64), n_regimes)
    expected = 1e4 * np.exp(np.asarray(heights, np.float64))
    rows, when = bins.peak_rows(expected), times_of(signals)
    traces = [
        theme.regime_background(times(bins.edges), told, n_regimes, yaxis="y"),
        {**line(when[rows], expected[rows], "expected", theme.PRICE, width=1.5), "yaxis": "y2"},
        *theme.regime_legend(n_regimes),
    ]
    for cut in 1e4 * np.exp(np.asarray(cuts, np.float64)):
        level = line(when[[0, -1]], np.full(2, cut), "cut", theme.PRICE, dash="dash", width=1)
        traces.append({**level, "yaxis": "y2", "showlegend": False})
    layout = theme.layout(
        title,
        "basis points, log scale; dashed: cuts between regimes; background: the regime held",
        height=360,
        xaxis=theme.time_axis(anchor="y", title={"text": "UTC"}),
        yaxis={"range": [0, 1], "visible": False, "fixedrange": True},
        yaxis2=theme.value_axis("basis points", overlaying="y", side="left", type="log"),
    )
    return figure(traces, layout)


def stays(
    signals: pd.DataFrame,
    interval: str,
    expected_bars: npt.ArrayLike | None = None,
    title: str = "How long regimes last",
) -> go.Figure:
    """Mean stay in each regime as observed, beside what the model expects, in minutes.

    Parameters
    ----------
    signals : DataFrame
        With ``regime``.
    interval : str
        Of the bars, such as ``1m``.
    expected_bars : array_like of shape (K,), optional
        Expected durations in bars, as of ``RegimeModel.expected_durations``.
    """
    require_rows(signals, "stays")
    n_regimes = len(filtered_columns(signals))
    names, colors = names_of(range(n_regimes), n_regimes)
    minutes = interval_us(interval) / 60_000_000
    lengths = {"observed": mean_stays(signals["regime"].to_numpy(np.int64), n_regimes)}
    if expected_bars is not None:
        lengths["expected"] = np.asarray(expected_bars, np.float64)
    traces = []
    for kind, bars in lengths.items():
        looks = {"color": colors, "pattern": {"shape": "/" if kind == "expected" else ""}}
        traces.append(
            {
                "type": "bar",
                "x": names,
                "y": numbers(bars * minutes),
                "name": kind,
                "marker": looks,
                "texttemplate": "%{y:.3~s}",
                "textposition": "outside",
                "cliponaxis": False,
                "hovertemplate": "%{x}: %{y:.4~g} minutes<extra></extra>",
            }
        )
    note = "mean minutes until the regime changes"
    note += "; hatched: expected by the model" if expected_bars is not None else ""
    layout = theme.layout(
        title,
        note,
        340,
        xaxis=category_axis(),
        yaxis=theme.value_axis("minutes", rangemode="tozero"),
        hovermode="closest",
        showlegend=False,
    )
    return figure(traces, layout)


def transitions(transmat: npt.ArrayLike, title: str = "Transitions a bar") -> go.Figure:
    """Probability of the next bar's regime (column) given this one's (row)."""
    matrix = np.asarray(transmat, np.float64)
    names, _ = names_of(range(len(matrix)), len(matrix))
    cells = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": numbers(matrix),
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "#E3EEF3"], [1, "#0077AA"]],
        "showscale": False,
        "texttemplate": "%{z:.4f}",
        "hovertemplate": "%{y} to %{x}: %{z:.4f}<extra></extra>",
        "xgap": 2,
        "ygap": 2,
    }
    layout = theme.layout(
        title,
        "from the row's regime to the column's",
        340,
        xaxis=category_axis(side="bottom"),
        yaxis=theme.value_axis(autorange="reversed", showgrid=False),
        hovermode="closest",
    )
    return figure([cells], layout)
