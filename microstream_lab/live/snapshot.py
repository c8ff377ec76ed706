"""The monitor on paper: its figure and its tiles as one HTML page that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import Any, Final, TypeAlias

import plotly.graph_objects as go
import plotly.io

from microstream_lab.live import figure
from microstream_lab.live.tiles import event_rows, health_items, tile_data
from microstream_lab.live.view import Scene

__all__ = ["standalone_html"]

Json: TypeAlias = dict[str, Any]

_STYLE: Final = """
body { font: 14px/1.4 sans-serif; color: #333; background: #fff; margin: 24px auto;
  max-width: 1200px; }
.tiles { display: flex; gap: 12px; flex-wrap: wrap; }
.tile { border-left: 5px solid #999; background: #f2f2f2; padding: 6px 14px; min-width: 150px; }
.tile b { display: block; font-size: 20px; }
.small { color: #666; font-size: 12px; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111; }
  .tile { background: #222; } .small { color: #aaa; } }
"""


def standalone_html(scene: Scene, layout: Json) -> str:
    """A page with the figure of a scene, and its picture in words.

    Parameters
    ----------
    scene : Scene
        What is to be seen.
    layout : dict
        Of the figure, with the axes as they are.
    """
    picture, title = scene.picture, scene.title
    tiles = "".join(
        f'<div class="tile" style="border-color:{escape(tile.get("color") or "#999")}">'
        f'<span class="small">{escape(tile["label"])}</span><b>{escape(tile["value"])}</b>'
        f'<span class="small">{escape(tile["detail"])}</span></div>'
        for tile in tile_data(picture, scene.step_us, scene.now, title)
    )
    health = " &middot; ".join(
        f"{escape(item['label'])} {escape(item['value'])}"
        for item in health_items(picture, scene.now)
    )
    events = "".join(
        f"<div>{escape(event['at'])} {escape(event['text'])}</div>" for event in event_rows(picture)
    )
    whole = go.Figure(_traces(scene), layout)
    plot = plotly.io.to_html(whole, full_html=False, include_plotlyjs=True)
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><p>{escape(picture.banner)}</p>"
        f'<div class="tiles">{tiles}</div><p class="small">{health}</p>{plot}'
        f'<div class="small">{events}</div></body></html>'
    )


def _traces(scene: Scene) -> list[Json]:
    """The figure's traces with their numbers, and the forming bar, which nobody inks here."""
    picture = scene.picture
    n_regimes = picture.model.n_regimes if picture.model else 3
    numbers = figure.of_bars(picture, scene.feature, scene.step_us)
    traces = [{**each, **numbers.get(k, {})} for k, each in enumerate(figure.traces(n_regimes))]
    return [*traces, figure.forming_bar(picture)]
