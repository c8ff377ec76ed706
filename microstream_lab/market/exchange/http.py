"""Just enough HTTP/1.1 for one port to serve REST, the archive and WebSocket handshakes.

Invariant: bytes in, requests out; what is no request, or too long to be one, ends the connection.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import Final

from microstream_lab.market.exchange.rest import Reply

__all__ = ["MAX_HEAD", "BadRequestError", "Request", "read_request", "write_reply"]

MAX_HEAD: Final = 1 << 16
"""Longest request line and headers: 1024 streams fit into one address."""
_END: Final = b"\r\n\r\n"


class BadRequestError(ValueError):
    """What came is no request of ours."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request without a body; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def is_upgrade(self) -> bool:
        """Whether it wants to become a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection serves another request after this one."""
        return self.headers.get("connection", "").lower() != "close"


def read_request(received: bytes) -> tuple[Request | None, bytes]:
    """The first request in what was received, if it is complete, and what comes after it.

    Raises
    ------
    BadRequestError
        If it is malformed, too long, or has a body.
    """
    head, end, rest = received.partition(_END)
    if len(head) > MAX_HEAD:
        raise BadRequestError(f"more than {MAX_HEAD} bytes of headers")
    if not end:
        return None, received
    line, _, fields = head.partition(b"\r\n")
    try:
        method, target, version = line.decode("ascii").split(" ")
        parsed = parse_headers(io.BytesIO(fields + _END))
    except (ValueError, HTTPException) as error:
        raise BadRequestError(str(error)) from error
    headers = {name.lower(): value for name, value in parsed.items()}
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if has_body or not version.startswith("HTTP/1."):
        raise BadRequestError("a body, or another version of HTTP")
    return Request(method, target, headers, head + end), rest


def write_reply(reply: Reply, request: Request) -> bytes:
    """The bytes of a reply; without its body if only the head was asked for."""
    headers = {
        "Date": formatdate(usegmt=True),
        "Content-Length": str(len(reply.body)),
        "Connection": "keep-alive" if request.keeps_alive else "close",
        **reply.headers,
    }
    head = f"HTTP/1.1 {reply.status} {_phrase(reply.status)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = b"" if request.method == "HEAD" else reply.body
    return head.encode("latin-1") + b"\r\n" + body


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
