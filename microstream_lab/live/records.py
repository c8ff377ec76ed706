"""What an assembler tells, wants to be done, and what it holds for bearable."""

from __future__ import annotations

from typing import Final

import msgspec

from microstream_lab.schema import AggTrade, Bar, Gap, Watermark

__all__ = ["UNKNOWN", "Batch", "Counts", "Debt", "Opening", "Patience"]

_S: Final = 1_000_000

UNKNOWN: Final = "unknown to the exchange"
"""How the cause of a gap ends that nobody can fill."""


class Patience(msgspec.Struct, frozen=True):
    """How long and for how much bars wait.

    Parameters
    ----------
    wait_us : int
        Bars touched by a gap wait so long (us) for its repair; then they go out partial and, once
        it succeeds, again.
    hold_limit : int
        Trades that may wait behind gaps, all symbols together; beyond, waiting ends as well.
    part_ids : int
        Longer gaps are repaired in parts of so many ids, the first ones first.
    """

    wait_us: int = 60 * _S
    hold_limit: int = 250_000
    part_ids: int = 20_000


class Opening(msgspec.Struct, frozen=True, gc=False):
    """Wanted: the first trade from `open_time` on; `first_id` may not be the first of its bar."""

    symbol: str
    open_time: int
    first_id: int


class Debt(msgspec.Struct, frozen=True):
    """Wanted: all trades of ``[start, end)``, whose bars went out without those of `gaps`."""

    symbol: str
    start: int
    end: int
    gaps: tuple[Gap, ...] = ()

    def touches(self, other: Debt) -> bool:
        """Whether both are about a bar."""
        return self.symbol == other.symbol and self.start < other.end and other.start < self.end

    def merged(self, other: Debt) -> Debt:
        """Both in one."""
        start, end = min(self.start, other.start), max(self.end, other.end)
        return Debt(self.symbol, start, end, (*self.gaps, *other.gaps))


class Counts(msgspec.Struct):
    """What happened so far.

    ``trades`` taken, of them ``repaired`` ones; ``bars`` closed, of them ``partial`` when they
    went out; ``rebuilt`` bars; gaps ``open``, ``closed`` by a repair and ``given_up``; ``late``
    trades whose bar was closed already, and ``waiting`` trades behind gaps just now.
    """

    trades: int = 0
    repaired: int = 0
    bars: int = 0
    partial: int = 0
    rebuilt: int = 0
    gaps_open: int = 0
    gaps_repaired: int = 0
    gaps_given_up: int = 0
    late: int = 0
    waiting: int = 0


class Batch(msgspec.Struct):
    """What a step has brought: to be stored together, or not at all.

    ``bars`` closed or rebuilt and ``gaps`` told, repaired or given up, in that order; ``trades`` in
    order of id but for those found late, if they are wanted; ``watermarks`` by symbol.
    """

    bars: list[Bar] = []
    gaps: list[Gap] = []
    trades: list[AggTrade] = []
    watermarks: dict[str, Watermark] = {}

    def __bool__(self) -> bool:
        return bool(self.bars or self.gaps or self.trades or self.watermarks)

    def extend(self, later: Batch) -> None:
        """Add what came later."""
        self.bars += later.bars
        self.gaps += later.gaps
        self.trades += later.trades
        self.watermarks |= later.watermarks
