"""The monitor's controls: freeze, follow, feature, how many bars, which series, how fast.

Invariant: a control only says what is wanted; whoever draws asks it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import ipywidgets as widgets

from microstream_lab.errors import MicrostreamError
from microstream_lab.live.session import LiveSession
from microstream_lab.live.sources import SOURCES
from microstream_lab.schema import INTERVALS

__all__ = ["Controls"]

_SPEEDS: Final = (1.0, 10.0, 60.0, 600.0)
_SPANS: Final = (60, 120, 250, 500, 1_000, 2_000)


class Controls:
    """Buttons and menus of a monitor.

    Parameters
    ----------
    session : LiveSession
        What is shown at first.
    redraw, follow : callable
        Called when something else is to be seen; when the axes are to follow again.
    watch : callable
        Called with a session to be shown instead.
    """

    def __init__(
        self,
        session: LiveSession,
        redraw: Callable[[], None],
        follow: Callable[[], None],
        watch: Callable[[LiveSession], None],
    ) -> None:
        self._session, self._redraw, self._follow, self._watch = session, redraw, follow, watch
        narrow, wide = widgets.Layout(width="96px"), widgets.Layout(width="auto")
        self._pause = widgets.ToggleButton(description="Pause", layout=narrow)
        self._newest = widgets.Button(description="Follow", layout=narrow)
        self._feature = widgets.Dropdown(options=["feature"], layout=wide)
        spans = [(f"{n} bars", n) for n in _SPANS if n < session.window]
        spans.append((f"{session.window} bars", session.window))
        self._span = widgets.Dropdown(options=spans, value=session.window, layout=wide)
        _, symbol, interval = session.series
        self._symbol = widgets.Text(symbol, layout=widgets.Layout(width="110px"))
        self._interval = widgets.Dropdown(options=list(INTERVALS), value=interval, layout=wide)
        self._source = widgets.Dropdown(options=SOURCES, value=session.source, layout=wide)
        speeds = sorted({*_SPEEDS, session.speed})
        self._speed = widgets.Dropdown(
            options=[(f"{speed:g}x", speed) for speed in speeds], value=session.speed, layout=wide
        )
        self._go = widgets.Button(description="Watch", layout=narrow)
        self.children = (
            *(self._pause, self._newest, self._feature, self._span),
            *(self._symbol, self._interval, self._source, self._speed, self._go),
        )
        self._connect()

    @property
    def frozen(self) -> bool:
        """Whether the figure is to stay as it is."""
        return bool(self._pause.value)

    @property
    def feature(self) -> str:
        """The feature that is wanted."""
        return str(self._feature.value)

    @property
    def n_shown(self) -> int:
        """How many bars are wanted."""
        return int(self._span.value)

    def offer(self, features: Sequence[str]) -> None:
        """Let the user choose among these."""
        if features and tuple(self._feature.options) != tuple(features):
            wanted = self._feature.value
            self._feature.options = features
            if wanted in features:
                self._feature.value = wanted

    def show(self, session: LiveSession) -> None:
        """Say what is shown now."""
        self._session = session
        _, self._symbol.value, self._interval.value = session.series
        self._source.value = session.source
        if any(speed == session.speed for _, speed in self._speed.options):
            self._speed.value = session.speed

    def _connect(self) -> None:
        for control in (self._pause, self._feature, self._span):
            control.observe(lambda _: self._redraw(), "value")
        self._pause.observe(self._name_pause, "value")
        self._newest.on_click(lambda _: (self._follow(), self._redraw()))
        self._go.on_click(lambda _: threading.Thread(target=self._switch, daemon=True).start())

    def _name_pause(self, _: Any) -> None:
        self._pause.description = "Paused" if self._pause.value else "Pause"

    def _switch(self) -> None:
        """Watch another series; what cannot be is said on the button."""
        try:
            session = self._session.another(
                *(self._symbol.value.strip(), str(self._interval.value), self._source.value),
                speed=float(self._speed.value),
            )
            self._watch(session)
        except MicrostreamError as error:
            self._go.tooltip = str(error)
            self._go.button_style = "danger"
        else:
            self._go.tooltip = self._go.button_style = ""
