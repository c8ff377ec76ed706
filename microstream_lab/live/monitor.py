"""The live monitor: sessions on the screen of a notebook.

Invariant: nothing here computes or waits; sessions run by themselves, a painter draws, and what the
user wants is asked of the controls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
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
from microstream_lab.live.painter import Frame, Painter
from microstream_lab.live.session import LiveSession
from microstream_lab.live.snapshot import standalone_html
from microstream_lab.live.view import MonitorView, Scene
from microstream_lab.live.watchlist import Glance, watchlist_rows
from microstream_lab.schema import interval_us

__all__ = ["RegimeMonitor"]

_BELIEVABLE_US: Final = 60_000_000
_GLANCE_US: Final = 1_000_000


class RegimeMonitor:
    """Shows live sessions; the last line of a cell, or passed to ``display``.

    Parameters
    ----------
    session : LiveSession or sequence of LiveSession
        What to show; started if new. Of several the first is shown and all are listed: a click on
        one shows it, while the others go on.
    alerts : iterable of AlertRule
        When to call somebody: by default when the worst regime is entered, after three anomalous
        bars in a row, and when the feed is stale.
    on_alert : callable, optional
        Called with each :class:`~microstream_lab.live.alerts.Alert`, from the drawing thread.

    Attributes
    ----------
    session : LiveSession
        The one that is shown.
    sessions : list of LiveSession
        All of them.
    view : MonitorView
        The widgets.

    Notes
    -----
    A second monitor in the same kernel takes over the widgets of the first, which draws no more:
    there is one figure, however often the cell is run.
    """

    _current: ClassVar[RegimeMonitor | None] = None

    def __init__(
        self,
        session: LiveSession | Sequence[LiveSession],
        alerts: Iterable[AlertRule] = (RegimeEntered(), AnomalyStreak(), FeedStale()),
        on_alert: Callable[[Alert], None] | None = None,
    ) -> None:
        self.sessions = list(session) if isinstance(session, Sequence) else [session]
        self.session = self.sessions[0]
        self._rules, self._on_alert = tuple(alerts), on_alert
        self.view: MonitorView = self._take_over()
        self._glanced_at = 0
        self._unlisten: Callable[[], None] = _nothing
        self._painter = Painter(self.view, self)
        self.controls = Controls(self.session, self._painter.wake, self.view.follow, self.watch)
        self.view.replace_controls(self.controls.children)
        self.view.watchlist.on_picked(self._pick)
        for each in self.sessions:
            _start(each)
        self.show(self.session)
        self._painter.start()
        RegimeMonitor._current = self

    @property
    def frames(self) -> list[Frame]:
        """The latest frames that the browser has painted, oldest first."""
        return list(self._painter.frames)

    @property
    def n_painted(self) -> int:
        """How many frames the browser has painted."""
        return self._painter.n_painted

    def show(self, session: LiveSession) -> None:
        """Show another session; the one that was shown goes on."""
        self._unlisten()
        self.session, self._book = session, AlertBook(self._rules)
        self.view.forget()
        self.view.follow()
        self.controls.show(session)
        self._unlisten = session.listen(self._painter.wake)
        _start(session)
        self._glanced_at = 0
        self._painter.wake()

    def watch(self, session: LiveSession) -> None:
        """Show another session in the place of the one that is shown, which is stopped."""
        before = self.session
        self.sessions[self.sessions.index(before)] = session
        self.show(session)
        before.stop()

    def close(self) -> None:
        """Draw no more; the sessions go on."""
        self._unlisten()
        self._unlisten = _nothing
        self._painter.close()

    def snapshot(self, path: Path | str | None = None) -> str:
        """The monitor as it stands, as one HTML page that needs nothing else.

        Parameters
        ----------
        path : Path or str, optional
            Where to write it, too.
        """
        scene = self.look()
        page = standalone_html(scene, self.view.layout_of(scene))
        if path is not None:
            Path(path).expanduser().write_text(page, "utf-8")
        return page

    def look(self) -> Scene:
        """What is to be seen now."""
        session, controls, now = self.session, self.controls, _now()
        picture = session.picture()
        controls.offer(picture.model.features if picture.model else ())
        if len(self.sessions) > 1 and now >= self._glanced_at + _GLANCE_US:
            self._glanced_at = now
            self.view.list_sessions(watchlist_rows(self._glances(), now), session.title)
        step = interval_us(session.interval)
        return Scene(picture, now, session.title, step, controls.feature, controls.n_shown)

    def judge(self, scene: Scene) -> list[Alert]:
        """What is to be told about it."""
        alerts = self._book.update(scene.picture)
        for alert in alerts:
            if self._on_alert is not None:
                self._on_alert(alert)
        return alerts

    def is_frozen(self) -> bool:
        """Whether figure and ink are to stay as they are."""
        return self.controls.frozen

    def shown(self, frame: Frame) -> None:
        """Tell the session how long its newest trade took to the screen."""
        if 0 <= frame.latency_us < _BELIEVABLE_US:
            self.session.drawn(frame.latency_us)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        self.view.renew()
        display(self.view.box)
        self._painter.begin_again()

    def _glances(self) -> list[Glance]:
        return [(each.title, each.picture()) for each in self.sessions]

    def _pick(self, place: int) -> None:
        if 0 <= place < len(self.sessions) and self.sessions[place] is not self.session:
            self.show(self.sessions[place])

    @classmethod
    def _take_over(cls) -> MonitorView:
        """The widgets of the monitor before, or new ones."""
        earlier = cls._current
        if earlier is None:
            return MonitorView()
        earlier.close()
        return MonitorView() if earlier.view.is_closed else earlier.view


def _start(session: LiveSession) -> None:
    if session.status().phase == "new":
        session.start()


def _nothing() -> None:
    """What is left to do."""


def _now() -> int:
    return time.time_ns() // 1_000
