"""The monitor's figure: which traces and panels it has, and what of them a picture changes.

Invariant: the traces stay, only their numbers change, as typed arrays. The regimes behind the bars
are one heatmap, and each regime's probability is one filled line, so a redraw stays cheap. What is
newer than the figure is not here but in :mod:`~microstream_lab.live.ink`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from microstream_lab import theme
from microstream_lab.live.state import Picture
from microstream_lab.live.window import Columns
from microstream_lab.schema import PARTIAL, QUALITIES, REPAIRED

__all__ = ["BARS", "feature_of", "forming_bar", "layout", "looks", "of_bars", "ranges", "traces"]

Json: TypeAlias = dict[str, Any]
Floats: TypeAlias = npt.NDArray[np.float64]

BACKGROUND, SWAPS, BARS, PARTIALS, REPAIRS, SCORE, THRESHOLD, FLAGGED, FEATURE, FIRST_AREA = range(
    10
)
_PRICE, _SCORE, _PROBS, _FEATURE = (0.50, 1.0), (0.325, 0.455), (0.165, 0.285), (0.0, 0.125)
_AHEAD: Final = 0.02  # of the bars shown, empty at the right edge: room for the newest ones
_AREA_OPACITY: Final = 0.75
_TITLES: Final = {
    "feature": _FEATURE,
    "regime probabilities (filtered)": _PROBS,
    "anomaly score": _SCORE,
}


def traces(n_regimes: int) -> list[Json]:
    """All traces, without numbers."""
    background = theme.regime_background([], [], n_regimes, xaxis="x", yaxis="y5")
    return [
        {**background, "z": [[], []], "name": "regime"},
        _lines("bundle change", theme.EDGE, yaxis="y5", line={"dash": "dot", "width": 1.5}),
        _bars(),
        _marks("partial", theme.ANOMALY, "x-thin-open"),
        _marks("repaired", theme.STRATEGY, "diamond-open"),
        _lines("score", theme.PRICE, yaxis="y2"),
        _lines("threshold", theme.ANOMALY, yaxis="y2", line={"dash": "dash", "width": 1}),
        {**_marks("anomaly", theme.ANOMALY, "circle"), "yaxis": "y2"},
        _lines("feature", theme.STRATEGY, yaxis="y4"),
        *_areas(n_regimes),
    ]


def layout(height: int = 640) -> Json:
    """Four panels over one time axis, nothing that moves by itself."""
    shared = {"fixedrange": False, "automargin": False}
    return {
        # Whenever a trace's times change the axis forgets its type; here it finds it again.
        "template": {"layout": {"xaxis": {"type": "date"}}},
        "height": height,
        "autosize": True,
        "margin": {"l": 64, "r": 12, "t": 10, "b": 44},
        "font": {"color": theme.TEXT, "size": 12, "family": "sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hovermode": "x",
        "dragmode": "pan",
        "uirevision": "monitor",
        "hoverlabel": {"bgcolor": "#f4f4f4", "font": {"color": "#222222"}},
        "xaxis": {k: v for k, v in theme.time_axis(anchor="y4").items() if k != "type"},
        "yaxis": theme.value_axis("", domain=_PRICE, tickformat=",~r", **shared),
        "yaxis2": theme.value_axis("", domain=_SCORE, nticks=4, **shared),
        "yaxis3": theme.value_axis(
            "", domain=_PROBS, range=[0, 1], tickvals=[0, 0.5, 1], tickformat=".0%", **shared
        ),
        "yaxis4": theme.value_axis("", domain=_FEATURE, nticks=4, tickformat="~g", **shared),
        "yaxis5": {
            "domain": _PRICE,
            "range": [0, 1],
            "visible": False,
            "fixedrange": True,
            "overlaying": "y",
        },
        "annotations": [_title(text, domain) for text, domain in _TITLES.items()],
        "meta": 0,
    }


def looks() -> Json:
    """How ink looks over this figure, and the places of the traces that it continues."""
    return {
        **{"up": theme.UP, "down": theme.DOWN, "alarm": theme.ANOMALY},
        **{"scoreColor": theme.PRICE, "featureColor": theme.STRATEGY},
        **{"background": theme.BACKGROUND_OPACITY, "area": _AREA_OPACITY},
        **{"bars": BARS, "score": SCORE, "feature": FEATURE, "areas": FIRST_AREA},
    }


def feature_of(picture: Picture, wanted: str) -> str:
    """The feature to draw: the one wanted, else the bundle's first, else none."""
    features = picture.model.features if picture.model else ()
    return wanted if wanted in features else next(iter(features), "")


def forming_bar(picture: Picture) -> Json:
    """The forming bar as a trace of its own, for a figure that nobody inks."""
    bar, looks = picture.forming, _bars()
    if bar is None:
        return looks
    prices = {name: [getattr(bar, name)] for name in ("open", "high", "low", "close")}
    return {**looks, "name": "forming", "x": [bar.open_time / 1_000], **prices}


