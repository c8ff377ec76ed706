"""One loopback port for streams, REST and the archive.

Invariant: nothing here decides anything about the market; bytes become requests, and requests are
handed to whoever answers them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from websockets.datastructures import Headers
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from microstream_lab.market.exchange.connection import Connection
from microstream_lab.market.exchange.http import (
    MAX_HEAD,
    BadRequestError,
    Request,
    read_request,
    write_reply,
)
from microstream_lab.market.exchange.rest import Reply

__all__ = ["ClientProtocol", "Exchange", "handshake"]

log = logging.getLogger(__name__)

_MAX_CLIENT_MESSAGE = 1 << 16
_HIGH_WATER = 1 << 20


class Exchange(Protocol):
    """Who answers."""

    async def reply(self, request: Request) -> Reply:
        """Answer a REST or archive request."""

    def open(self, request: Request, transport: asyncio.Transport) -> Connection | Reply | None:
        """Open a stream connection; a reply refuses it politely, None without a word."""

    def changed(self) -> None:
        """A connection said something or is gone."""

    def lost(self, client: ClientProtocol) -> None:
        """A client is gone."""


class ClientProtocol(asyncio.Protocol):
    """One TCP connection: requests one after another, until one becomes a WebSocket."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._received = b""
        self._answering: asyncio.Task[None] | None = None
        self.connection: Connection | None = None
        self.transport: asyncio.Transport | None = None
        self.can_write = asyncio.Event()
        self.can_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """Let go of whatever was under way."""
        self.can_write.set()
        if self._answering is not None:
            self._answering.cancel()
        if self.connection is not None:
            self.connection.lost()
        self._exchange.lost(self)

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self.can_write.clear()

    def resume_writing(self) -> None:
        """The client takes again."""
        self.can_write.set()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a WebSocket or of a request."""
        if self.connection is not None:
            self.connection.receive(data)
            self._exchange.changed()
            return
        self._received += data
        if self._answering is None:
            self._next_request()
        elif len(self._received) > MAX_HEAD and self.transport is not None:
            self.transport.close()

    def _next_request(self) -> None:
        assert self.transport is not None
        try:
            request, self._received = read_request(self._received)
        except BadRequestError as error:
            log.info("bad request: %s", error)
            self.transport.close()
            return
        if request is None:
            return
        if request.is_upgrade:
            self._upgrade(request)
        else:
            self._answering = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        assert self.transport is not None
        try:
            reply = await self._exchange.reply(request)
            if reply.delay_s:
                await asyncio.sleep(reply.delay_s)
        except Exception:
            log.exception("no answer to %s", request.target)
            reply = Reply(500, b'{"code":-1000,"msg":"An unknown error occurred."}')
        self.transport.write(write_reply(reply, request))
        self._answering = None
        if request.keeps_alive:
            self._next_request()
        else:
            self.transport.close()

    def _upgrade(self, request: Request) -> None:
        assert self.transport is not None
        opened = self._exchange.open(request, self.transport)
        if opened is None:
            self.transport.abort()
        elif isinstance(opened, Reply):
            self.transport.write(write_reply(opened, request))
            self.transport.close()
        else:
            self.connection = opened
            if self._received:
                opened.receive(self._received)
            self._exchange.changed()


def handshake(request: Request) -> tuple[Response, ServerProtocol]:
    """The answer to an opening handshake, and a protocol that reads the frames after it.

    The request line may be longer than `websockets` itself would read: it holds up to 1024 names.
    """
    asked = Handshake("/", Headers(request.headers), request.method)
    response = ServerProtocol().accept(asked)
    return response, ServerProtocol(state=State.OPEN, max_size=_MAX_CLIENT_MESSAGE)
