"""Bars that went out without all of their trades, and are to be made anew.

Invariant: a bar is in one debt at most; it is told when all its bars are closed, and once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from microstream_lab.live.records import UNKNOWN, Debt
from microstream_lab.schema import PARTIAL, Bar, Gap, interval_us

__all__ = ["Debts", "debts_of"]

_REVISIONS: Final = 1_000
_RECENT: Final = 128


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

    def take_back(self, since: int) -> list[Bar]:
        """Bars that went out as whole and end after `since` (us), now called partial.

        So whoever comes after a kill sees in the store what is owed. Bars that a gap follows were
        closed by a proof, for which the exchange may have counted without the trades that it does
        not know; others lack a trade that came late.
        """
        taken = []
        for place, bar in enumerate(self._recent):
            if bar.open_time + self._step > since and bar.quality != PARTIAL:
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


def debts_of(
    gaps: Iterable[Gap], interval: str, partial: Mapping[str, Iterable[int]] | None = None
) -> list[Debt]:
    """What an earlier run owes.

    Parameters
    ----------
    gaps : iterable of Gap
        Those on record that are not repaired: the bars they touch are owed if they can be filled.
    interval : str
        Of the bars.
    partial : mapping of str to iterable of int, optional
        Opening times (us) of partial bars by symbol: owed, unless a gap that nobody can fill says
        why they are.
    """
    debts: list[Debt] = []
    step, spans = interval_us(interval), list[Debt]()
    for gap in gaps:
        if gap.repaired_at is None:
            debt = _debt(gap.symbol, gap.from_time, gap.to_time, step, (gap,))
            if gap.cause.endswith(UNKNOWN):
                spans.append(debt)
            else:
                debts = _with(debts, debt)
    for symbol, times in (partial or {}).items():
        for time in times:
            debt = Debt(symbol, time, time + step)
            if not any(span.touches(debt) for span in spans):
                debts = _with(debts, debt)
    return debts


def _debt(symbol: str, from_time: int, to_time: int, step: int, gaps: tuple[Gap, ...]) -> Debt:
    return Debt(symbol, from_time - from_time % step, to_time - to_time % step + step, gaps)


def _with(debts: list[Debt], debt: Debt) -> list[Debt]:
    """The debts and one more; those about the same bars become one."""
    for other in debts:
        if other.touches(debt):
            debt = other.merged(debt)
    return [*(other for other in debts if not other.touches(debt)), debt]
