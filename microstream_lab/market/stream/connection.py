"""A WebSocket connection that gives all that one read of the socket has brought at once.

Invariant: only plain messages are cut out of the bytes here. Handshake, pings, fragments, closing
and whatever breaks the rules go through ``websockets``, frame by frame and in order, so that it
always stands between two of them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event, State

from microstream_lab.errors import ExchangeError, GeoBlockedError, RateLimitedError
from microstream_lab.market.offline import is_loopback, require_allowed
from microstream_lab.market.stream.frames import payload_span, plain_messages
from microstream_lab.settings import Settings

__all__ = ["BatchConnection", "Connection", "dial", "refusal"]

_HEAD_END: Final = b"\r\n\r\n"
_DEFAULT_RETRY_AFTER_S: Final = 60.0


class Connection(Protocol):
    """What a link needs of a WebSocket connection."""

    async def take(self) -> list[bytes]:
        """Wait for messages and return all there are; raise ``ConnectionClosed`` after the last."""

    async def send(self, message: str) -> None:
        """Send a text message."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it; once its messages are taken, ``take`` raises ``ConnectionClosed``."""


class BatchConnection(ClientConnection):
    """A client's connection with :meth:`take` in place of ``recv``.

    Frame by frame, the library's parser and its queue cost several times what it takes to decode
    the message, to check its order and to make bars of it. There is no back-pressure: what reads
    from it drops what it cannot hold.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._messages: list[bytes] = []
        self._filled = asyncio.Event()
        self._fragments: list[bytes] = []
        self._head, self._rest = b"", b""
        self._is_raw = False

    async def take(self) -> list[bytes]:
        """Wait for messages and return all there are, in order.

        Raises
        ------
        ConnectionClosed
            When it is closed and the last message is taken.
        """
        while not self._messages:
            if self.connection_lost_waiter.done():
                raise self.protocol.close_exc
            self._filled.clear()
            await self._filled.wait()
        messages, self._messages = self._messages, []
        return messages

    def data_received(self, data: bytes) -> None:
        """Take what the socket has brought."""
        if self.protocol.state is State.CONNECTING and not self._is_raw:
            data = self._shake_hands(data)
        if self._is_raw:
            super().data_received(data)
        elif data:
            self._read(self._rest + data if self._rest else data)

    def process_event(self, event: Event) -> None:
        """Keep the parts of a message that came in fragments; the rest is the library's."""
        if not (isinstance(event, Frame) and event.opcode in DATA_OPCODES):
            super().process_event(event)
            return
        if event.data:
            self._fragments.append(bytes(event.data))
        if event.fin:
            self._messages.append(b"".join(self._fragments))
            self._fragments.clear()
            self._filled.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        super().connection_lost(exc)
        self._filled.set()

    def _shake_hands(self, data: bytes) -> bytes:
        """Give the library the head of the response, and return what lies behind it."""
        seen = self._head + data
        end = seen.find(_HEAD_END)
        behind = len(data) if end < 0 else end + len(_HEAD_END) - len(self._head)
        self._head = seen[1 - len(_HEAD_END) :]
        super().data_received(data[:behind])
        # What follows any other response than "switching protocols" is its body.
        self._is_raw = end >= 0 and self.protocol.state is State.CONNECTING
        return data[behind:]

    def _read(self, data: bytes) -> None:
        """Cut out the plain messages, give the library every other whole frame, keep the rest."""
        most, begin = self.protocol.max_message_size or len(data), 0
        while not self._is_raw:
            begin = plain_messages(data, begin, self._messages, most)
            span = payload_span(data, begin)
            if span is None:
                break
            start, end = span
            if end - start > most:
                self._is_raw = True  # for the library to refuse before it has come whole
                break
            if end > len(data):
                break
            super().data_received(data[begin:end])
            begin = end
            # Once it has failed or been told to close, only the library knows what may follow.
            self._is_raw |= bool(self.protocol.parser_exc or self.protocol.close_rcvd)
        self._rest = b"" if self._is_raw else data[begin:]
        if self._is_raw and begin < len(data):
            super().data_received(data[begin:])
        if self._messages:
            self._filled.set()


class _Connect(connect):
    """A connection goes where it was sent: a redirect is refused."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def dial(
    url: str, max_message_bytes: int = 2**18, settings: Settings | None = None
) -> BatchConnection:
    """Open a connection; TLS certificates are verified, pings answered, messages bounded.

    Raises
    ------
    OfflineError
        If MICROSTREAM_OFFLINE is set and `url` is not on this machine.
    OSError, TimeoutError, WebSocketException
        If it fails.
    """
    connection = await _Connect(
        require_allowed(url, settings),
        create_connection=BatchConnection,
        compression=None,
        max_size=max_message_bytes,
        # Pings of ours find a dead line; a busy moment must not be taken for one.
        ping_interval=20,
        ping_timeout=60,
        close_timeout=2,
        proxy=None if is_loopback(url) else True,
    )
    assert isinstance(connection, BatchConnection)
    return connection


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
