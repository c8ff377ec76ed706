"""How everything drawn here looks: regime colours, line colours, axes, the regime background.

Plain dictionaries in plotly's own words, so that static figures and the live monitor share them
and nothing is imported to hold them. Backgrounds are transparent and text is a middle grey with a
contrast above 4 on both white and black, so one figure serves JupyterLab's light and dark themes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from microstream_lab.settings import Settings

__all__ = [
    "ANOMALY",
    "BACKGROUND_OPACITY",
    "BASELINE",
    "DOWN",
    "PRICE",
    "STRATEGY",
    "UP",
    "layout",
    "regime_background",
    "regime_colorscale",
    "regime_legend",
    "regime_styles",
    "time_axis",
    "translucent",
    "value_axis",
]

Json: TypeAlias = dict[str, Any]

TEXT: Final = "#7b7b7b"
GRID: Final = "rgba(128,128,128,0.22)"
EDGE: Final = "rgba(128,128,128,0.55)"
PRICE: Final = "#808890"
UP: Final = "#44AA99"
DOWN: Final = "#AA4499"
STRATEGY: Final = "#0099CC"
BASELINE: Final = "#999999"
ANOMALY: Final = "#CC3311"
"""Line colours after Paul Tol; none of them is a regime's: https://personal.sron.nl/~pault/"""

BACKGROUND_OPACITY: Final = 0.28


def regime_styles(n_regimes: int) -> list[tuple[str, str]]:
    """Name and hex colour of each regime, calmest first, as the settings say."""
    settings = Settings.load()
    names, colors = settings.names_of_regimes(n_regimes), settings.colors_of_regimes(n_regimes)
    return list(zip(names, colors, strict=True))


def layout(title: str, subtitle: str = "", height: int = 420, **more: Any) -> Json:
    """The shared layout; `more` adds to it, axes for example."""
    return {
        "template": "none",
        "title": {
            "text": f"{title}<br><span style='font-size:12px'>{subtitle}</span>",
            "x": 0,
            "xref": "paper",
            "yref": "container",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 18},
            "font": {"size": 16},
        },
        "font": {"color": TEXT, "size": 12, "family": "sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "height": height,
        "margin": {"l": 64, "r": 20, "t": 92, "b": 44},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
            "traceorder": "normal",
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": EDGE, "activecolor": TEXT},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "#f4f4f4", "font": {"color": "#222222"}},
        **more,
    }


def time_axis(**more: Any) -> Json:
    """A UTC time axis without a range slider."""
    return {
        "type": "date",
        "rangeslider": {"visible": False},
        "gridcolor": GRID,
        "linecolor": EDGE,
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": EDGE,
        **more,
    }


def value_axis(title: str = "", **more: Any) -> Json:
    """A vertical axis of values."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": GRID,
        "zeroline": False,
        "zerolinecolor": EDGE,
        "ticks": "outside",
        "tickcolor": "rgba(0,0,0,0)",
        "tickmode": "auto",
        "automargin": True,
        **more,
    }


def regime_colorscale(n_regimes: int) -> list[list[float | str]]:
    """Steps of the regimes' colours, for values from -0.5 to K - 0.5."""
    return [
        [(k + side) / n_regimes, color]
        for k, (_, color) in enumerate(regime_styles(n_regimes))
        for side in (0, 1)
    ]


def regime_background(
    edges: Sequence[str], regimes: Sequence[int | None], n_regimes: int, **axes: str
) -> Json:
    """The regimes of consecutive spans of time as one heatmap, drawn behind everything.

    Parameters
    ----------
    edges : sequence of n + 1 times
        Borders of the spans.
    regimes : sequence of n regimes
        None where unknown, which stays blank.
    n_regimes : int
        K.
    **axes
        ``xaxis`` and ``yaxis``, the latter fixed to 0 .. 1.
    """
    return {
        "type": "heatmap",
        "x": list(edges),
        "y": [0, 1],
        "z": [list(regimes)],
        "zmin": -0.5,
        "zmax": n_regimes - 0.5,
        "colorscale": regime_colorscale(n_regimes),
        "showscale": False,
        "opacity": BACKGROUND_OPACITY,
        "hoverinfo": "skip",
        **axes,
    }


def regime_legend(n_regimes: int) -> list[Json]:
    """Legend entries of the regimes: squares that stand for the background's colours."""
    return [
        {
            "type": "scatter",
            "x": [None],
            "y": [None],
            "mode": "markers",
            "marker": {"symbol": "square", "size": 11, "color": color},
            "name": name,
            "hoverinfo": "skip",
        }
        for name, color in regime_styles(n_regimes)
    ]


def translucent(color: str, opacity: float) -> str:
    """A hex colour as ``rgba``."""
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
