"""Bars that closed between the history of a session and the first bar of its stream.

Invariant: they are waited for a moment, so that as a rule bars come in order; an exchange that does
not answer holds up nothing, and they are fitted in when it does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final

import pandas as pd

from microstream_lab.errors import MicrostreamError
from microstream_lab.live.history import fetch_span
from microstream_lab.live.sources import Place
from microstream_lab.market.retry import delays_s
from microstream_lab.schema import Bar, interval_us, iter_bars

__all__ = ["Mending"]

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 2.0


class Mending:
    """Looks for the bars of one hole.

    Parameters
    ----------
    place : Place
        Whom to ask.
    series : tuple of str
        Market, symbol and interval.
    """

    def __init__(self, place: Place, series: tuple[str, str, str]) -> None:
        self._place, self._series = place, series
        self._step = interval_us(series[2])
        self._asking: asyncio.Task[pd.DataFrame] | None = None

    async def before(self, bars: Sequence[Bar], last: int) -> list[Bar]:
        """What is now known of the bars between the one of `last` (us) and the first of `bars`."""
        first = min((bar.open_time for bar in bars), default=0)
        if self._asking is None and last and first > last + self._step:
            self._asking = asyncio.create_task(self._ask(last + self._step, first))
            await asyncio.wait([self._asking], timeout=_PATIENCE_S)
        if self._asking is None or not self._asking.done():
            return []
        found, self._asking = self._asking.result(), None
        return list(iter_bars(found))

    async def _ask(self, start: int, end: int) -> pd.DataFrame:
        for delay_s in delays_s(random.Random(), first_s=1.0):
            try:
                return await fetch_span(self._place, self._series, start, end)
            except MicrostreamError as error:
                log.warning("bars before the first are missing: %s", error)
            await asyncio.sleep(delay_s)
        raise AssertionError("delays have no end")
