"""Messages as they come and as they go out."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Incoming", "Outgoing", "incoming"]


class Incoming(NamedTuple):
    """A message that came."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Outgoing(NamedTuple):
    """A message to be sent."""

    topic: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, str], ...] = ()


def incoming(message: Any) -> Incoming:
    """What matters of a client's message."""
    return Incoming(message.partition(), message.offset(), message.key(), message.value())
