"""Where a live session's trades come from: Binance, or a simulated market.

Invariant: a simulated market is always called simulated, and the same week is always the same
market, however often it is opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import pandas as pd

from microstream_lab.errors import ExchangeError, MicrostreamError, OfflineError
from microstream_lab.live.background import in_thread
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.settings import Settings

if TYPE_CHECKING:  # it compiles its loops: only who opens a simulated market waits for that
    from microstream_lab.market.exchange import LocalExchange

__all__ = ["SOURCES", "Place", "SourceName", "open_exchange"]

SourceName = Literal["auto", "binance", "local", "replay", "store", "bus"]
SOURCES: Final[tuple[SourceName, ...]] = ("auto", "binance", "local", "replay", "store", "bus")
SIMULATED: Final = "SIMUSDT"
_REACHABLE_S: Final = 3.0
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
    why = None if source == "local" else await _unreachable(settings, market)
    if source == "binance" and why is not None:
        raise why
    if source != "local" and why is None:
        yield Place(settings, market, symbol)
        return
    name = symbol if source == "local" and market == "sim" else SIMULATED
    exchange = await in_thread("opening the simulated market", _simulated, name, speed, seed)
    async with exchange:
        addresses = {"binance_ws_url": exchange.ws_url, "binance_rest_url": exchange.rest_url}
        banner = f"{_in_words(why)}This is the simulated market {name}: no price here is real."
        ahead_us = await _ahead(exchange) if speed == 1 else None
        yield Place(settings.model_copy(update=addresses), "sim", name, banner, ahead_us)


def _in_words(why: MicrostreamError | None) -> str:
    """Why it is not Binance, as a sentence."""
    if why is None:
        return ""
    if isinstance(why, OfflineError):
        return "Binance was not asked, as MICROSTREAM_OFFLINE is set. "
    return f"Binance could not be reached ({why}). "


def _simulated(symbol: str, speed: float, seed: int) -> LocalExchange:
    """The market of this week, opened at this moment."""
    from microstream_lab.market.exchange import EndlessMarket, LocalExchange

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


async def _unreachable(settings: Settings, market: str) -> MicrostreamError | None:
    """Why the exchange cannot be asked; None if it answers."""
    url = rest_url(settings, market)
    try:
        async with asyncio.timeout(_REACHABLE_S):
            async with RestClient(url, market=market, settings=settings) as client:
                await client.ping()
    except TimeoutError:
        return ExchangeError(f"{url}: found no answer within {_REACHABLE_S:g} s, expected one")
    except MicrostreamError as error:
        return error
    return None
