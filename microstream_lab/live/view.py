"""The widgets of the monitor: one figure, what stands around it, and how a picture gets there.

Invariant: there is exactly one ``FigureWidget``, whatever it shows, and it is changed in one batch
when bars have closed. Trades reach the screen without it, as words and as ink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import ipywidgets as widgets

from microstream_lab.live import figure
from microstream_lab.live.alerts import Alert
from microstream_lab.live.ink import ink_of
from microstream_lab.live.live_figure import LiveFigure
from microstream_lab.live.page_words import hear_while_busy
from microstream_lab.live.panel import Panel
from microstream_lab.live.state import Picture
from microstream_lab.live.tiles import event_rows, health_items, tile_data
from microstream_lab.live.watchlist import COLUMNS

__all__ = ["MonitorView", "Scene"]

_TOASTS = 5
_PAUSED = "Paused: the figure stands still while the data go on."
Json: TypeAlias = dict[str, Any]
_Spans = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, and how it is wanted.

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
    wanted : str
        Feature to show, if the bundle has it.
    n_shown : int
        Bars to show while following.
    """

    picture: Picture
    now: int
    title: str
    step_us: int
    wanted: str = ""
    n_shown: int = 500

    @property
    def feature(self) -> str:
        """The feature that is shown."""
        return figure.feature_of(self.picture, self.wanted)

    @property
    def looks(self) -> tuple[Any, ...]:
        """What changes the figure when it changes."""
        picture = self.picture
        return (picture.revision, picture.model, self.feature, self.n_shown)


