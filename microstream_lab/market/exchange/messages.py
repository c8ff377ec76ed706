"""Batches of wire messages: rendered from columns, joined, and put in another order.

Invariant: a batch is one buffer of whole messages and where each ends, so that sending it is one
write however many messages it holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microstream_lab.market.exchange.kernels import BOOLEAN, DECIMAL, INTEGER, gather, render

__all__ = ["EMPTY", "Messages", "Template", "frame", "warm_up"]

Ints = NDArray[np.int64]

_LONGEST_FIELD: Final = 21  # a sign, a point and the digits of 2**63
_KINDS: Final = {"int": INTEGER, "dec": DECIMAL, "bool": BOOLEAN}
_FIELD = re.compile(r"%(int|dec|bool)%")


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages as they go over the wire, one after another.

    Parameters
    ----------
    buffer : ndarray of uint8
        All of them, without anything between.
    ends : ndarray of shape (n_messages,)
        Where each ends.
    times : ndarray of shape (n_messages,)
        Exchange time of each (us).
    """

    buffer: NDArray[np.uint8]
    ends: Ints
    times: Ints

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> bytes:
        start = int(self.ends[number - 1]) if number else 0
        return self.buffer[start : int(self.ends[number])].tobytes()

    def tobytes(self) -> bytes:
        """All of them, to be written."""
        return self.buffer.tobytes()

    def take(self, order: Ints) -> Messages:
        """Those of these numbers, in this order; a number may come twice."""
        lengths = np.diff(self.ends, prepend=0)
        out = np.empty(int(lengths[order].sum()), np.uint8)
        return Messages(out, gather(self.buffer, self.ends, order, out), self.times[order])

    @classmethod
    def of(cls, texts: Sequence[bytes], time: int) -> Messages:
        """Ready-made messages, all of one time."""
        ends = np.array(list(accumulate(map(len, texts))), np.int64)
        buffer = np.frombuffer(b"".join(texts), np.uint8)
        return cls(buffer, ends, np.full(len(texts), time, np.int64))

    @classmethod
    def joined(cls, batches: Sequence[Messages]) -> Messages:
        """All messages of several batches, batch after batch."""
        if len(batches) == 1:
            return batches[0]
        offsets = np.cumsum([0] + [len(batch.buffer) for batch in batches[:-1]])
        return cls(
            np.concatenate([batch.buffer for batch in batches]),
            np.concatenate([b.ends + shift for b, shift in zip(batches, offsets, strict=True)]),
            np.concatenate([batch.times for batch in batches]),
        )

    @classmethod
    def merged(cls, batches: Sequence[Messages]) -> Messages:
        """All messages of several batches in order of time; of one time, in order of batches."""
        batches = [batch for batch in batches if len(batch)]
        if not batches:
            return EMPTY
        everything = cls.joined(batches)
        if len(batches) == 1:
            return everything
        return everything.take(np.argsort(everything.times, kind="stable"))


EMPTY: Final = Messages(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64))


class Template:
    """What messages of one kind look like.

    Parameters
    ----------
    text : str
        With ``%int%``, ``%dec%`` (1e-8 units, eight decimals) or ``%bool%`` where values go.
    """

    def __init__(self, text: str) -> None:
        pieces = _FIELD.split(text)
        literals = [piece.encode() for piece in pieces[::2]]
        self._literals = np.frombuffer(b"".join(literals), np.uint8)
        self._ends = np.array(list(accumulate(map(len, literals))), np.int64)
        self._kinds = np.array([_KINDS[word] for word in pieces[1::2]], np.int64)

    def render(self, values: Sequence[Ints], times: Ints, framed: bool = True) -> Messages:
        """A message for each row of the columns `values`, as WebSocket frames or bare."""
        table = np.array(values, np.int64).reshape(len(self._kinds), len(times))
        longest = len(self._literals) + _LONGEST_FIELD * len(self._kinds) + 4
        out = np.empty(longest * len(times), np.uint8)
        ends = render(self._literals, self._ends, self._kinds, table, framed, out)
        return Messages(out[: int(ends[-1]) if len(ends) else 0], ends, times)


def warm_up() -> None:
    """Compile what is compiled, which takes seconds where it was never done before."""
    template = Template("%int%%dec%%bool%")
    messages = template.render([np.ones(2, np.int64)] * 3, np.zeros(2, np.int64))
    messages.take(np.arange(2))


def frame(text: bytes) -> bytes:
    """One WebSocket text frame of any length, as a server sends it (RFC 6455, section 5.2)."""
    return _header(len(text)) + text


@lru_cache(maxsize=1024)
def _header(length: int) -> bytes:
    if length < 126:
        return bytes((0x81, length))
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")
