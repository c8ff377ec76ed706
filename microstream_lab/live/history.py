"""The bars before a live session: from the store, then from the exchange.

Invariant: what is returned is one bars frame, ascending, each bar once; a stored bar known to be
incomplete gives way to the exchange's own.
"""

from __future__ import annotations

import pandas as pd

from microstream_lab.live.sources import Place
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.schema import PARTIAL, as_micros, interval_us
from microstream_lab.store import Store

__all__ = ["fetch_since", "fetch_span", "recent"]

Series = tuple[str, str, str]


def recent(store: Store, series: Series, n_bars: int, before: object = None) -> pd.DataFrame:
    """The last `n_bars` stored bars of a series, or those `before` a time; perhaps none."""
    market, symbol, interval = series
    if not store.status().exists:
        return pd.DataFrame()
    if before is None:
        coverage = store.coverage(symbol, interval, market)
        if coverage.last is None:
            return pd.DataFrame()
        before = as_micros(coverage.last) + interval_us(interval)
    start = as_micros(before) - n_bars * interval_us(interval)
    return store.bars(symbol, interval, start, before, market)


async def fetch_since(
    place: Place, series: Series, stored: pd.DataFrame, n_bars: int
) -> pd.DataFrame:
    """The last `n_bars` bars up to now by the exchange's clock: stored ones, the rest fetched."""
    _, symbol, interval = series
    step = interval_us(interval)
    async with _client(place) as client:
        now = await client.server_time()
        first = (now // step - n_bars) * step
        good = stored[stored["quality"] != PARTIAL] if len(stored) else stored
        good = _last_run(good, first, step)
        begin = first if good.empty else as_micros(good.index[-1]) + step
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


def _last_run(bars: pd.DataFrame, first: int, step: int) -> pd.DataFrame:
    """Bars from `first` (us) on without a hole; none unless they begin there."""
    if bars.empty:
        return bars
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    bars, times = bars[times >= first], times[times >= first]
    if not len(times) or times[0] != first:
        return bars.iloc[:0]
    holes = (times[1:] - times[:-1] != step).nonzero()[0]
    return bars.iloc[: holes[0] + 1] if len(holes) else bars
