"""A share of the streams, and the connection that carries it.

Invariant: whatever happens to the connection, another takes its place, unless the exchange refuses
us for good; a connection that can be foreseen to end is replaced before it does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from websockets.exceptions import ConnectionClosed, WebSocketException

from microstream_lab.errors import RateLimitedError
from microstream_lab.market.retry import RateLimit, delays_s
from microstream_lab.market.stream.connection import Connection, refusal
from microstream_lab.market.stream.inbox import Inbox
from microstream_lab.market.stream.link import Link, Timing

__all__ = ["Dialler", "Shard", "StreamOptions", "StreamStatus"]

log = logging.getLogger(__name__)

_DIALS, _DIALS_PERIOD_S = 300, 300.0
_CONTROLS, _CONTROLS_PERIOD_S = 4, 1.0  # of five: pings and pongs count too
_FAILURES: Final = (OSError, TimeoutError, WebSocketException)


class StreamOptions(msgspec.Struct, frozen=True):
    """How a :class:`MarketStream` keeps its connections.

    Parameters
    ----------
    max_age_s : float
        Age at which a connection is replaced; the exchange closes it after 24 hours. Connections
        opened together are replaced one after the other.
    overlap_s : float
        How long the old and the new connection are read together.
    stable_s : float
        A connection that lasted so long was a good one: delays begin anew.
    watch_s : float
        How often age and silence are looked at.
    max_message_bytes : int
        A longer message ends the connection.
    max_frames, max_bytes : int
        Bounds of the queue to the consumer; beyond, messages are dropped and counted.
    """

    max_age_s: float = 23.5 * 3_600
    overlap_s: float = 5.0
    stable_s: float = 30.0
    watch_s: float = 1.0
    max_message_bytes: int = 2**18
    max_frames: int = 131_072
    max_bytes: int = 64 * 2**20


class StreamStatus(msgspec.Struct):
    """What happened so far: dials made and failed, connections opened, lost and renewed."""

    dials: int = 0
    failures: int = 0
    openings: int = 0
    losses: int = 0
    renewals: int = 0

    @property
    def n_open(self) -> int:
        """Connections that are open now."""
        return self.openings - self.losses - self.renewals


class Dialler:
    """Opens connections, never faster than allowed, and waits between failures.

    Parameters
    ----------
    connect : async callable
        Opens a connection to an address.
    timing : Timing
        Clocks.
    rng : random.Random
        Of the jitter.
    options : StreamOptions
        How connections are kept.
    """

    def __init__(
        self,
        connect: Callable[[str], Awaitable[Connection]],
        timing: Timing,
        rng: random.Random,
        options: StreamOptions,
    ) -> None:
        self._connect, self.timing, self.options = connect, timing, options
        self.status, self._rng = StreamStatus(), rng
        self._pace = RateLimit(_DIALS, _DIALS_PERIOD_S, timing.clock, timing.sleep)

    def delays_s(self) -> Iterator[float]:
        """Seconds to wait after each next failure in a row."""
        return delays_s(self._rng)

    async def open(self, url: str, delays: Iterator[float]) -> Connection:
        """A connection to `url`, however long it takes.

        Raises
        ------
        GeoBlockedError, ExchangeError
            If the exchange refuses us for good.
        """
        while True:
            await self._pace.wait()
            self.status.dials += 1
            try:
                return await self._connect(url)
            except _FAILURES as error:
                self.status.failures += 1
                await self.timing.sleep(self._wait_s(error, url, delays))

    def _wait_s(self, error: Exception, url: str, delays: Iterator[float]) -> float:
        wait_s = next(delays)
        refused = refusal(error, url)
        if isinstance(refused, RateLimitedError):
            wait_s = max(wait_s, refused.retry_after_s)
        elif refused is not None:
            raise refused from error
        log.warning("dial failed: %s; again in %.1f s", refused or repr(error), wait_s)
        return wait_s


class Shard:
    """Some streams, and the connection that carries them just now.

    Parameters
    ----------
    url : str
        Of the combined stream.
    unfitted : sequence of str
        Those of the streams that are not in it, to be subscribed to.
    streams : sequence of str
        All of them.
    number : int
        Which shard this is.
    inbox : Inbox
        Where messages go.
    dialler : Dialler
        Shared by all shards.
    """

    def __init__(
        self,
        url: str,
        unfitted: Sequence[str],
        streams: Sequence[str],
        number: int,
        inbox: Inbox,
        dialler: Dialler,
    ) -> None:
        self.symbols = tuple(dict.fromkeys(name.split("@")[0].upper() for name in streams))
        self._url, self._unfitted = url, unfitted
        self._inbox, self._dialler = inbox, dialler
        # Not all at once: those who were opened together would be renewed together.
        self._max_age_s = dialler.options.max_age_s * (1 - 0.02 * (number % 16))
        self._delays = dialler.delays_s()
        self._links: list[Link] = []

    async def run(self) -> None:
        """Keep a connection, and never be without one for longer than it takes."""
        try:
            await self._open()
            while True:
                link = self._links[-1]
                await _first_of(link.reading, link.renewal.wait())
                if link.has_ended:
                    await self._replace(link)
                else:
                    await self._renew(link)
        finally:
            for link in self._links:
                link.is_covered = True  # we leave: nothing is missing that anybody waits for
            await asyncio.gather(*(link.end("stopped") for link in self._links))

    async def restart(self, cause: str) -> None:
        """Close the connection, for another to take its place."""
        await asyncio.gather(*(link.end(cause) for link in self._links))

    async def _open(self) -> Link:
        connection = await self._dialler.open(self._url, self._delays)
        self._dialler.status.openings += 1
        timing, options = self._dialler.timing, self._dialler.options
        link = Link(connection, self.symbols, self._inbox, timing, self._max_age_s, options.watch_s)
        self._links.append(link)
        if self._unfitted:
            pace = RateLimit(_CONTROLS, _CONTROLS_PERIOD_S, timing.clock, timing.sleep)
            with suppress(ConnectionClosed):  # run() will find that it has ended
                await link.subscribe(self._unfitted, pace)
        return link

    async def _replace(self, link: Link) -> None:
        """The link has ended: open another after a while."""
        link.reading.result()  # raises what no connection should
        self._dialler.status.losses += 1
        if link.age_s >= self._dialler.options.stable_s:
            self._delays = self._dialler.delays_s()
        await self._dialler.timing.sleep(next(self._delays))
        self._links.remove(link)
        await self._open()

    async def _renew(self, link: Link) -> None:
        """The link will end: open another beside it, and let go of it when that one runs."""
        successor = await self._open()
        link.is_covered = not link.has_ended
        await _first_of(successor.reading, self._sleep(self._dialler.options.overlap_s))
        if successor.has_ended and not link.has_ended:
            link.is_covered = False
            self._links.remove(successor)
            await self._sleep(next(self._delays))
            return
        await link.end("renewed")
        self._links.remove(link)
        self._dialler.status.renewals += 1

    async def _sleep(self, seconds: float) -> None:
        await self._dialler.timing.sleep(seconds)  # a coroutine, whatever kind of awaitable that is


async def _first_of(task: asyncio.Task[None], other: Coroutine[Any, Any, Any]) -> None:
    """Wait for one of them; `other` is not left behind."""
    beside = asyncio.create_task(other)
    try:
        await asyncio.wait([task, beside], return_when=asyncio.FIRST_COMPLETED)
    finally:
        beside.cancel()
