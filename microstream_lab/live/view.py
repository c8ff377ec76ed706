"""The widgets of the monitor: one figure, what stands around it, and how a picture gets there.

Invariant: there is exactly one ``FigureWidget``, whatever it shows; a frame is one batched update
of the traces that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import ipywidgets as widgets

from microstream_lab.live import figure
from microstream_lab.live.alerts import Alert
from microstream_lab.live.live_figure import LiveFigure
from microstream_lab.live.panel import FIGURE_CLASS, Panel
from microstream_lab.live.state import Picture
from microstream_lab.live.tiles import event_rows, health_items, tile_data

__all__ = ["MonitorView"]

_TOASTS = 5


class MonitorView:
    """Draws pictures.

    Attributes
    ----------
    figure : FigureWidget
        The only one.
    box : ipywidgets.VBox
        Everything, for the notebook to show.
    follows : bool
        Whether the axes follow the newest bar; False as soon as the user has zoomed or panned.
    """

    def __init__(self) -> None:
        self._n_regimes = 3
        self.figure = LiveFigure(figure.traces(self._n_regimes), figure.layout())
        self.figure.add_class(FIGURE_CLASS)
        self.figure._config = {"displaylogo": False, "responsive": True, "scrollZoom": True}
        self.tiles, self.events = Panel(part="tiles"), Panel(part="events")
        self.controls = widgets.HBox(layout=widgets.Layout(flex_flow="row wrap"))
        self.box = widgets.VBox([self.tiles, self.controls, self.figure, self.events])
        self.follows = True
        self.on_zoom: Callable[[], None] = lambda: None
        self._span: list[str] = []
        self._drawn: tuple[Any, ...] = ()
        self._toasts: list[Alert] = []
        self._frame = self._figure_frame = 0
        self.figure.layout.on_change(self._look_at_zoom, ("xaxis", "range"))

    def draw(
        self,
        picture: Picture,
        now: int,
        title: str,
        step_us: int,
        feature: str,
        n_shown: int,
        alerts: Sequence[Alert] = (),
        frozen: bool = False,
    ) -> int:
        """Send a picture to the browser and return the number of the frame.

        Parameters
        ----------
        picture : Picture
            What to draw.
        now : int
            Time (us), for ages.
        title : str
            Of the series.
        step_us : int
            Length of a bar.
        feature : str
            Feature to show, if the bundle has it.
        n_shown : int
            Bars to show while following.
        alerts : sequence of Alert
            To be shown for a moment.
        frozen : bool
            Leave the figure as it is; tiles and events go on.
        """
        self._frame += 1
        if not frozen:
            self._draw_figure(picture, figure.feature_of(picture, feature), n_shown, step_us)
        self._toasts = [*self._toasts, *alerts][-_TOASTS:]
        self.events.data = {"events": event_rows(picture), "n_events": picture.n_events}
        self.tiles.data = {
            "frame": self._frame,
            "figure": self._figure_frame,
            "banner": picture.banner,
            "tiles": tile_data(picture, step_us, now, title),
            "health": health_items(picture, now),
            "toasts": [{"id": a.number, "text": a.text, "color": a.color} for a in self._toasts],
        }
        return self._frame

    def follow(self) -> None:
        """Let the axes follow the newest bar again."""
        self.follows, self._drawn, self._span = True, (), []

    def close(self) -> None:
        """Take everything off the screen for good."""
        for widget in (self.figure, self.tiles, self.events, self.controls, self.box):
            widget.close()

    def forget(self) -> None:
        """Draw everything anew with the next picture."""
        self._drawn, self._toasts = (), []

    def _draw_figure(self, picture: Picture, feature: str, n_shown: int, step_us: int) -> None:
        if picture.model is not None and picture.model.n_regimes != self._n_regimes:
            self._retrace(picture.model.n_regimes)
        content = (picture.revision, feature, picture.model)
        looks = (*content, picture.trade_time, n_shown, self.follows)
        if looks == self._drawn:
            return
        is_whole = self._drawn[: len(content)] != content
        changes = (
            figure.of_bars(picture, feature, step_us) if is_whole else figure.of_forming(picture)
        )
        spans = figure.ranges(picture, feature, n_shown, step_us) if self.follows else {}
        self._figure_frame = self._frame
        with self.figure.batch_update():
            for place, values in changes.items():
                self.figure.data[place].update(values, overwrite=True)
            self._set_ranges(spans)
            if is_whole:
                self.figure.layout.annotations[0].text = feature or "feature"
            self.figure.layout.meta = self._figure_frame
        self._drawn = looks

    def _set_ranges(self, spans: dict[str, list[float]]) -> None:
        for axis, span in spans.items():
            if axis == "xaxis":
                # As the browser writes them: numbers would come back as a difference each time.
                self._span = [_as_text(edge) for edge in span]
                self.figure.layout.xaxis.range = self._span
            else:
                self.figure.layout[axis].range = span

    def _retrace(self, n_regimes: int) -> None:
        """Other regimes: other traces, in the same widget."""
        self._n_regimes, self._drawn = n_regimes, ()
        self.figure.data = ()
        self.figure.add_traces(figure.traces(n_regimes))

    def _look_at_zoom(self, _: Any, span: Any) -> None:
        """Stop following when somebody else than we has set the time axis."""
        if self.follows and self._span and list(span or ()) != self._span:
            self.follows = False
            self.on_zoom()


def _as_text(millis: float) -> str:
    moment = datetime.fromtimestamp(millis / 1_000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
