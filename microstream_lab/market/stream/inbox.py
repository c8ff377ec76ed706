"""The bounded queue between the sockets' readers and the consumer.

Invariant: it never holds more than its bounds. When it is full, what comes is dropped and counted
until the consumer has taken what is there: one hole, which the feed sees and REST can fill, and
everything before it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from microstream_lab.market.feed import Frame
from microstream_lab.market.feed.records import Cut

__all__ = ["OVERFLOW", "Inbox"]

OVERFLOW: Final = "overflow"


class Inbox:
    """Frames on their way from the readers to one consumer.

    Parameters
    ----------
    max_frames, max_bytes : int
        Bounds on what waits.

    Attributes
    ----------
    received, dropped : int
        Messages that came, and those of them that found no room.
    fullest : int
        Most frames that ever waited.
    """

    def __init__(self, max_frames: int = 131_072, max_bytes: int = 64 * 2**20) -> None:
        self._max_frames, self._max_bytes = max_frames, max_bytes
        self._frames: list[Frame] = []
        self._n_bytes = 0
        self._overflown: dict[tuple[str, ...], int] = {}
        self._filled = asyncio.Event()
        self._failure: BaseException | None = None
        self._is_closed = False
        self.received = self.dropped = self.fullest = 0

    def put(self, messages: Sequence[bytes], received_at: int, symbols: tuple[str, ...]) -> None:
        """Add messages of a connection that carries `symbols`, or drop those without room."""
        self.received += len(messages)
        n_bytes = sum(map(len, messages))
        n_frames = len(self._frames) + len(messages)
        if n_frames <= self._max_frames and self._n_bytes + n_bytes <= self._max_bytes:
            self._frames += [(message, received_at) for message in messages]
            self._n_bytes += n_bytes
        else:
            self._put_what_fits(messages, received_at, symbols)
        self._filled.set()

    def _put_what_fits(
        self, messages: Sequence[bytes], received_at: int, symbols: tuple[str, ...]
    ) -> None:
        for message in messages:
            if len(self._frames) >= self._max_frames or self._n_bytes >= self._max_bytes:
                self.dropped += 1
                self._overflown.setdefault(symbols, received_at)
                continue
            self._n_bytes += len(message)
            self._frames.append((message, received_at))

    def cut(self, symbols: tuple[str, ...], cause: str, at: int) -> None:
        """Say that from here on something of `symbols` may be missing; never dropped."""
        self._frames.append((Cut(symbols, cause), at))
        self._filled.set()

    async def take(self) -> list[Frame]:
        """Everything that waits, in order; empty only after :meth:`close`.

        Raises
        ------
        BaseException
            What :meth:`close` was given, once everything before it is taken.
        """
        if not self._frames and not self._is_closed:
            self._filled.clear()
            await self._filled.wait()
        if not self._frames and self._failure is not None:
            raise self._failure
        self.fullest = max(self.fullest, len(self._frames))
        frames, self._frames, self._n_bytes = self._frames, [], 0
        for symbols, at in self._overflown.items():
            frames.append((Cut(symbols, OVERFLOW), at))
        self._overflown.clear()
        return frames

    def close(self, failure: BaseException | None = None) -> None:
        """Nothing more will come, because of `failure` if there is one."""
        self._is_closed, self._failure = True, self._failure or failure
        self._filled.set()
