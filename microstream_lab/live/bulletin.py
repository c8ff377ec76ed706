"""What a live session has told so far and how far it is, for readers in any thread.

Invariant: a reader never sees half a batch, and once the session has ended nothing changes any
more, whatever is still said by what was left behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

from microstream_lab.errors import MicrostreamError
from microstream_lab.live.state import MonitorState, Picture
from microstream_lab.live.tidings import Note, Tiding

__all__ = ["Bulletin", "Phase"]

log = logging.getLogger(__name__)

Phase = Literal["new", "starting", "live", "stopped", "ended", "failed"]
_RUNS: Final = ("starting", "live")


class Bulletin:
    """The state of a monitor, the phase of a session, and who wants to know.

    Parameters
    ----------
    state : MonitorState
        Takes what is told.

    Attributes
    ----------
    phase : str
        See :class:`~microstream_lab.live.session_status.SessionStatus`.
    failure : MicrostreamError or None
        What the session failed with.
    abandoned : tuple of str
        What its end did not wait for.
    """

    def __init__(self, state: MonitorState) -> None:
        self._state = state
        self._lock, self._changed = threading.Lock(), threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self.phase: Phase = "new"
        self.failure: MicrostreamError | None = None
        self.abandoned: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether the session has begun and not ended."""
        return self.phase in _RUNS

    def begin(self) -> None:
        """The session starts."""
        self.phase = "starting"

    def take(self, tidings: list[Tiding], is_live: bool) -> None:
        """Take a batch; `is_live` once bars are coming."""
        with self._lock:
            if not self.runs:
                return
            for tiding in tidings:
                self._state.update(tiding)
            if is_live:
                self.phase = "live"
        self._tell()

    def end(
        self,
        phase: Phase,
        failure: MicrostreamError | None = None,
        abandoned: tuple[str, ...] = (),
    ) -> bool:
        """The session has ended; False if that was known."""
        left = f"{phase}; left behind: {'; '.join(abandoned)}" if abandoned else ""
        words = [f"the session has ended: {failure}" if failure else "", left]
        with self._lock:
            if not self.runs:
                return False
            self.phase, self.failure, self.abandoned = phase, failure, abandoned
            for text in filter(None, words):
                self._state.update(Note(time.time_ns() // 1_000, text, "error"))
        if left:
            log.warning("live session %s", left)
        self._tell()
        return True

    def picture(self, now: int) -> Picture:
        """What is to be seen at `now` (us)."""
        with self._lock:
            return self._state.picture(now)

    def drawn(self, latency_us: int) -> None:
        """A frame was painted so long after its last trade."""
        with self._lock:
            self._state.drawn(latency_us)

    def latencies_us(self) -> tuple[int, ...]:
        """Of the last frames that were painted, oldest first."""
        with self._lock:
            return self._state.latencies_us

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change; returns how to end it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def wait(self, holds: Callable[[], bool], timeout_s: float | None) -> None:
        """Wait until `holds`, until the session has ended or until the time is up."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while self.runs and not holds():
                left = 1.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(min(left, 1.0))  # a signal such as Ctrl-C gets its turn

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:
                log.exception("a listener of a live session failed")
