"""Messages spoilt so that no careful reader can take them for good ones.

Invariant: a spoilt message never carries a price, size or id that could be believed: it is either
no message at all, or holds a value that has no meaning.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from microstream_lab.market.exchange.messages import frame

__all__ = ["cut_short", "has_id", "oversized", "payload_of", "with_bad_time", "with_wrong_type"]

_VALUE = re.compile(rb'"([pqaftlTmuc])":("[^"]*"|[^,{}\[\]]+)')
_TIME = re.compile(rb'"([ET])":(\d+)')
_ID = re.compile(rb'"(?:aggTrade|trade)"')
_WRONG: Final = (b"null", b"{}", b"[]", b'"abc"')
_IMPOSSIBLE: Final = (b"0", b"-1", b"4102444800001000000", b"99999999999999999999", b"1")
"""Before the exchange existed or beyond 2100, in any unit."""


def payload_of(message: bytes) -> bytes:
    """The text inside a frame of at most 65,535 bytes."""
    return message[4:] if message[1] == 126 else message[2:]


def has_id(message: bytes) -> bool:
    """Whether it is about a trade."""
    return _ID.search(message, 0, 96) is not None


def cut_short(message: bytes, rng: np.random.Generator) -> bytes:
    """A whole frame around JSON that ends too early."""
    payload = payload_of(message)
    return frame(payload[: int(rng.integers(1, len(payload)))])


def with_wrong_type(message: bytes, rng: np.random.Generator) -> bytes:
    """One value is replaced by something of another type."""
    payload = payload_of(message)
    values = list(_VALUE.finditer(payload))
    value = values[int(rng.integers(len(values)))]
    return _replaced(payload, value.span(2), _WRONG[int(rng.integers(len(_WRONG)))])


def with_bad_time(message: bytes, rng: np.random.Generator) -> bytes | None:
    """The time of the trade becomes impossible; None if the message has no time."""
    payload = payload_of(message)
    times = list(_TIME.finditer(payload))
    if not times:
        return None
    impossible = _IMPOSSIBLE[int(rng.integers(len(_IMPOSSIBLE)))]
    return _replaced(payload, times[-1].span(2), impossible)


def oversized(n_bytes: int) -> bytes:
    """A message that is sound but for its size."""
    shell = b'{"e":"oversize","padding":"%s"}'
    return frame(shell % (b"x" * max(0, n_bytes - len(shell) + 2)))


def _replaced(payload: bytes, span: tuple[int, int], text: bytes) -> bytes:
    return frame(payload[: span[0]] + text + payload[span[1] :])