def of_bars(picture: Picture, feature: str, step_us: int) -> dict[int, Json]:
    """What a bar's close changes: everything, by the number of the trace."""
    times, values = picture.times / 1_000, picture.columns
    score, flagged = values["anomaly_score"], values["is_anomaly"] == 1
    threshold = picture.model.threshold if picture.model else np.nan
    return {
        BACKGROUND: _background(times, values["regime"], step_us / 1_000),
        SWAPS: _uprights(np.array(picture.swaps) / 1_000),
        BARS: {"x": times, **{name: values[name] for name in ("open", "high", "low", "close")}},
        PARTIALS: _below(times, values, PARTIAL),
        REPAIRS: _below(times, values, REPAIRED),
        SCORE: {"x": times, "y": score},
        THRESHOLD: {"x": times[[0, -1]] if len(times) else times, "y": np.full(2, threshold)},
        FLAGGED: {"x": times[flagged], "y": score[flagged]},
        FEATURE: {"x": times, "y": values.get(feature, np.full(len(times), np.nan))},
        **_stacked(times, values),
    }


def ranges(picture: Picture, feature: str, n_shown: int, step_us: int) -> Json:
    """Ranges of the axes that show the last `n_shown` bars; empty as long as there are none."""
    if not len(picture.times):
        return {}
    step = step_us / 1_000
    last = picture.times[-1] / 1_000
    if picture.forming is not None:
        last = max(last, picture.forming.open_time / 1_000)
    first = max(picture.times[0] / 1_000, last - n_shown * step)
    seen = picture.times / 1_000 >= first
    values = {name: column[seen] for name, column in picture.columns.items()}
    lows, highs = [values["low"].min()], [values["high"].max()]
    if picture.forming is not None:
        lows.append(picture.forming.low)
        highs.append(picture.forming.high)
    threshold = picture.model.threshold if picture.model else np.nan
    found = {
        "xaxis": [first - step, last + max(3, round(_AHEAD * n_shown)) * step],
        "yaxis": _padded([min(lows), max(highs)]),
        "yaxis2": _padded([*values["anomaly_score"], threshold]),
        "yaxis4": _padded(values.get(feature, np.array([]))),
    }
    return {axis: span for axis, span in found.items() if span}


def _bars() -> Json:
    looks = {
        name: {"line": {"color": color, "width": 1}, "fillcolor": color}
        for name, color in (("increasing", theme.UP), ("decreasing", theme.DOWN))
    }
    empty: Json = {name: [] for name in ("x", "open", "high", "low", "close")}
    return {"type": "candlestick", "name": "price", "yaxis": "y", **looks, **empty}


def _lines(name: str, color: str, yaxis: str, line: Json | None = None) -> Json:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [],
        "y": [],
        "yaxis": yaxis,
        "line": {"color": color, "width": 1.2, **(line or {})},
        "hovertemplate": "%{y:.4~g}",
    }


def _marks(name: str, color: str, symbol: str) -> Json:
    marker = {"symbol": symbol, "size": 6, "color": color, "line": {"width": 1.5, "color": color}}
    base = {"type": "scatter", "mode": "markers", "name": name, "x": [], "y": [], "yaxis": "y"}
    return {**base, "marker": marker, "hovertemplate": "%{x|%H:%M}"}


def _areas(n_regimes: int) -> list[Json]:
    """Filled lines of cumulated probabilities, the calmest regime at the bottom."""
    return [
        {
            **_lines(name, color, "y3", {"width": 0}),
            "fill": "tonexty" if k else "tozeroy",
            "fillcolor": theme.translucent(color, _AREA_OPACITY),
            "hoverinfo": "skip",
            "hovertemplate": None,
        }
        for k, (name, color) in enumerate(theme.regime_styles(n_regimes))
    ]


def _title(text: str, domain: Sequence[float]) -> Json:
    return {
        "text": text,
        "x": 0,
        "y": domain[1],
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 11},
    }


def _background(times: Floats, regimes: Floats, step: float) -> Json:
    """The regimes as runs: few bricks, however many bars; a missing bar leaves its place blank."""
    if not len(times):
        return {"x": [], "z": [[], []]}
    starts = np.append(True, (np.diff(regimes) != 0) | (np.diff(times) > 1.5 * step))
    first = np.flatnonzero(starts)
    last = np.append(first[1:] - 1, len(times) - 1)
    edges: list[float] = [times[0] - step / 2]
    shown: list[float | None] = []
    for begin, end in zip(first, last, strict=True):
        opens = times[begin] - step / 2
        if opens > edges[-1] + 1:
            edges.append(opens)
            shown.append(None)
        edges.append(times[end] + step / 2)
        shown.append(None if regimes[begin] < 0 else float(regimes[begin]))
    # Two rows, at 0 and at 1, so that they fill what lies between.
    return {"x": np.array(edges), "z": [shown, shown]}


def _uprights(times: Floats) -> Json:
    """Vertical lines at `times`, as one line with holes."""
    x = np.repeat(times, 3).astype(np.float64)
    return {"x": x, "y": np.tile([0.0, 1.0, np.nan], len(times))}


def _below(times: Floats, values: Columns, quality: str) -> Json:
    """Marks a little below the bars of a quality."""
    chosen = values["quality"] == QUALITIES.index(quality)
    depth = np.ptp(values["close"]) * 0.02 if len(times) else 0.0
    return {"x": times[chosen], "y": values["low"][chosen] - depth}


def _stacked(times: Floats, values: Columns) -> dict[int, Json]:
    names = [name for name in values if name.startswith("p_")]
    total, found = np.zeros(len(times)), {}
    for k, name in enumerate(names):
        total = total + values[name]
        found[FIRST_AREA + k] = {"x": times, "y": total}
    return found


def _padded(values: Sequence[float] | Floats) -> list[float]:
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return []
    low, high = float(known.min()), float(known.max())
    room = 0.05 * (high - low) or 1e-9 + abs(high) * 1e-3
    return [low - room, high + room]
