"""Figures of a backtest; :mod:`microstream_lab.research.plots` offers them beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from microstream_lab import theme
from microstream_lab.research.backtest import BacktestResult
from microstream_lab.research.thinning import MAX_POINTS, extremes, numbers
from microstream_lab.research.traces import category_axis, figure, line, names_of, times_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["equity", "regime_returns"]

_POINTS = MAX_POINTS // 2  # a line each for strategy and buy and hold


def equity(result: BacktestResult, title: str = "Equity and drawdown") -> go.Figure:
    """Growth of 1 and the loss since the last high, strategy beside buy and hold."""
    when = times_of(result.equity)
    styles = {
        "buy_and_hold": ("buy and hold", theme.BASELINE),
        "strategy": ("strategy", theme.STRATEGY),
    }
    traces = []
    for column, (name, color) in styles.items():
        for frame, axis in ((result.equity, "y"), (result.drawdown, "y2")):
            values = frame[column].to_numpy()
            rows = extremes(values, _POINTS)
            path = line(when[rows], values[rows], name, color)
            traces.append(path | {"yaxis": axis, "showlegend": axis == "y", "legendgroup": name})
        traces[-1] |= {"fill": "tozeroy", "fillcolor": theme.translucent(color, 0.15)}
    thinned = len(when) > _POINTS
    note = f"{len(when):,} bars, each line drawn by its highs and lows" if thinned else ""
    layout = theme.layout(
        title,
        note,
        height=480,
        xaxis=theme.time_axis(anchor="y2", title={"text": "UTC"}),
        yaxis=theme.value_axis("equity", domain=[0.4, 1]),
        yaxis2=theme.value_axis("drawdown", domain=[0, 0.32], tickformat=".0%"),
    )
    return figure(traces, layout)


def regime_returns(
    result: BacktestResult, title: str = "The market under each regime"
) -> go.Figure:
    """Mean return of the market a day by the regime known beforehand, with its interval.

    Bars without a known regime are left out.
    """
    table = result.by_regime.drop(index=-1, errors="ignore")
    names, colors = names_of(table.index.to_list(), result.n_regimes)
    mean, low, high = (table[name].to_numpy() / 365 for name in ("mean_return", "low", "high"))
    bars = {
        "type": "bar",
        "x": names,
        "y": numbers(mean),
        "marker": {"color": colors},
        "text": [f"{share:.1%} of bars" for share in table["share"]],
        "textposition": "none",
        "hovertemplate": "%{x}: %{y:.2%} a day, %{text}<extra></extra>",
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": numbers(high - mean),
            "arrayminus": numbers(mean - low),
            "color": theme.TEXT,
            "thickness": 1.5,
        },
        "showlegend": False,
    }
    layout = theme.layout(
        title,
        f"mean return of a day spent in the regime, with {result.level:.0%} intervals",
        340,
        xaxis=category_axis(),
        yaxis=theme.value_axis("return a day", tickformat=".1%", zeroline=True),
        hovermode="closest",
    )
    return figure([bars], layout)
