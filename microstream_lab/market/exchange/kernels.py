"""Text for many messages in one compiled pass: digits, literals and WebSocket frame headers.

Invariant: integers in, bytes out; a price never becomes a float on its way to the wire. Nothing is
compiled before the first call, and what was compiled is cached on disk.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from microstream_lab.compiled import compiled

__all__ = ["BOOLEAN", "DECIMAL", "INTEGER", "gather", "render"]

INTEGER: Final = 0
DECIMAL: Final = 1
"""An integer of 1e-8 units, written with eight decimals."""
BOOLEAN: Final = 2

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

_DECIMALS = 8
_ZERO, _MINUS, _DOT = ord("0"), ord("-"), ord(".")
_WORDS = np.frombuffer(b"falsetrue", np.uint8)
_HEADER = 4  # bytes reserved for a frame header; a short payload gives two of them back
_FIN_TEXT, _LENGTH_FOLLOWS, _SHORT = 0x81, 126, 126


@compiled
def _digits(out: Bytes, at: int, value: int, at_least: int) -> int:
    """Write a number of zero or more with at least so many digits; return where it ends."""
    n_digits, rest = 1, value // 10
    while rest > 0:
        n_digits += 1
        rest //= 10
    n_digits = max(n_digits, at_least)
    for place in range(at + n_digits - 1, at - 1, -1):
        out[place] = _ZERO + value % 10
        value //= 10
    return at + n_digits


@compiled
def _field(out: Bytes, at: int, value: int, kind: int) -> int:
    if kind == BOOLEAN:
        start, length = (5, 4) if value else (0, 5)
        out[at : at + length] = _WORDS[start : start + length]
        return at + length
    if value < 0:
        out[at] = _MINUS
        at, value = at + 1, -value
    whole, at_least = (value, 1) if kind == INTEGER else (value % 10**_DECIMALS, _DECIMALS)
    if kind != INTEGER:
        at = _digits(out, at, value // 10**_DECIMALS, 1) + 1
        out[at - 1] = _DOT
    end: int = _digits(out, at, whole, at_least)
    return end


@compiled
def _framed(out: Bytes, start: int, stop: int) -> int:
    """Put the header before the payload that ends at `stop`; return where the frame ends."""
    length = stop - start - _HEADER
    out[start] = _FIN_TEXT
    if length >= _SHORT:
        out[start + 1] = _LENGTH_FOLLOWS
        out[start + 2], out[start + 3] = length >> 8, length & 255
        return stop
    out[start + 1] = length
    for place in range(start + 2, stop - 2):
        out[place] = out[place + 2]
    return stop - 2


@compiled
def render(
    literals: Bytes, literal_ends: Ints, kinds: Ints, values: Ints, framed: bool, out: Bytes
) -> Ints:
    """Write one message for every column of `values`: a literal, a field, a literal, and so on.

    Parameters
    ----------
    literals, literal_ends : ndarray
        The ``n_fields + 1`` literals joined, and where each ends.
    kinds : ndarray of shape (n_fields,)
        INTEGER, DECIMAL or BOOLEAN.
    values : ndarray of shape (n_fields, n_messages)
        What to write.
    framed : bool
        Whether each becomes a WebSocket text frame, of at most 65,535 bytes.
    out : ndarray
        Where to; large enough.

    Returns
    -------
    ndarray of shape (n_messages,)
        Where in `out` each message ends.
    """
    n_fields, n_messages = values.shape
    ends = np.empty(n_messages, np.int64)
    at = 0
    for message in range(n_messages):
        start = at
        if framed:
            at += _HEADER
        literal = 0
        for field in range(n_fields + 1):
            for place in range(literal, literal_ends[field]):
                out[at] = literals[place]
                at += 1
            literal = literal_ends[field]
            if field < n_fields:
                at = _field(out, at, values[field, message], kinds[field])
        if framed:
            at = _framed(out, start, at)
        ends[message] = at
    return ends


@compiled
def gather(buffer: Bytes, ends: Ints, order: Ints, out: Bytes) -> Ints:
    """Copy the messages `order` of `buffer` to `out`, one after another; return their ends."""
    new_ends = np.empty(len(order), np.int64)
    at = 0
    for k in range(len(order)):
        message = order[k]
        for place in range(ends[message - 1] if message else 0, ends[message]):
            out[at] = buffer[place]
            at += 1
        new_ends[k] = at
    return new_ends
