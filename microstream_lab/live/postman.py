"""Takes bars from the store's outbox to the bus, for as long as a recorder runs.

Invariant: a bar leaves the outbox only after the broker has it; while the broker is away recording
goes on, and what has gathered is sent once it is back, in order.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from microstream_lab.bus.publisher import BarPublisher
from microstream_lab.bus.topics import ensure_topics
from microstream_lab.errors import MicrostreamError
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["Postman"]

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_ATTEMPT_S: Final = 10.0
_LEAVE_S: Final = 5.0


class Postman:
    """Publishes what a recorder stores, from a thread of its own.

    Parameters
    ----------
    store : Store
        Whose outbox.
    settings : Settings
        Where the broker is.
    symbols : sequence of str
        Whose bars.
    interval, market : str
        Of the bars.

    Attributes
    ----------
    n_published : int
        Bars the broker has taken.
    problem : str
        What keeps it from publishing at the moment; empty if nothing does.
    """

    def __init__(
        self, store: Store, settings: Settings, symbols: Sequence[str], interval: str, market: str
    ) -> None:
        self._store, self._settings = store, settings
        self._series = (list(symbols), interval, market)
        self._publisher: BarPublisher | None = None
        self._wake, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="postman", daemon=True)
        self.n_published, self.problem = 0, ""

    def start(self) -> None:
        """Begin, with what an earlier one has left."""
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """There is something in the outbox."""
        self._wake.set()

    def stop(self) -> None:
        """Publish what there is, if that is possible at once; the rest stays in the outbox."""
        self._ended.set()
        self._wake.set()
        self._thread.join(_LEAVE_S)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._ended.is_set():
            self._wake.wait()
            self._wake.clear()
            while not self._deliver() and not self._ended.wait(pause_s):
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            pause_s = _FIRST_PAUSE_S
        if self._publisher is not None:
            self._publisher.close()

    def _deliver(self) -> bool:
        """Empty the outbox; say whether that went well."""
        try:
            if self._publisher is None:
                ensure_topics(self._settings)
                self._publisher = BarPublisher(self._settings, _ATTEMPT_S)
            while posted := self._store.outbox(*self._series):
                self._publisher.publish([each.bar for each in posted])
                self._store.strike_off(posted)
                self.n_published += len(posted)
        except MicrostreamError as error:
            if str(error) != self.problem:
                log.warning("bars wait in the outbox: %s", error)
            self.problem = str(error)
            return False
        self.problem = ""
        return True
