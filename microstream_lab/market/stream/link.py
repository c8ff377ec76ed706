"""One connection to the streams: opened, subscribed, read and watched until it ends.

Invariant: the reader stamps and queues, nothing else; however a connection ends, the place where
trades may be missing is marked in the queue, unless another connection covers it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from websockets.exceptions import ConnectionClosed

from microstream_lab.market.budget import Sleep
from microstream_lab.market.feed.silence import Silence
from microstream_lab.market.retry import RateLimit
from microstream_lab.market.stream.connection import Connection
from microstream_lab.market.stream.inbox import Inbox

__all__ = ["Link", "Timing"]

log = logging.getLogger(__name__)

_SHORT: Final = 128
"""Longer messages need not be searched for a word of the server's own."""
_NAMES_PER_MESSAGE: Final = 100


class Timing(msgspec.Struct, frozen=True):
    """Clocks and how to wait, so that tests need not.

    ``clock`` counts seconds and never goes back; ``now_us`` is the time of day in microseconds.
    """

    clock: Callable[[], float]
    now_us: Callable[[], int]
    sleep: Sleep


class Link:
    """A connection that is being read.

    Parameters
    ----------
    connection : Connection
        Open.
    symbols : tuple of str
        Whose messages it carries.
    inbox : Inbox
        Where messages go.
    timing : Timing
        Clocks.
    max_age_s : float
        After so long, ``renewal`` is asked for.
    watch_s : float
        How often to look at age and silence.

    Attributes
    ----------
    renewal : asyncio.Event
        Set when another connection is to take over: at the end of a day, or when the server says
        that it will go.
    is_covered : bool
        Set by the owner when another connection carries the same streams.
    """

    def __init__(
        self,
        connection: Connection,
        symbols: tuple[str, ...],
        inbox: Inbox,
        timing: Timing,
        max_age_s: float,
        watch_s: float,
    ) -> None:
        self._connection, self._symbols, self._inbox = connection, symbols, inbox
        self._timing, self._max_age_s, self._watch_s = timing, max_age_s, watch_s
        self.opened_at = timing.clock()
        self.renewal = asyncio.Event()
        self.is_covered = False
        self._n_messages = 0
        self._cause = ""
        self.reading = asyncio.create_task(self._read())
        self._watching = asyncio.create_task(self._watch())

    @property
    def age_s(self) -> float:
        """Seconds since it was opened."""
        return self._timing.clock() - self.opened_at

    @property
    def has_ended(self) -> bool:
        """Whether nothing will come from it any more."""
        return self.reading.done()

    async def subscribe(self, streams: Sequence[str], pace: RateLimit) -> None:
        """Ask for `streams` by control messages, no faster than `pace`."""
        for number, start in enumerate(range(0, len(streams), _NAMES_PER_MESSAGE), start=1):
            names = list(streams[start : start + _NAMES_PER_MESSAGE])
            await pace.wait()
            request = {"method": "SUBSCRIBE", "params": names, "id": number}
            await self._connection.send(msgspec.json.encode(request).decode())

    async def end(self, cause: str) -> None:
        """Close it and wait until the last message is read."""
        self._cause = self._cause or cause
        self._watching.cancel()
        await self._connection.close()
        await asyncio.wait([self.reading])

    async def _read(self) -> None:
        take, put, now_us = self._connection.take, self._inbox.put, self._timing.now_us
        symbols = self._symbols
        try:
            while True:
                messages = await take()
                put(messages, now_us(), symbols)
                self._n_messages += len(messages)
                for message in messages:
                    if len(message) < _SHORT and b"serverShutdown" in message:
                        self.renewal.set()
        except ConnectionClosed as closed:
            self._cause = self._cause or f"connection closed: {closed}"
        finally:
            self._watching.cancel()
            if not self.is_covered:
                log.warning("%s; %d symbols", self._cause, len(symbols))
                self._inbox.cut(symbols, self._cause or "reader stopped", now_us())

    async def _watch(self) -> None:
        silence, seen = Silence(), 0
        while True:
            await self._timing.sleep(self._watch_s)
            heard, seen = self._n_messages - seen, self._n_messages
            now_us = int(self._timing.clock() * 1e6)
            since = silence.look(now_us, heard)
            if since is not None:
                self._cause = f"silent for {(now_us - since) / 1e6:.0f} s"
                await self._connection.close()
                return
            if self.age_s > self._max_age_s:
                self.renewal.set()
