"""The market streams over WebSocket, kept up day and night.

Invariant: whatever happens to a connection, another takes its place unless we were told to stop,
and the consumer sees every message or a mark where some may be missing.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final

from microstream_lab.errors import SettingsError
from microstream_lab.market.feed import Frame
from microstream_lab.market.offline import require_allowed
from microstream_lab.market.stream.connection import Connection, dial
from microstream_lab.market.stream.inbox import Inbox
from microstream_lab.market.stream.link import Timing
from microstream_lab.market.stream.shard import Dialler, Shard, StreamOptions
from microstream_lab.settings import Settings

__all__ = ["MarketStream", "shards", "stream_names", "stream_url"]

STREAMS_PER_CONNECTION: Final = 1_024
_URL_CHARS: Final = 4_000
"""Servers and proxies refuse request lines of 8 kB and more."""


def stream_names(symbols: Iterable[str], kinds: Iterable[str] = ("aggTrade",)) -> list[str]:
    """Names such as ``btcusdt@aggTrade``, those of one symbol side by side."""
    kinds = tuple(kinds)
    return [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]


def shards(streams: Sequence[str], limit: int = STREAMS_PER_CONNECTION) -> list[tuple[str, ...]]:
    """Streams for as few connections as possible, evenly; one symbol may be on two of them."""
    n_shards = -(-len(streams) // limit)
    edges = [len(streams) * place // n_shards for place in range(n_shards + 1)]
    return [tuple(streams[a:b]) for a, b in itertools.pairwise(edges)]


def stream_url(base_url: str, streams: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Address of a combined stream in microseconds, and the streams it had no room for."""
    n_fit, length = 0, 0
    for name in streams:
        length += len(name) + 1
        if length > _URL_CHARS:
            break
        n_fit += 1
    names = "/".join(streams[:n_fit])
    return f"{base_url}/stream?streams={names}&timeUnit=MICROSECOND", streams[n_fit:]


class MarketStream:
    """Messages of any number of streams, over as many connections as they need.

    An async context manager, and inside it an async iterator over batches of frames for
    :meth:`Feed.drain <microstream_lab.market.feed.Feed.drain>`.

    Parameters
    ----------
    base_url : str
        Such as ``wss://stream.binance.com:9443``, ``wss://stream.binance.us:9443`` or
        ``wss://data-stream.binance.vision``.
    streams : sequence of str
        See :func:`stream_names`.
    options : StreamOptions, optional
        How connections are kept.
    settings : Settings, optional
        For MICROSTREAM_OFFLINE; loaded if not given.
    connect : async callable, optional
        Opens a connection to an address.
    timing : Timing, optional
        Clocks; those of this machine by default.
    seed : int, optional
        Of the jitter.

    Attributes
    ----------
    inbox : Inbox
        The queue, with its counters.
    status : StreamStatus
        Counters of the connections.

    Raises
    ------
    OfflineError
        On construction, if the address is forbidden.
    GeoBlockedError, ExchangeError
        While iterating, if the exchange refuses us for good. Everything else is tried again.
    """

    def __init__(
        self,
        base_url: str,
        streams: Sequence[str],
        options: StreamOptions | None = None,
        settings: Settings | None = None,
        connect: Callable[[str], Awaitable[Connection]] | None = None,
        timing: Timing | None = None,
        seed: int | None = None,
    ) -> None:
        if not streams:
            raise SettingsError("streams: found none, expected at least one")
        require_allowed(base_url, settings)
        self._options = options or StreamOptions()
        self.inbox = Inbox(self._options.max_frames, self._options.max_bytes)
        timing = timing or Timing(time.monotonic, lambda: time.time_ns() // 1_000, asyncio.sleep)
        size = self._options.max_message_bytes
        dialler = Dialler(
            connect or functools.partial(dial, max_message_bytes=size, settings=settings),
            timing,
            random.Random(seed),
            self._options,
        )
        self.status = dialler.status
        self._shards = [
            Shard(*stream_url(base_url, part), part, number, self.inbox, dialler)
            for number, part in enumerate(shards(streams))
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> MarketStream:
        self._tasks = [asyncio.create_task(shard.run()) for shard in self._shards]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.inbox.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        self.inbox.close(failure)

    async def __aiter__(self) -> AsyncIterator[list[Frame]]:
        """Everything that has come since the last batch, as soon as there is something."""
        while frames := await self.inbox.take():
            yield frames

    async def restart(self, symbols: Iterable[str], cause: str) -> None:
        """Close the connections that carry any of `symbols`; new ones take their place."""
        wanted = set(symbols)
        hit = [shard for shard in self._shards if wanted.intersection(shard.symbols)]
        await asyncio.gather(*(shard.restart(cause) for shard in hit))
