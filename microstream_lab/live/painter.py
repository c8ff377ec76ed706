"""Who draws, and when: a thread that is never ahead of the browser.

Invariant: at most ten times a second, the first news after a pause at once, and the next frame only
when the last one has been painted. Words and ink come first; the figure, which is slow to draw,
follows in a lull, so that no trade waits for it, or when ink no longer does.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from microstream_lab.live.alerts import Alert
from microstream_lab.live.view import MonitorView, Scene

__all__ = ["Frame", "Painter", "Subject"]

log = logging.getLogger(__name__)

_SHORTEST_S: Final = 0.1
_HEARTBEAT_S: Final = 1.0
_PATIENCE_S: Final = 2.0
_BREATH: Final = 0.25
"""Of the time a frame took, so much is left to the browser before the next one."""
_REST: Final = 10.0
"""So many times as long as the figure took, it is left alone: ink shows what is newer."""
_LULL_S: Final = 0.3
"""So long without news is a lull."""
_LONGEST_S: Final = 10.0
"""So long the figure waits for one: redrawn less often than once in a hundred frames."""
_TURN_S: Final = 0.001
_REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Frame:
    """What was painted.

    Parameters
    ----------
    number : int
        Of the frame.
    sent_at, painted_at : int
        When the last trade in it was sent, and when it was painted (us).
    is_figure : bool
        Whether it was the figure, rather than words and ink.
    """

    number: int = 0
    sent_at: int = 0
    painted_at: int = 0
    is_figure: bool = False

    @property
    def latency_us(self) -> int:
        """From the last trade to the pixels."""
        return self.painted_at - self.sent_at


class Subject(Protocol):
    """Who is painted."""

    def look(self) -> Scene:
        """What is to be seen now."""

    def judge(self, scene: Scene) -> Sequence[Alert]:
        """What is to be told about it."""

    def is_frozen(self) -> bool:
        """Whether figure and ink are to stay as they are."""

    def shown(self, frame: Frame) -> None:
        """A frame is on the screen with a trade that no earlier one showed."""


class Painter:
    """Paints a subject until it is closed.

    Parameters
    ----------
    view : MonitorView
        On what.
    subject : Subject
        Whom.

    Attributes
    ----------
    frames : deque of Frame
        The latest ones that the browser has painted.
    n_painted : int
        How many it has painted.
    """

    def __init__(self, view: MonitorView, subject: Subject) -> None:
        self._view, self._subject = view, subject
        self._news, self._ended = threading.Event(), threading.Event()
        self._painted = threading.Event()
        self._scene: Scene | None = None
        self._sent, self._shown_until = Frame(), 0
        self.frames: deque[Frame] = deque(maxlen=_REMEMBERED)
        self.n_painted = 0
        view.tiles.on_painted(self.note_painted)
        view.tiles.on_shown(self.begin_again)
        view.figure.on_ready(self.begin_again)
        view.on_zoom = self.wake
        self._thread = threading.Thread(target=self._paint, name="monitor", daemon=True)

    def start(self) -> None:
        """Begin."""
        # In a storm a thread that has something to say waits so long for its turn, several times.
        sys.setswitchinterval(min(sys.getswitchinterval(), _TURN_S))
        self._thread.start()

    def wake(self) -> None:
        """There is news."""
        self._news.set()

    def begin_again(self) -> None:
        """A page has begun to show the view: it knows nothing of what others were told."""
        self._view.renew()
        self._view.forget()
        self.wake()

    def close(self) -> None:
        """Draw no more."""
        for event in (self._ended, self._news, self._painted):
            event.set()
        if threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    @property
    def is_behind(self) -> bool:
        """Whether the figure is to be drawn."""
        scene = self._scene
        return scene is not None and not self._subject.is_frozen() and self._view.is_behind(scene)

    def note_painted(self, number: int, at: float) -> None:
        """The browser has painted a frame at `at` (us)."""
        frame = self._sent
        if self._ended.is_set() or number != frame.number:
            return
        painted, before = replace(frame, painted_at=int(at)), self._shown_until
        self.frames.append(painted)
        self.n_painted += 1
        self._shown_until = frame.sent_at
        if frame.sent_at > before:
            self._subject.shown(painted)
        self._painted.set()

    def _paint(self) -> None:
        """Draw what is new, else once a second what has grown older."""
        rested_at = 0.0
        while not self._ended.is_set():
            is_news = self._news.wait(self._patience_s(rested_at))
            self._news.clear()
            if self._ended.is_set():
                return
            spent = self._attempt(self._draw_words)
            if self._is_time(rested_at, is_news):
                took = self._attempt(self._draw_figure)
                rested_at = time.monotonic() + min(max(_REST * took, _SHORTEST_S), _PATIENCE_S)
                spent += took
            if is_news:
                self._ended.wait(max(_SHORTEST_S - spent, min(spent, _PATIENCE_S) * _BREATH))

    def _patience_s(self, rested_at: float) -> float:
        """How long to wait for news, now that the figure may be drawn from `rested_at` on."""
        if not self.is_behind:
            return _HEARTBEAT_S
        shortest = _LULL_S if self._can_wait else 0.0
        return min(max(shortest, rested_at - time.monotonic()), _HEARTBEAT_S)

    def _is_time(self, rested_at: float, is_news: bool) -> bool:
        """Whether to draw the figure now, after words that news brought or a lull."""
        rest = time.monotonic() - rested_at
        is_lull = not is_news or rest >= _LONGEST_S
        return self.is_behind and rest >= 0 and (is_lull or not self._can_wait)

    @property
    def _can_wait(self) -> bool:
        return self._scene is not None and self._view.can_wait(self._scene)

    def _attempt(self, draw: Callable[[], None]) -> float:
        """Draw, and return how many seconds it took until the browser had painted it."""
        began = time.monotonic()
        self._painted.clear()
        try:
            draw()
        except Exception:
            log.exception("the monitor could not draw")
        else:
            self._painted.wait(_PATIENCE_S)
        return time.monotonic() - began

    def _draw_words(self) -> None:
        """Tiles, events and ink."""
        scene = self._scene = self._subject.look()
        alerts = self._subject.judge(scene)
        self._expect(scene, False)
        self._view.draw(scene, alerts, self._subject.is_frozen())

    def _draw_figure(self) -> None:
        scene = self._scene or self._subject.look()
        self._expect(scene, True)
        self._view.catch_up(scene)

    def _expect(self, scene: Scene, is_figure: bool) -> None:
        """Remember what the next frame shows, before the browser can have painted it."""
        sent_at = scene.picture.sent_at
        self._sent = Frame(self._view.frame + 1, sent_at, is_figure=is_figure)
