"""Stores what a live session has closed and scored, a little later and off its loop.

Invariant: what cannot be stored now is tried again and never lost silently; the queue is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from microstream_lab.errors import StoreError
from microstream_lab.live.tidings import Scored
from microstream_lab.schema import Gap
from microstream_lab.store import Store

__all__ = ["Keeper"]

log = logging.getLogger(__name__)

_MOST: Final = 20_000


class Keeper:
    """Bars, signals and gaps on their way into a store.

    Parameters
    ----------
    store : Store, optional
        Where to; None keeps nothing.
    """

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.problem = ""
        self._scored: deque[Scored] = deque(maxlen=_MOST)
        self._gaps: deque[Gap] = deque(maxlen=_MOST)

    def add(self, tidings: list[Scored | Gap]) -> None:
        """Have these stored with the next :meth:`flush`."""
        if self.store is None:
            return
        for tiding in tidings:
            if isinstance(tiding, Gap):
                self._gaps.append(tiding)
            else:
                self._scored.append(tiding)

    async def flush(self) -> str:
        """Store what waits; return what stands in the way, empty if nothing does."""
        if self.store is None or not (self._scored or self._gaps):
            return ""
        scored, gaps = list(self._scored), list(self._gaps)
        try:
            await asyncio.to_thread(self._write, self.store, scored, gaps)
        except StoreError as error:
            log.warning("not stored yet: %s", error)
            self.problem = str(error)
            return self.problem
        for _ in scored:
            self._scored.popleft()
        for _ in gaps:
            self._gaps.popleft()
        self.problem = ""
        return ""

    @staticmethod
    def _write(store: Store, scored: list[Scored], gaps: list[Gap]) -> None:
        store.write_bars([each.bar for each in scored])
        store.write_signals([each.signal for each in scored if each.signal is not None])
        store.write_gaps(gaps)
