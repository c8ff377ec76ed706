"""WebSocket frames in bytes: where they end, and the messages of those that need no protocol.

Invariant: sans-I/O; a frame is only measured here, never judged: whatever is not a plain message is
for the library that knows the protocol (RFC 6455, section 5.2).
"""

from __future__ import annotations

from typing import Final

__all__ = ["payload_span", "plain_messages"]

_WHOLE_TEXT: Final = 0x81
"""First byte of a text message in one frame, without extensions."""
_MASK: Final = 0x80
_TWO_BYTES, _EIGHT_BYTES = 126, 127


def plain_messages(data: bytes, begin: int, messages: list[bytes], most: int) -> int:
    """Append the messages of the plain frames from `begin` on, and return where they end.

    A frame is plain that holds a whole text message, unmasked, as servers send them, of at most
    `most` bytes and less than 64 kB.
    """
    end = len(data)
    while end - begin >= 4 and data[begin] == _WHOLE_TEXT:
        size, head = data[begin + 1], begin + 2
        if size == _TWO_BYTES:
            size = data[head] << 8 | data[head + 1]
            head += 2
        elif size > _TWO_BYTES:
            break
        stop = head + size
        if stop > end or size > most:
            break
        messages.append(data[head:stop])
        begin = stop
    return begin


def payload_span(data: bytes, begin: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `begin` begins and ends, be it beyond `data`.

    None if not even the frame's head is there.
    """
    if len(data) < begin + 2:
        return None
    size, head = data[begin + 1] & ~_MASK, begin + 2
    n_more = {_TWO_BYTES: 2, _EIGHT_BYTES: 8}.get(size, 0)
    if len(data) < head + n_more:
        return None
    if n_more:
        size = int.from_bytes(data[head : head + n_more], "big")
    n_key = 4 if data[begin + 1] & _MASK else 0
    head += n_more + n_key
    return head, head + size
