"""Figures of research: data in, one ``plotly`` figure out, nothing shown and nothing kept.

Invariant: a figure has at most :data:`~microstream_lab.research.thinning.MAX_POINTS` points a
trace and says when it draws fewer than there are; its numbers have six significant digits and its
times whole seconds, so that the same data give the same JSON on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab import theme
from microstream_lab.errors import DataError
from microstream_lab.research.model_plots import expected_volatility, stays, transitions
from microstream_lab.research.performance_plots import equity, regime_returns
from microstream_lab.research.signals import filtered_columns
from microstream_lab.research.thinning import MAX_POINTS, Bins, times
from microstream_lab.research.traces import (
    areas,
    candles,
    densities,
    figure,
    line,
    marks,
    panel,
    require_rows,
    share_axis,
    times_of,
)
from microstream_lab.schema import MARKETS, series_key

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "anomalies",
    "equity",
    "expected_volatility",
    "feature_distributions",
    "hindsight",
    "price",
    "probabilities",
    "regime_returns",
    "stays",
    "transitions",
]

Json: TypeAlias = dict[str, Any]
Floats: TypeAlias = npt.NDArray[np.float64]

_BINS = MAX_POINTS // 2  # more candles are thinner than the gaps between them


def price(
    bars: pd.DataFrame, signals: pd.DataFrame | None = None, title: str | None = None
) -> go.Figure:
    """Candles, the regime of each as the background where `signals` are given.

    Parameters
    ----------
    bars : DataFrame
        Bars frame; many bars are drawn as fewer, longer ones.
    signals : DataFrame, optional
        Signals of the same bars; a candle of several bars shows their commonest regime.
    title : str, optional
        Symbol, interval and market unless given.
    """
    require_rows(bars, "price")
    bins = Bins.of(bars, _BINS)
    traces: list[Json] = [candles(bars, bins)]
    if signals is not None:
        n_regimes = len(filtered_columns(signals))
        regime = signals["regime"].reindex(bars.index).fillna(-1).to_numpy(np.int64)
        shown = bins.commonest(regime, n_regimes)
        background = theme.regime_background(times(bins.edges), shown, n_regimes, yaxis="y")
        traces = [background, *traces, *theme.regime_legend(n_regimes)]
    market, symbol, interval = series_key(bars)
    layout = theme.layout(
        title or f"{symbol} {interval} ({MARKETS[market]})",
        bins.note(),
        height=460,
        xaxis=theme.time_axis(anchor="y", title={"text": "UTC"}),
        yaxis={"range": [0, 1], "visible": False, "fixedrange": True},
        yaxis2=theme.value_axis("price", overlaying="y", side="left", tickformat=",~g"),
    )
    return figure(traces, layout)


def probabilities(signals: pd.DataFrame, title: str = "Regime probabilities") -> go.Figure:
    """Filtered probabilities as a stacked area: what was known at each bar's close."""
    require_rows(signals, "probabilities")
    bins = Bins.of(signals, _BINS)
    probs = signals[filtered_columns(signals)].to_numpy(np.float64)
    layout = theme.layout(
        title,
        "; ".join(filter(None, ("filtered: from bars up to each one", bins.note()))),
        height=320,
        xaxis=theme.time_axis(title={"text": "UTC"}),
        yaxis=share_axis("probability"),
    )
    return figure(areas(probs, bins), layout)


def hindsight(
    signals: pd.DataFrame,
    smoothed_probs: npt.ArrayLike,
    title: str = "What was known, and what hindsight says",
) -> go.Figure:
    """Filtered probabilities above smoothed ones of the same bars.

    Parameters
    ----------
    signals : DataFrame
        With filtered ``p_0 .. p_{K-1}``.
    smoothed_probs : array_like of shape (n_bars, K)
        Pr[regime | all bars]: never available live, and never to be traded.
    """
    require_rows(signals, "hindsight")
    filtered = signals[filtered_columns(signals)].to_numpy(np.float64)
    smoothed = np.asarray(smoothed_probs, np.float64)
    if smoothed.shape != filtered.shape:
        raise DataError("hindsight", f"smoothed of shape {smoothed.shape}", f"{filtered.shape}")
    bins = Bins.of(signals, _BINS)
    lower = [
        {**area, "yaxis": "y2", "stackgroup": "smoothed", "showlegend": False}
        for area in areas(smoothed, bins)
    ]
    layout = theme.layout(
        title,
        bins.note(),
        height=460,
        xaxis=theme.time_axis(anchor="y2", title={"text": "UTC"}),
        yaxis=share_axis("filtered", domain=[0.54, 1]),
        yaxis2=share_axis("smoothed (hindsight)", domain=[0, 0.46]),
    )
    return figure([*areas(filtered, bins), *lower], layout)


def anomalies(
    signals: pd.DataFrame, threshold: float | None = None, title: str = "Anomaly score"
) -> go.Figure:
    """Anomaly score over time, its threshold, and the bars that were flagged."""
    require_rows(signals, "anomalies")
    scores = signals["anomaly_score"].to_numpy(np.float64)
    flagged = signals["is_anomaly"].to_numpy(bool)
    bins = Bins.of(signals, _BINS)
    peaks = bins.peak_rows(scores)
    marked = peaks[flagged[peaks]]
    when = times_of(signals)
    traces = [
        line(when[peaks], scores[peaks], "score", theme.PRICE, width=1),
        marks(when[marked], scores[marked], "anomaly"),
    ]
    if threshold is not None:
        level = np.full(2, threshold)
        traces.append(line(when[[0, -1]], level, "threshold", theme.ANOMALY, dash="dash", width=1))
    told = f"{flagged.sum():,} of {len(signals):,} bars flagged"
    told += f"; drawn is the highest of each {bins.size:,}" if bins.size > 1 else ""
    layout = theme.layout(
        title,
        told,
        height=320,
        xaxis=theme.time_axis(title={"text": "UTC"}, range=when[[0, -1]].tolist()),
        yaxis=theme.value_axis("score (high is anomalous)"),
        hovermode="closest",
    )
    return figure(traces, layout)


def feature_distributions(
    signals: pd.DataFrame,
    features: Sequence[str],
    title: str = "Features by regime",
    n_bins: int = 60,
) -> go.Figure:
    """Density of each feature under each regime, one panel a feature.

    The middle 99 % of a feature is drawn; each regime's density is scaled to its own bars.
    """
    require_rows(signals, "feature_distributions")
    if not features:
        raise DataError("feature_distributions", "no features", "at least one column")
    n_regimes = len(filtered_columns(signals))
    regime = signals["regime"].to_numpy(np.int64)
    traces: list[Json] = []
    axes: Json = {}
    for number, name in enumerate(features, start=1):
        suffix = "" if number == 1 else str(number)
        values = signals[name].to_numpy(np.float64)
        for trace in densities(values, regime, n_regimes, n_bins):
            places = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": number == 1}
            traces.append({**trace, **places})
        axes |= panel(number, len(features), name)
    layout = theme.layout(title, "density of the middle 99 %", 340, hovermode="closest", **axes)
    return figure(traces, layout)
