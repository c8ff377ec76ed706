"""The figure's first word to a browser: all of it, or nothing."""

from __future__ import annotations

from typing import Any

import ipywidgets.widgets.widget as widget_module
import plotly.graph_objects as go
import pytest

from microstream_lab.live.live_figure import LiveFigure
from microstream_lab.live.panel import FIGURE_CLASS


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What figures told when they met a browser, and what a page that asked then was given."""
    told: list[dict[str, Any]] = []
    plain = widget_module.comm.create_comm

    def create(**options: Any) -> Any:
        told.append(options.get("data", {}).get("state", {}))
        return plain(**options)

    monkeypatch.setattr(widget_module.comm, "create_comm", create)
    return told


def figure_states(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [state for state in states if "_widget_data" in state]


def test_figure_meets_the_browser_once_and_whole(states: list[dict[str, Any]]) -> None:
    LiveFigure([go.Scatter(x=[1, 2], y=[3, 4])], go.Layout(title="whole"))
    (state,) = figure_states(states)
    assert [trace["type"] for trace in state["_widget_data"]] == ["scatter"]
    assert state["_widget_layout"]["title"] == {"text": "whole"}
    assert FIGURE_CLASS in state["_dom_classes"]


def test_page_that_asks_while_a_figure_is_made_is_not_given_half_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plotly sets the layout after the widget's own constructor: there a page may ask."""
    known: list[int] = []

    class Watched(LiveFigure):
        def add_class(self, name: str) -> Any:
            figures = widget_module._instances.values()
            known.append(sum(isinstance(each, Watched) for each in figures))
            return super().add_class(name)

    figure = Watched([go.Scatter(y=[1])])
    assert known == [0]
    assert widget_module._instances[figure.model_id] is figure


def test_what_has_to_begin_within_two_seconds_is_small_and_plotly_comes_later() -> None:
    figure = LiveFigure()
    assert len(figure._esm) < 10_000
    assert "FigureModel" in figure._plotly
    told: list[str] = []
    figure.on_ready(lambda: told.append("ready"))
    figure._handle_custom_msg({"kind": "ready"}, [])
    assert told == ["ready"]
