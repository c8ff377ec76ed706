"""One connection to the streams: opened, subscribed, read and watched until it ends.

Invariant: the reader stamps and queues, nothing else; however a connection ends, the place where
trades may be missing is marked in the queue, unless another connection covers it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from microstream_lab.errors import ExchangeError, GeoBlockedError, RateLimitedError
from microstream_lab.market.budget import Sleep
from microstream_lab.market.feed.silence import Silence
from microstream_lab.market.offline import is_loopback, require_allowed
from microstream_lab.market.retry import RateLimit
from microstream_lab.market.stream.inbox import Inbox
from microstream_lab.settings import Settings

__all__ = ["Connection", "Link", "Timing", "dial", "refusal"]

log = logging.getLogger(__name__)

_SHORT: Final = 128
"""Longer messages need not be searched for a word of the server's own."""
_NAMES_PER_MESSAGE: Final = 100
_DEFAULT_RETRY_AFTER_S: Final = 60.0


class Connection(Protocol):
    """What a link needs of a WebSocket connection."""

    async def recv(self, decode: bool | None = None) -> str | bytes:
        """Return the next message, as bytes if `decode` is False."""

    async def send(self, message: str) -> None:
        """Send a text message."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it; pending and later ``recv`` raise ``ConnectionClosed``."""


class Timing(msgspec.Struct, frozen=True):
    """Clocks and how to wait, so that tests need not.

    ``clock`` counts seconds and never goes back; ``now_us`` is the time of day in microseconds.
    """

    clock: Callable[[], float]
    now_us: Callable[[], int]
    sleep: Sleep


class _Connect(connect):
    """A connection goes where it was sent: a redirect is refused."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def dial(
    url: str, max_message_bytes: int = 2**18, settings: Settings | None = None
) -> Connection:
    """Open a connection; TLS certificates are verified, pings answered, messages bounded.

    Raises
    ------
    OfflineError
        If MICROSTREAM_OFFLINE is set and `url` is not on this machine.
    OSError, TimeoutError, WebSocketException
        If it fails.
    """
    return await _Connect(
        require_allowed(url, settings),
        compression=None,
        max_size=max_message_bytes,
        max_queue=4_096,  # what one read of the socket holds; 16 would stop and start it
        # Pings of ours find a dead line; a busy moment must not be taken for one.
        ping_interval=20,
        ping_timeout=60,
        close_timeout=2,
        proxy=None if is_loopback(url) else True,
    )


def refusal(error: Exception, url: str) -> ExchangeError | None:
    """What a failed dial means if trying again at once cannot help, else None."""
    if not isinstance(error, InvalidStatus):
        return None
    status, host = error.response.status_code, url.split("?")[0]
    if status in (403, 451):
        return GeoBlockedError(
            f"{host}: found HTTP {status}, this place is not served; set BINANCE_WS_URL to "
            "wss://data-stream.binance.vision (market data only), wss://stream.binance.us:9443 "
            "or wss://stream.binance.com:9443"
        )
    if status in (418, 429):
        wait = error.response.headers.get("Retry-After", "")
        wait_s = float(wait) if wait.isdigit() else _DEFAULT_RETRY_AFTER_S
        message = f"{host}: found HTTP {status}, asked to stay away for {wait_s:.0f} s"
        return RateLimitedError(message, wait_s)
    if status < 500:
        return ExchangeError(f"{host}: found HTTP {status}, expected 101")
    return None


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
        recv, put, now_us = self._connection.recv, self._inbox.put, self._timing.now_us
        symbols = self._symbols
        try:
            while True:
                message = await recv(decode=False)
                put(message, now_us(), symbols)
                self._n_messages += 1
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
