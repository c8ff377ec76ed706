"""The bars before a live session, as the exchange has them, and those of the store that will do.

Invariant: what is returned is one bars frame, ascending, each bar once; a stored bar known to be
incomplete gives way to the exchange's own.
"""

from __future__ import annotations

import pandas as pd

from microstream_lab.live.sources import Place
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.schema import PARTIAL, as_micros, interval_us

__all__ = ["fetch_since", "fetch_span", "usable"]

Series = tuple[str, str, str]


def usable(stored: pd.DataFrame, n_bars: int, now: int) -> pd.DataFrame:
    """Stored bars that a window of `n_bars` up to `now` (us) can begin with, perhaps none.

    They begin where the window does, and end before the first that is missing or incomplete.
    """
    if stored.empty:
        return stored
    step = interval_us(str(stored["interval"].iloc[0]))
    first = (now // step - n_bars) * step
    good = stored[stored["quality"] != PARTIAL]
    times = pd.DatetimeIndex(good.index).as_unit("us").asi8
    good, times = good[times >= first], times[times >= first]
    if not len(times) or times[0] != first:
        return good.iloc[:0]
    holes = (times[1:] - times[:-1] != step).nonzero()[0]
    return good.iloc[: holes[0] + 1] if len(holes) else good


async def fetch_since(
    place: Place, series: Series, stored: pd.DataFrame, n_bars: int
) -> pd.DataFrame:
    """The last `n_bars` bars up to now by the exchange's clock: stored ones, the rest fetched."""
    _, symbol, interval = series
    step = interval_us(interval)
    async with _client(place) as client:
        now = await client.server_time()
        good = usable(stored, n_bars, now)
        begin = (now // step - n_bars) * step
        if len(good):
            begin = as_micros(good.index[-1]) + step
        fetched = await client.klines(symbol, interval, begin, now)
    parts = [part for part in (good, fetched) if len(part)]
    return pd.concat(parts).sort_index() if parts else fetched


async def fetch_span(place: Place, series: Series, start: int, end: int) -> pd.DataFrame:
    """The exchange's own bars with `start` <= open_time < `end` (us)."""
    async with _client(place) as client:
        return await client.klines(series[1], series[2], start, end)


def _client(place: Place) -> RestClient:
    url = rest_url(place.settings, place.market)
    return RestClient(url, market=place.market, settings=place.settings)
