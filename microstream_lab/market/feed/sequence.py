"""The order of one symbol's trades: what is missing, doubled, late or not to be believed.

Invariant: trades leave in ascending order of id, each at most once, and wherever an id is missing
between two of them a Gap stands there. What is kept is bounded, whatever comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Rows

from msgspec.structs import replace

from microstream_lab.market.feed.records import Counters, Fill, Mismatch, Reset, Rules
from microstream_lab.schema import AggTrade, Gap

__all__ = ["SymbolSequence", "broken_link"]

Told = AggTrade | Gap | Fill | Reset | Mismatch


class _OpenGap:
    """A gap that was told, and the trades that came for it since."""

    __slots__ = ("gap", "trades")

    def __init__(self, gap: Gap) -> None:
        self.gap = gap
        self.trades: dict[int, AggTrade] = {}

    @property
    def is_whole(self) -> bool:
        return len(self.trades) == self.gap.to_id - self.gap.from_id + 1

    def in_order(self) -> list[AggTrade]:
        return [self.trades[agg_id] for agg_id in sorted(self.trades)]


class SymbolSequence:
    """What one symbol's trades have told so far.

    The public attributes are what the feed needs for its shortcut: a trade with `next_id` and
    `next_single_id`, from `latest` on and before `horizon`, is the next one beyond doubt. While
    trades are held back, the horizon lies in the past and there is no shortcut.

    Parameters
    ----------
    symbol, market : str
        Whose trades.
    rules : Rules
        What is possible.
    counters : Counters
        Shared with the other symbols of the feed.
    """

    __slots__ = (
        "_counters",
        "_cut_cause",
        "_cut_id",
        "_doubted",
        "_doubted_at",
        "_held",
        "_held_since",
        "_market",
        "_open",
        "_rules",
        "_skipped",
        "_symbol",
        "horizon",
        "latest",
        "next_id",
        "next_single_id",
    )

    def __init__(self, symbol: str, market: str, rules: Rules, counters: Counters) -> None:
        self._symbol, self._market = symbol, market
        self._rules, self._counters = rules, counters
        self.next_id = self.next_single_id = -1  # nothing is known yet
        self.latest = self.horizon = 0
        self._skipped = -1  # ids below next_id that were not taken
        self._held: dict[int, AggTrade] = {}
        self._held_since = 0
        self._open: deque[_OpenGap] = deque(maxlen=rules.gap_limit)
        self._doubted: list[AggTrade] = []
        self._doubted_at = self._cut_id = -1
        self._cut_cause = ""

    @property
    def n_taken(self) -> int:
        """Trades taken so far."""
        return self.next_id - self._skipped

    def resume(self, last_id: int, last_single_id: int, last_time: int, cause: str) -> None:
        """Go on after the trade `last_id`, as if it had just come."""
        self._forget()
        self._skip_to(last_id + 1, last_single_id + 1)
        self.latest = last_time
        self.cut(cause)

    def cut(self, cause: str) -> None:
        """Trades from here on may be missing for this cause."""
        self._cut_id, self._cut_cause = self.next_id, cause

    def close(self, gap: Gap) -> None:
        """Wait no longer for the trades of `gap`."""
        ids = gap.from_id, gap.to_id
        kept = [each for each in self._open if (each.gap.from_id, each.gap.to_id) != ids]
        self._open = deque(kept, maxlen=self._rules.gap_limit)

    def accept(self, trade: AggTrade, now: int) -> list[Told]:
        """Take any trade received at `now` (us) and tell what follows from it."""
        if self.next_id < 0:
            self._skip_to(trade.agg_id, trade.first_id)
            return self._take(trade, now)
        if trade.agg_id < self.next_id:
            return self._accept_old(trade, now)
        if not self._is_plausible(trade):
            return self._doubt(trade, now)
        if trade.agg_id in self._held:
            self._counters.duplicates += 1
            return []
        if trade.agg_id == self.next_id:
            told = self._take(trade, now)
            if self._held:
                self._counters.reordered += 1
                told += self._release(now)
            return told
        if not self._held:
            self._held_since, self.horizon = now, 0
        self._held[trade.agg_id] = trade
        return self.release_due(now)

    def release_due(self, now: int) -> list[Told]:
        """Tell the gaps that have been waited for long enough, and the trades behind them."""
        rules = self._rules
        if not self._held or not (
            now - self._held_since >= rules.hold_us
            or len(self._held) > rules.hold_limit
            or self.next_id == self._cut_id
        ):
            return []
        return self._release(now, past_gaps=True)

    def _release(self, now: int, past_gaps: bool = False) -> list[Told]:
        told: list[Told] = []
        for agg_id in sorted(self._held):
            if agg_id != self.next_id:
                if not past_gaps:
                    break
                told += self._tell_gap(self._held[agg_id], now)
            told += self._take(self._held.pop(agg_id), now)
        return told

    def _take(self, trade: AggTrade, now: int) -> list[Told]:
        """The next trade has come."""
        told = self._compare(trade, self.next_single_id, now)
        self.next_id, self.next_single_id = trade.agg_id + 1, trade.last_id + 1
        self.latest = max(self.latest, trade.trade_time)
        self.horizon = 0 if self._held else self.latest + self._rules.lull_us
        return [*told, trade]

    def _compare(self, trade: AggTrade, expected_id: int, now: int) -> list[Told]:
        if trade.first_id == expected_id:
            return []
        self._counters.mismatches += 1
        return [Mismatch(self._symbol, trade.agg_id, expected_id, trade.first_id, now)]

    def _tell_gap(self, trade: AggTrade, now: int) -> list[Told]:
        """Everything up to `trade` is missing."""
        cause = self._cut_cause if self.next_id == self._cut_id else "stream"
        last_id, times = trade.agg_id - 1, (self.latest or trade.trade_time, trade.trade_time)
        gap = Gap(self._symbol, self.next_id, last_id, *times, cause, now, market=self._market)
        n_missing = last_id - self.next_id + 1
        self._counters.gaps += 1
        self._counters.missing += n_missing
        self._open.append(_OpenGap(gap))
        # Each of the missing holds at least one single trade; how many, only they could tell.
        told = self._compare(trade, max(trade.first_id, self.next_single_id + n_missing), now)
        self._skip_to(trade.agg_id, trade.first_id)
        return [gap, *told]

    def _is_plausible(self, trade: AggTrade) -> bool:
        if trade.agg_id - self.next_id > self._rules.jump_limit:
            return False
        ahead = trade.trade_time - self.latest
        return not self.latest or -self._rules.slack_us <= ahead <= self._rules.silence_us

    def _accept_old(self, trade: AggTrade, now: int) -> list[Told]:
        """A trade below the next id: late, doubled, or the first of a new numbering."""
        for pending in self._open:
            if pending.gap.from_id <= trade.agg_id <= pending.gap.to_id:
                return self._accept_late(pending, trade, now)
        if trade.trade_time > self.latest:  # a trade seen before cannot be newer than the newest
            return self._doubt(trade, now)
        self._counters.duplicates += 1
        return []

    def _accept_late(self, pending: _OpenGap, trade: AggTrade, now: int) -> list[Told]:
        gap, slack = pending.gap, self._rules.slack_us
        if trade.agg_id in pending.trades:
            self._counters.duplicates += 1
            return []
        n_kept = sum(len(gap.trades) for gap in self._open)
        in_time = gap.from_time - slack <= trade.trade_time <= gap.to_time + slack
        if not in_time or n_kept >= self._rules.late_limit:
            self._counters.doubtful += 1
            return []
        self._counters.late += 1
        pending.trades[trade.agg_id] = trade
        return self._fill(pending, now) if pending.is_whole else []

    def _fill(self, pending: _OpenGap, now: int) -> list[Told]:
        trades = pending.in_order()
        if broken_link(trades) is not None:
            self._counters.doubtful += len(trades)
            pending.trades.clear()
            return []
        self._open.remove(pending)
        self._counters.filled += len(trades)
        repaired = replace(pending.gap, repaired_at=now, n_repaired=len(trades))
        return [Fill(repaired, trades)]

    def _doubt(self, trade: AggTrade, now: int) -> list[Told]:
        """Believe what cannot be only when it goes on, and nothing else does."""
        row = self._doubted
        if row and (row[-1].agg_id + 1 != trade.agg_id or self._doubted_at != self.next_id):
            row.clear()
        row.append(trade)
        self._doubted_at = self.next_id
        if len(row) < self._rules.confirmations:
            self._counters.doubtful += 1
            return []
        self._counters.doubtful -= len(row) - 1
        return self._believe(row.copy(), now)

    def _believe(self, row: list[AggTrade], now: int) -> list[Told]:
        first, last_id = row[0], self.next_id - 1
        told: list[Told] = []
        if first.agg_id > self.next_id:
            self._held.clear()  # they lie in the gap
            told = self._tell_gap(first, now)
        elif first.agg_id < self.next_id:
            self._forget()
            self._counters.resets += 1
            told = [Reset(self._symbol, last_id, first.agg_id, now)]
            self._skip_to(first.agg_id, first.first_id)
        self._doubted.clear()
        self.latest = 0
        for trade in row:
            told += self._take(trade, now)
        return told

    def _skip_to(self, next_id: int, next_single_id: int) -> None:
        self._skipped += next_id - self.next_id
        self.next_id, self.next_single_id = next_id, next_single_id

    def _forget(self) -> None:
        self._held.clear()
        self._open.clear()
        self._doubted.clear()
        self._cut_id = -1


def broken_link(trades: Rows[AggTrade]) -> int | None:
    """Position of the first trade whose ids do not follow those of the trade before it."""
    for place in range(1, len(trades)):
        before, trade = trades[place - 1], trades[place]
        if trade.agg_id != before.agg_id + 1 or trade.first_id != before.last_id + 1:
            return place
    return None
