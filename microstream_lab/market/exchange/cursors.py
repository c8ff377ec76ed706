"""How far a source has been played: one cursor per symbol, a block loaded ahead of need.

Invariant: what is taken is taken once, in order; of a source without end no more than two blocks of
a symbol are held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np

from microstream_lab.market.exchange.slices import Played
from microstream_lab.market.exchange.sources import Block, Source
from microstream_lab.market.exchange.tape import DUE

__all__ = ["Market"]


class _Cursor:
    """The place reached in one symbol's blocks."""

    def __init__(self, blocks: Iterator[Block], executor: Executor) -> None:
        self._blocks, self._executor = blocks, executor
        self._block: Block | None = None
        self._at = self._quotes_at = 0
        self._coming = self._fetch()

    def _fetch(self) -> asyncio.Future[Block | None]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._executor, next, self._blocks, None)

    async def load(self) -> bool:
        """Have a block with trades at hand; False if there are none any more."""
        while self._block is None or self._at >= self._block.tape.shape[1]:
            # Shielded: what a waiter that gave up had asked for is still the next block.
            block = await asyncio.shield(self._coming)
            if block is None:
                return False
            self._block, self._at, self._quotes_at = block, 0, 0
            self._coming = self._fetch()
        return True

    def due(self, ahead: int = 0) -> int:
        """When the trade so many places ahead is due, or the last one of the block."""
        assert self._block is not None
        tape = self._block.tape
        return int(tape[DUE, min(self._at + ahead, tape.shape[1] - 1)])

    def take(self, until: int) -> Played:
        """What is due by `until` (us)."""
        assert self._block is not None
        tape, quotes = self._block.tape, self._block.quotes
        start, self._at = self._at, int(np.searchsorted(tape[DUE], until, side="right"))
        if quotes is None:
            return Played(tape[:, start : self._at])
        first = self._quotes_at
        self._quotes_at = int(np.searchsorted(quotes[0], until, side="right"))
        return Played(tape[:, start : self._at], quotes[:, first : self._quotes_at])


class Market:
    """All symbols of a source, played together.

    Parameters
    ----------
    source : Source
        What is played.
    executor : Executor
        Where blocks are made, one after another.
    """

    def __init__(self, source: Source, executor: Executor) -> None:
        self._cursors = {s: _Cursor(source.blocks(s), executor) for s in source.symbols}

    async def load(self) -> bool:
        """Have trades of every symbol at hand that has more; False if none has."""
        for symbol, cursor in list(self._cursors.items()):
            if not await cursor.load():
                del self._cursors[symbol]
        return bool(self._cursors)

    def next_due(self) -> int:
        """When (us) the next trade is due."""
        return min(cursor.due() for cursor in self._cursors.values())

    def limit(self) -> int:
        """The time (us) up to which everything is at hand."""
        return min(cursor.due(1 << 62) for cursor in self._cursors.values())

    def horizon(self, n_trades: int) -> int:
        """A time (us) by which about so many trades are due, and all of them are at hand."""
        ahead = n_trades // len(self._cursors)
        return min(cursor.due(ahead) for cursor in self._cursors.values())

    def take(self, until: int) -> dict[str, Played]:
        """What is due by `until` (us), by symbol."""
        return {symbol: cursor.take(until) for symbol, cursor in self._cursors.items()}
