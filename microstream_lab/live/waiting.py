"""Places where trades are missing, as they stand in a queue of trades that wait behind them.

Invariant: a hole is open until its trades are found, given up, or waited for long enough.
"""

from __future__ import annotations

from microstream_lab.schema import AggTrade, Gap

__all__ = ["Case", "Hole"]


class Case:
    """A gap that was told, and how far its repair is."""

    __slots__ = ("gap", "n_found", "n_left", "since", "why")

    def __init__(self, gap: Gap, since: int, n_parts: int) -> None:
        self.gap, self.since = gap, since
        self.n_left, self.n_found, self.why = n_parts, 0, ""


class Hole:
    """A place in the queue where trades are missing: a part of a gap, or the unknown beginning."""

    __slots__ = ("case", "gap", "is_open", "trades")

    def __init__(self, gap: Gap | None, case: Case | None) -> None:
        self.gap, self.case = gap, case
        self.is_open = True
        self.trades: list[AggTrade] = []
