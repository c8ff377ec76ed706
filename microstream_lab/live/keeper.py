"""Stores what a live session has closed, scored and told of drift, a little later and off its loop.

Invariant: what cannot be stored now is tried again; the queue is bounded, and what had to be
dropped from it is counted and told, never lost silently.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, TypeAlias

from microstream_lab.errors import MicrostreamError
from microstream_lab.live.background import in_thread
from microstream_lab.live.tidings import Scored
from microstream_lab.models.drift_report import DriftReport
from microstream_lab.schema import Gap
from microstream_lab.store import Store

__all__ = ["Keeper", "Kept"]

Kept: TypeAlias = Scored | Gap | DriftReport

log = logging.getLogger(__name__)

_MOST: Final = 20_000


class Keeper:
    """Bars, signals, gaps and drift on their way into a store.

    Parameters
    ----------
    store : Store, optional
        Where to; None keeps nothing.
    most : int
        How many may wait; beyond that the oldest are dropped.

    Attributes
    ----------
    n_dropped : int
        How many were.
    n_taken : int
        How many bars and gaps were to be stored so far.
    """

    def __init__(self, store: Store | None, most: int = _MOST) -> None:
        self.store = store
        self.n_dropped = self.n_taken = 0
        self._most = most
        self._waiting: deque[Kept] = deque()
        self._n_written = 0

    @property
    def n_waiting(self) -> int:
        """How many bars and gaps are not stored yet."""
        return len(self._waiting)

    @property
    def n_settled(self) -> int:
        """How many of those taken wait no more."""
        return self.n_taken - len(self._waiting)

    def add(self, tidings: Iterable[Kept]) -> None:
        """Have these stored with the next :meth:`flush`."""
        if self.store is None:
            return
        n_before = len(self._waiting)
        self._waiting.extend(tidings)
        self.n_taken += len(self._waiting) - n_before
        while len(self._waiting) > self._most:
            self._waiting.popleft()
            if self._n_written:
                self._n_written -= 1  # it was on its way
            else:
                self.n_dropped += 1

    async def flush(self) -> str:
        """Store what waits; return what stands in the way, empty if nothing does."""
        if self.store is None or not self._waiting:
            return ""
        batch = list(islice(self._waiting, self._most))
        self._n_written = len(batch)
        try:
            await in_thread(f"storing {len(batch)} bars", _write, self.store, batch)
        except MicrostreamError as error:
            log.warning("not stored yet: %s", error)
            self._n_written = 0
            return str(error)
        while self._n_written:
            self._waiting.popleft()
            self._n_written -= 1
        return ""


def _write(store: Store, batch: list[Kept]) -> None:
    scored = [each for each in batch if isinstance(each, Scored)]
    store.write_bars([each.bar for each in scored])
    store.write_signals([each.signal for each in scored if each.signal is not None])
    store.write_gaps([each for each in batch if isinstance(each, Gap)])
    store.write_drift([each for each in batch if isinstance(each, DriftReport)])
