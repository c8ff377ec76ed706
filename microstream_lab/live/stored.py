"""Bars for a live session from the store: played again, or as a recorder writes them.

Invariant: bars come in order of time, each once unless it was made anew; however much is stored,
only a part of it is held.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import pandas as pd

from microstream_lab.errors import SettingsError, StoreError, StoreLockedError
from microstream_lab.live.background import in_thread
from microstream_lab.schema import Bar, as_micros, interval_us, iter_bars
from microstream_lab.store import Store

__all__ = ["follow", "recent", "replay"]

log = logging.getLogger(__name__)

Series = tuple[str, str, str]

_PART: Final = 5_000
_POLL_S: Final = 0.5
_REPAIRS: Final = 60
"""So many bars back a recorder's repairs are looked for."""


def recent(store: Store, series: Series, n_bars: int, before: object = None) -> pd.DataFrame:
    """The last `n_bars` stored bars of a series, or those `before` a time; perhaps none."""
    market, symbol, interval = series
    if not store.status().exists:
        return pd.DataFrame()
    if before is None:
        last = store.coverage(symbol, interval, market).last
        if last is None:
            return pd.DataFrame()
        before = as_micros(last) + interval_us(interval)
    start = as_micros(before) - n_bars * interval_us(interval)
    return store.bars(symbol, interval, start, before, market)


async def replay(
    store: Store, series: Series, start: object, end: object, speed: float
) -> AsyncIterator[list[Bar]]:
    """Stored bars with `start` <= open_time < `end`, one by one, at `speed` times real time.

    Raises
    ------
    SettingsError
        If none are stored.
    """
    market, symbol, interval = series
    covered = await in_thread(
        "reading the store", store.coverage, symbol, interval, market, start, end
    )
    if covered.first is None or covered.last is None:
        raise SettingsError(
            f"replay: found no bars of {market} {symbol} {interval} in {store.path}, expected some"
        )
    step = interval_us(interval)
    pause_s, stop = step / 1e6 / speed, as_micros(covered.last) + step
    for begin in range(as_micros(covered.first), stop, _PART * step):
        span = (begin, min(begin + _PART * step, stop))
        bars = await in_thread("reading the store", store.bars, symbol, interval, *span, market)
        for bar in iter_bars(bars):
            yield [bar]
            await asyncio.sleep(pause_s)


async def follow(store: Store, series: Series, since: int) -> AsyncIterator[list[Bar]]:
    """Bars that a recorder writes, as they come: new ones from `since` (us) on, and repairs.

    There is a list for each look, empty if nothing is new. A store that is not there yet, or held
    by somebody else for long, is looked for again.
    """
    step, seen = interval_us(series[2]), dict[int, Bar]()
    while True:
        bars = await in_thread("reading the store", _stored_since, store, series, since)
        fresh = [bar for bar in iter_bars(bars) if seen.get(bar.open_time) != bar]
        if fresh:
            seen |= {bar.open_time: bar for bar in fresh}
            since = max(since, fresh[-1].open_time - _REPAIRS * step)
            seen = {time: bar for time, bar in seen.items() if time >= since}
        yield fresh
        await asyncio.sleep(_POLL_S)


def _stored_since(store: Store, series: Series, since: int) -> pd.DataFrame:
    market, symbol, interval = series
    try:
        return store.bars(symbol, interval, since, None, market)
    except StoreLockedError as error:
        log.warning("not read yet: %s", error)
    except StoreError:
        if store.status().exists:
            raise
    return pd.DataFrame()
