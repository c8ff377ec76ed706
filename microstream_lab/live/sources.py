"""Where a live session's bars come from: Binance, a simulated market, or the store.

Invariant: a simulated market is always called simulated, and the same week is always the same
market, however often it is opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

from microstream_lab.errors import MicrostreamError, OfflineError, SettingsError
from microstream_lab.market.exchange import EndlessMarket, LocalExchange
from microstream_lab.market.offline import is_loopback
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.schema import Bar, interval_us, iter_bars
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["SOURCES", "Place", "SourceName", "follow", "open_exchange", "replay"]

SourceName = Literal["auto", "binance", "local", "replay", "store"]
SOURCES: Final[tuple[SourceName, ...]] = ("auto", "binance", "local", "replay", "store")
SIMULATED: Final = "SIMUSDT"
_REACHABLE_S: Final = 3.0
_POLL_S: Final = 0.5
_LOOKS, _LOOK_S = 20, 0.01


@dataclass(frozen=True, slots=True)
class Place:
    """An exchange that can be asked: settings with its addresses, the series, and a banner.

    ``ahead_us`` is how far this machine's clock is ahead of the exchange's, None if the exchange's
    runs at another speed.
    """

    settings: Settings
    market: str
    symbol: str
    banner: str = ""
    ahead_us: int | None = 0


@asynccontextmanager
async def open_exchange(
    source: SourceName, symbol: str, market: str, settings: Settings, speed: float, seed: int
) -> AsyncIterator[Place]:
    """An exchange for as long as the context lasts.

    Parameters
    ----------
    source : {"auto", "binance", "local"}
        ``auto`` is Binance if it answers within three seconds, and the simulated market otherwise.
    symbol, market : str
        What is wanted; the simulated market trades under its own name unless `symbol` was asked of
        it by name.
    settings : Settings
        Addresses of Binance.
    speed : float
        Of the simulated market, as a factor of real time.
    seed : int
        Of the simulated market.
    """
    why = "" if source == "local" else await _unreachable(settings, market)
    if source == "binance" and why:
        raise OfflineError(f"{rest_url(settings, market)}: {why}, expected an answer")
    if source != "local" and not why:
        yield Place(settings, market, symbol)
        return
    name = symbol if source == "local" and market == "sim" else SIMULATED
    async with _simulated(name, speed, seed) as exchange:
        addresses = {"binance_ws_url": exchange.ws_url, "binance_rest_url": exchange.rest_url}
        reason = f"Binance was not asked or did not answer ({why}). " if why else ""
        banner = f"{reason}This is the simulated market {name}: no price here is real."
        ahead_us = await _ahead(exchange) if speed == 1 else None
        yield Place(settings.model_copy(update=addresses), "sim", name, banner, ahead_us)


def _simulated(symbol: str, speed: float, seed: int) -> LocalExchange:
    """The market of this week, opened at this moment."""
    now = pd.Timestamp.now("UTC")
    monday = now.floor("D") - pd.Timedelta(days=now.weekday() + 1)
    week = int(monday.value // pd.Timedelta(days=7).value)
    return LocalExchange(
        EndlessMarket((symbol,), monday, seed=seed + week), speed=speed, play_from=now
    )


async def _ahead(exchange: LocalExchange) -> int:
    """How far the wall clock is ahead of the exchange's, which moves in small steps."""
    found = []
    for _ in range(_LOOKS):
        found.append(time.time_ns() // 1_000 - exchange.now)
        await asyncio.sleep(_LOOK_S)
    return min(found)


async def _unreachable(settings: Settings, market: str) -> str:
    """Why the exchange cannot be asked; empty if it answers."""
    url = rest_url(settings, market)
    if settings.microstream_offline and not is_loopback(url):
        return "MICROSTREAM_OFFLINE is set"
    try:
        async with asyncio.timeout(_REACHABLE_S):
            async with RestClient(url, market=market, settings=settings) as client:
                await client.ping()
    except TimeoutError:
        return f"no answer within {_REACHABLE_S:g} s"
    except MicrostreamError as error:
        return str(error)
    return ""


async def replay(
    store: Store, series: tuple[str, str, str], start: object, end: object, speed: float
) -> AsyncIterator[list[Bar]]:
    """Stored bars, one after the other, at `speed` times real time.

    Raises
    ------
    SettingsError
        If none are stored.
    """
    market, symbol, interval = series
    bars = await asyncio.to_thread(store.bars, symbol, interval, start, end, market)
    if bars.empty:
        raise SettingsError(f"replay: found no bars of {market} {symbol} {interval} in {store}")
    pause_s = interval_us(interval) / 1e6 / speed
    for bar in iter_bars(bars):
        yield [bar]
        await asyncio.sleep(pause_s)


async def follow(
    store: Store, series: tuple[str, str, str], since: int
) -> AsyncIterator[list[Bar]]:
    """Bars that a recorder writes, as they come: new ones from `since` (us) on, and repairs."""
    market, symbol, interval = series
    seen: dict[int, Bar] = {}
    step = interval_us(interval)
    while True:
        bars = await asyncio.to_thread(store.bars, symbol, interval, since, None, market)
        fresh = [bar for bar in iter_bars(bars) if seen.get(bar.open_time) != bar]
        if fresh:
            seen |= {bar.open_time: bar for bar in fresh}
            since = max(since, fresh[-1].open_time - 60 * step)  # repairs come late
            seen = {time: bar for time, bar in seen.items() if time >= since}
            yield fresh
        await asyncio.sleep(_POLL_S)