class MonitorView:
    """Draws scenes.

    Attributes
    ----------
    figure : FigureWidget
        The only one.
    box : ipywidgets.VBox
        Everything, for the notebook to show.
    frame : int
        Number of the last frame that was sent.
    follows : bool
        Whether the axes follow the newest bar; False as soon as the user has zoomed or panned.
    """

    def __init__(self) -> None:
        self._n_regimes = 3
        self.figure = LiveFigure(figure.traces(self._n_regimes), figure.layout())
        self.tiles, self.events = Panel(part="tiles", looks=figure.looks()), Panel(part="events")
        self.watchlist = Panel(part="watchlist")
        self.controls = widgets.HBox(layout=widgets.Layout(flex_flow="row wrap"))
        parts = [self.tiles, self.controls, self.figure, self.watchlist, self.events]
        self.box = widgets.VBox(parts, layout=widgets.Layout(overflow="hidden"))
        self.box.add_class("microstream-monitor")
        hear_while_busy(*parts, self.box)
        self.follows = True
        self.on_zoom: Callable[[], None] = lambda: None
        self._spans: _Spans = {}
        self._span: list[str] = []
        self._drawn: tuple[Any, ...] = ()
        self._toasts: list[Json] = []
        self._n_toasts = 0
        self._tells_all = False
        self.frame = self._figure_frame = 0
        self._ends = (0, 0)
        self._ink: dict[str, Any] = {}
        self.figure.layout.on_change(self._look_at_zoom, ("xaxis", "range"))

    def draw(self, scene: Scene, alerts: Sequence[Alert] = (), frozen: bool = False) -> int:
        """Send a scene's words and ink to the browser; the figure stays as it is.

        Parameters
        ----------
        scene : Scene
            What to draw.
        alerts : sequence of Alert
            To be shown for a moment.
        frozen : bool
            Leave the ink as it is, too.

        Returns
        -------
        int
            Number of the frame.
        """
        picture = scene.picture
        self._toast(alerts)
        version = f"{scene.title} {picture.n_events}"
        if self.events.data.get("version") != version:
            self.events.data = {"events": event_rows(picture), "version": version}
        if not frozen:
            self._ink = ink_of(picture, scene.feature, self._ends[0], scene.step_us)
        return self._send(
            banner=" ".join(filter(None, [picture.banner, _PAUSED if frozen else ""])),
            tiles=tile_data(picture, scene.step_us, scene.now, scene.title),
            health=health_items(picture, scene.now),
            toasts=self._toasts,
            ink=self._ink,
        )

    def is_behind(self, scene: Scene) -> bool:
        """Whether the figure is to be drawn anew."""
        return self._drawn != scene.looks or (self.follows and not self._fits(scene.picture))

    def can_wait(self, scene: Scene) -> bool:
        """Whether ink does for this scene meanwhile: only bars have come, within the axes."""
        is_same = self._drawn[1:] == scene.looks[1:]
        return is_same and (not self.follows or self._fits(scene.picture))

    def catch_up(self, scene: Scene) -> int:
        """Send the figure of a scene to the browser and return the number of the frame."""
        picture, feature = scene.picture, scene.feature
        if picture.model is not None and picture.model.n_regimes != self._n_regimes:
            self._retrace(picture.model.n_regimes)
        is_new = self._drawn[:3] != scene.looks[:3]
        changes = figure.of_bars(picture, feature, scene.step_us) if is_new else {}
        if self.follows:
            self._spans = self._ranges(scene)
        self._figure_frame = self.frame + 1
        with self.figure.batch_update():
            for place, values in changes.items():
                self.figure.data[place].update(values, overwrite=True)
            self._set_ranges(self._spans if self.follows else {})
            self.figure.layout.annotations[0].text = feature or "feature"
            self.figure.layout.meta = self._figure_frame
        if self._tells_all:
            self.figure.tell_all()
            self._tells_all = False
        self._drawn = scene.looks
        self._ends = (self._ends[1], int(picture.times[-1]) if len(picture.times) else 0)
        return self._send()

    def layout_of(self, scene: Scene) -> Json:
        """The figure's layout for a scene: the axes of its bars, or those the user has chosen."""
        layout: Json = self.figure.layout.to_plotly_json()
        if self.follows:
            for axis, span in self._ranges(scene).items():
                layout[axis] = {**layout[axis], "range": span}
        layout["annotations"] = [{**each} for each in layout["annotations"]]
        layout["annotations"][0]["text"] = scene.feature or "feature"
        return layout

    def follow(self) -> None:
        """Let the axes follow the newest bar again."""
        self.follows, self._drawn, self._span = True, (), []

    @property
    def is_closed(self) -> bool:
        """Whether it is off the screen for good."""
        return self.figure.comm is None

    def close(self) -> None:
        """Take everything off the screen for good."""
        for widget in (*self.controls.children, *self.box.children, self.box):
            widget.close()

    def renew(self) -> None:
        """Give pages the state as it is now: one that restored itself may have an older one."""
        self.figure.renew()
        self.controls.send_state("children")
        self.box.send_state()

    def forget(self) -> None:
        """Draw everything anew with the next scene, and tell it even who was told already."""
        self._drawn, self._ends, self._tells_all = (), (0, 0), True

    def replace_controls(self, controls: Sequence[widgets.Widget]) -> None:
        """Show these controls instead of those before, which are closed."""
        hear_while_busy(*controls)
        before, self.controls.children = self.controls.children, tuple(controls)
        for control in before:
            control.close()

    def list_sessions(self, rows: Sequence[Json], shown: str) -> None:
        """Show the watchlist, with the row of the title `shown` marked."""
        self.watchlist.data = {"columns": COLUMNS, "rows": list(rows), "shown": shown}

    def _toast(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            self._n_toasts += 1
            toast = {"id": self._n_toasts, "text": alert.text, "color": alert.color}
            self._toasts = [*self._toasts, toast][-_TOASTS:]

    def _send(self, **words: Any) -> int:
        self.frame += 1
        numbers = {"frame": self.frame, "figure": self._figure_frame}
        self.tiles.data = {**self.tiles.data, **words, **numbers}
        return self.frame

    def _fits(self, picture: Picture) -> bool:
        """Whether the forming bar is within the axes."""
        bar, spans = picture.forming, self._spans
        if bar is None or "yaxis" not in spans:
            return True
        (low, high), (_, last) = spans["yaxis"], spans["xaxis"]
        return low <= bar.low <= bar.high <= high and bar.open_time / 1_000 <= last

    @staticmethod
    def _ranges(scene: Scene) -> _Spans:
        return figure.ranges(scene.picture, scene.feature, scene.n_shown, scene.step_us)

    def _set_ranges(self, spans: _Spans) -> None:
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
