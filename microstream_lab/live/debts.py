"""Bars that went out without all of their trades, and are to be made anew.

Invariant: a bar is in one debt at most; it is told when all its bars are closed, and once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from microstream_lab.live.records import UNKNOWN, Debt
from microstream_lab.schema import PARTIAL, Bar, Gap, interval_us

__all__ = ["Debts", "debts_of"]

_REVISIONS: Final = 1_000
_RECENT: Final = 32


class Debts:
    """What is owed of one symbol.

    Parameters
    ----------
    symbol : str
        Whose bars.
    step : int
        Their length (us).
    """

    def __init__(self, symbol: str, step: int) -> None:
        self._symbol, self._step = symbol, step
        self._owed: list[Debt] = []
        self._revisions: dict[int, int] = {}
        self._recent: deque[Bar] = deque(maxlen=_RECENT)

    def __iter__(self) -> Iterator[Debt]:
        return iter(self._owed)

    def owe(self, from_time: int, to_time: int, gap: Gap | None) -> None:
        """The bars from one time (us) to the other have to be made anew."""
        debt = _debt(self._symbol, from_time, to_time, self._step, () if gap is None else (gap,))
        self._owed = _with(self._owed, debt)

    def payable(self, open_time: int) -> list[Debt]:
        """Debts whose bars end by `open_time` (us), taken off the list."""
        due = [debt for debt in self._owed if debt.end <= open_time]
        self._owed = [debt for debt in self._owed if debt.end > open_time]
        return due

    def published(self, bar: Bar) -> None:
        """Take note of a bar that went out."""
        self._recent.append(bar)

    def take_back(self, gap: Gap) -> list[Bar]:
        """Bars since the trade before a gap that went out as whole, now called partial.

        They were closed by a proof, for which the exchange may have counted without the trades
        that it does not know.
        """
        taken = []
        for place, bar in enumerate(self._recent):
            if bar.open_time + self._step > gap.from_time and bar.quality != PARTIAL:
                bar = replace(bar, quality=PARTIAL, revision=bar.revision + 1)
                self._recent[place] = bar
                self._revisions[bar.open_time] = bar.revision
                taken.append(bar)
        return taken

    def next_revisions(self, debt: Debt) -> dict[int, int]:
        """Revision by open time for the bars of a debt, which will be published anew."""
        times = range(debt.start, debt.end, self._step)
        revisions = {time: self._revisions.pop(time, 0) + 1 for time in times}
        self._revisions |= revisions
        while len(self._revisions) > _REVISIONS:  # the store keeps count, too
            del self._revisions[next(iter(self._revisions))]
        return revisions


def debts_of(gaps: Iterable[Gap], interval: str) -> list[Debt]:
    """What an earlier run owes: the bars touched by gaps on record that can still be filled."""
    debts: list[Debt] = []
    for gap in gaps:
        if gap.repaired_at is None and not gap.cause.endswith(UNKNOWN):
            step = interval_us(interval)
            debts = _with(debts, _debt(gap.symbol, gap.from_time, gap.to_time, step, (gap,)))
    return debts


def _debt(symbol: str, from_time: int, to_time: int, step: int, gaps: tuple[Gap, ...]) -> Debt:
    return Debt(symbol, from_time - from_time % step, to_time - to_time % step + step, gaps)


def _with(debts: list[Debt], debt: Debt) -> list[Debt]:
    """The debts and one more; those about the same bars become one."""
    for other in debts:
        if other.touches(debt):
            debt = other.merged(debt)
    return [*(other for other in debts if not other.touches(debt)), debt]
