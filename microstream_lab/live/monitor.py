"""The live monitor: a session on the screen of a notebook.

Invariant: drawing happens in a thread of its own, at most ten times a second, and never ahead of
the browser: the next frame is sent when the last one has been painted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, Final

from microstream_lab.live.alerts import (
    Alert,
    AlertBook,
    AlertRule,
    AnomalyStreak,
    FeedStale,
    RegimeEntered,
)
from microstream_lab.live.controls import Controls
from microstream_lab.live.session import LiveSession
from microstream_lab.live.snapshot import standalone_html
from microstream_lab.live.view import MonitorView
from microstream_lab.schema import interval_us

__all__ = ["RegimeMonitor"]

log = logging.getLogger(__name__)

_SHORTEST_S: Final = 0.1
_HEARTBEAT_S: Final = 1.0
_PATIENCE_S: Final = 2.0
_BREATH: Final = 0.5
"""Of the time a frame took, so much is left to the browser before the next one."""
_BELIEVABLE_US: Final = 60_000_000


class RegimeMonitor:
    """Shows a live session; the last line of a cell, or passed to ``display``.

    Parameters
    ----------
    session : LiveSession
        What to show; it is started if it is new.
    alerts : iterable of AlertRule
        When to call somebody: by default when the worst regime is entered, after three anomalous
        bars in a row, and when the feed is stale.
    on_alert : callable, optional
        Called with each :class:`~microstream_lab.live.alerts.Alert`, from the drawing thread.

    Notes
    -----
    A second monitor in the same kernel closes the first one and its widgets, so that there is one
    figure however often the cell is run. The figure itself cannot be shown twice in a row: plotly's
    first view, when removed, goes on listening and breaks the updates of the second.
    """

    _current: ClassVar[RegimeMonitor | None] = None

    def __init__(
        self,
        session: LiveSession,
        alerts: Iterable[AlertRule] = (RegimeEntered(), AnomalyStreak(), FeedStale()),
        on_alert: Callable[[Alert], None] | None = None,
    ) -> None:
        earlier = RegimeMonitor._current
        if earlier is not None:
            earlier.close()
            earlier.view.close()
        self.view: MonitorView = MonitorView()
        self._rules, self._on_alert = tuple(alerts), on_alert
        self._news, self._ended = threading.Event(), threading.Event()
        self._painted = threading.Event()
        self._unlisten: Callable[[], None] = _nothing
        self._sent: tuple[int, int, int] = (0, 0, 0)
        self.n_painted = 0
        self.controls = Controls(session, self._news.set, self.view.follow, self.watch)
        self.view.controls.children = self.controls.children
        self.view.on_zoom = self._news.set
        self.view.tiles.on_painted(self._note_painted)
        self.session = session
        self._watch(session)
        self._thread = threading.Thread(target=self._paint, name="monitor", daemon=True)
        self._thread.start()
        RegimeMonitor._current = self

    def watch(self, session: LiveSession) -> None:
        """Show another session and stop the one that was shown."""
        before = self.session
        self._unlisten()
        self._watch(session)
        before.stop()

    def close(self) -> None:
        """Draw no more; the session goes on."""
        self._ended.set()
        self._news.set()
        self._painted.set()
        self._unlisten()
        self._unlisten = _nothing
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE_S)

    def snapshot(self, path: Path | str | None = None) -> str:
        """The monitor as it stands, as one HTML page that needs nothing else.

        Parameters
        ----------
        path : Path or str, optional
            Where to write it, too.
        """
        now = _now()
        page = standalone_html(self.view.figure, self.session.picture(), now, self.session.title)
        if path is not None:
            Path(path).expanduser().write_text(page, "utf-8")
        return page

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view.box)
        self._news.set()

    def _watch(self, session: LiveSession) -> None:
        self.session, self._book = session, AlertBook(self._rules)
        self.view.forget()
        self.view.follow()
        self._unlisten = session.listen(self._news.set)
        if session.status().phase == "new":
            session.start()
        self._news.set()

    def _paint(self) -> None:
        """Draw when there is news, else once a second, and wait for the browser each time."""
        while not self._ended.is_set():
            self._news.wait(_HEARTBEAT_S)
            self._news.clear()
            if self._ended.is_set():
                return
            began = time.monotonic()
            try:
                self._draw()
            except Exception:
                log.exception("the monitor could not draw")
            self._painted.wait(_PATIENCE_S)
            spent = time.monotonic() - began
            self._ended.wait(max(_SHORTEST_S - spent, min(spent, _PATIENCE_S) * _BREATH))

    def _draw(self) -> None:
        session, controls, now = self.session, self.controls, _now()
        picture = session.picture()
        alerts = self._book.update(picture)
        controls.offer(picture.model.features if picture.model else ())
        self._painted.clear()
        before = self._sent
        frame = self.view.draw(
            picture,
            now,
            session.title,
            interval_us(session.interval),
            controls.feature,
            controls.n_shown,
            alerts,
            controls.frozen,
        )
        self._sent = (frame, picture.sent_at, before[1])
        for alert in alerts:
            if self._on_alert is not None:
                self._on_alert(alert)

    def _note_painted(self, frame: int, at: float) -> None:
        """The browser has painted a frame at `at` (us)."""
        number, sent_at, before = self._sent
        if self._ended.is_set() or frame != number:
            return
        self.n_painted += 1
        latency = int(at) - sent_at
        if sent_at > before and 0 <= latency < _BELIEVABLE_US:
            self.session.drawn(latency)
        self._painted.set()


def _nothing() -> None:
    """What is left to do."""


def _now() -> int:
    return time.time_ns() // 1_000
