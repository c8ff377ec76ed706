"""Plain clients of the local exchange: `websockets`, raw sockets, and a way to run them."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from microstream_lab.market.exchange import LocalExchange


def run_async(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test to its end, or fail after half a minute instead of hanging."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return run


@asynccontextmanager
async def dialled(
    exchange: LocalExchange, path: str, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A stream connection; pongs are the library's own."""
    options = {"ping_interval": None, "max_queue": None, "compression": None, **options}
    async with websockets.connect(exchange.ws_url + path, **options) as connection:
        yield connection


async def receive(connection: ClientConnection, n: int) -> list[dict[str, Any]]:
    """The next messages."""
    return [json.loads(await connection.recv()) for _ in range(n)]


async def receive_all(connection: ClientConnection) -> tuple[list[str], int]:
    """Everything until the connection closes, and its close code."""
    received: list[str] = []
    try:
        while True:
            received.append(str(await connection.recv()))
    except ConnectionClosed as closed:
        return received, closed.rcvd.code if closed.rcvd else 1006


@asynccontextmanager
async def raw_client(
    exchange: LocalExchange, path: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A stream connection after its handshake, which answers nothing by itself."""
    address = urlsplit(exchange.ws_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head
    # The key and its answer of RFC 6455, section 1.3.
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    try:
        yield reader, writer
    finally:
        writer.close()
