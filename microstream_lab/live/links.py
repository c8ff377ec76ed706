"""The connections of a session's feed, watched so that whoever looks knows at once.

Invariant: a lost connection and a silence are told within half a second, once each, and one that
cannot be opened after ten seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from operator import gt
from typing import Final

import msgspec

from microstream_lab.live.pipeline import Pipeline
from microstream_lab.live.tidings import Heard, Link, Stale, Tiding

__all__ = ["Listener", "watch_links"]

_LOOK_S: Final = 0.25
_PATIENCE_US: Final = 10_000_000


class Listener:
    """Tells when somebody who has no connection to us falls silent, and when he is heard again.

    Parameters
    ----------
    symbol : str
        Of what is to be heard.
    patience_us : int
        How long nothing may come.
    now : int
        When waiting begins (us).
    """

    def __init__(self, symbol: str, patience_us: int, now: int) -> None:
        self._symbol, self._patience_us = symbol, patience_us
        self._heard_at, self._is_told = now, False

    def look(self, is_news: bool, now: int) -> list[Tiding]:
        """What there is to tell at `now` (us), when something has come or not."""
        if is_news:
            was_told, self._is_told, self._heard_at = self._is_told, False, now
            return [Heard(now)] if was_told else []
        if self._is_told or now - self._heard_at <= self._patience_us:
            return []
        self._is_told = True
        return [Stale(self._symbol, self._heard_at, now)]


async def watch_links(
    pipeline: Pipeline, symbol: str, tell: Callable[[list[Tiding]], None]
) -> None:
    """Tell lost connections and silences until cancelled."""
    status, counters = pipeline.stream.status, pipeline.feed.counters
    reasons, link = (0, 0, False), Link(0, 0, 0)
    newest, heard_at = None, time.time_ns() // 1_000
    while True:
        now, last = time.time_ns() // 1_000, pipeline.assembler.last_trade(symbol)
        if last is not newest:
            newest, heard_at = last, now  # by our clock: a market may have another
        is_overdue = status.openings == 0 and now - heard_at > _PATIENCE_US
        before, reasons = reasons, (status.losses, counters.stale, is_overdue)
        if any(map(gt, reasons, before)):
            tell([Stale(symbol, heard_at, now)])
        known, link = link, Link(status.losses, status.dials, link.at, status.n_open == 0)
        if link != known:
            link = msgspec.structs.replace(link, at=now)
            tell([link])
        await asyncio.sleep(_LOOK_S)
