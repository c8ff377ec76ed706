"""One symbol's way from trades to bars, and what waits on it.

Invariant: trades reach the bars in order of id, each once; while a gap may still be filled nothing
behind it passes, and what is closed without its trades is called partial and owed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec.structs import replace

from microstream_lab.bars import BarBuilder
from microstream_lab.errors import DataError, LateTradeError
from microstream_lab.live.debts import Debts
from microstream_lab.live.records import UNKNOWN, Batch, Counts, Opening, Patience
from microstream_lab.live.waiting import Case, Hole
from microstream_lab.market.backfill import missing_ids, parts
from microstream_lab.market.feed.records import Fill
from microstream_lab.schema import (
    COMPLETE,
    PARTIAL,
    REPAIRED,
    AggTrade,
    Bar,
    Gap,
    Quality,
    Watermark,
    interval_us,
)

__all__ = ["Line"]


class Line:
    """A symbol's bars in the making.

    Parameters
    ----------
    symbol, interval, market : str
        Whose bars.
    patience : Patience
        How long they wait.
    counts : Counts
        Shared with the other lines.
    keep_trades : bool
        Whether trades are told, too.
    """

    def __init__(
        self,
        symbol: str,
        interval: str,
        market: str,
        patience: Patience,
        counts: Counts,
        keep_trades: bool,
    ) -> None:
        self.symbol, self._interval, self._market = symbol, interval, market
        self._step, self._patience, self._counts = interval_us(interval), patience, counts
        self._keeps = keep_trades
        self.builder = BarBuilder(symbol, interval, market)
        self.last: AggTrade | None = None
        self.open_time = 0
        self.opening: Opening | None = None
        self.debts = Debts(symbol, self._step)
        self._queue: deque[Hole | list[AggTrade]] = deque()
        self._link: Quality = COMPLETE
        self._first_id: int | None = None
        self._owed_from: int | None = None
        self._skip_to = -1
        self._since = 0

    @property
    def is_waiting(self) -> bool:
        """Whether trades have to queue."""
        return bool(self._queue)

    @property
    def is_direct(self) -> bool:
        """Whether the next trade can go straight into its bar."""
        odd = self._queue or self._link != COMPLETE or self._owed_from is not None
        return self.last is not None and not odd and not self.is_skipping

    @property
    def is_skipping(self) -> bool:
        """Whether trades come again that are in stored bars."""
        return self._skip_to >= 0

    def resume(self, watermark: Watermark, kept: AggTrade | None) -> None:
        """Go on after a stored bar; trades after `kept` that are in it are only told."""
        end, price = watermark.open_time, watermark.close
        ids = (watermark.trade_id, watermark.trade_id)
        before = AggTrade(self.symbol, watermark.agg_id, price, 0.0, *ids, end - 1, False)
        self.builder.update(before)
        self.builder.advance(end)
        self.last, self.open_time = kept or before, end
        if kept is not None and kept.agg_id < watermark.agg_id:
            self._skip_to = watermark.agg_id

    def take(self, trade: AggTrade, now: int, batch: Batch) -> None:
        """Take the next trade of the feed."""
        if self.last is None and not self._queue:
            start = trade.trade_time - trade.trade_time % self._step
            self.opening = Opening(self.symbol, start, trade.agg_id)
            self._queue.append(Hole(None, None))
            self._since = now
        if not self._queue:
            self._pass(trade, COMPLETE, batch)
            return
        if not isinstance(self._queue[-1], list):
            self._queue.append([])
        self._queue[-1].append(trade)  # type: ignore[union-attr]
        self._counts.waiting += 1

    def open(self, first_id: int | None, now: int, batch: Batch) -> Gap | None:
        """Take the exchange's word for the first trade of the first bar; None if it has none.

        Returns
        -------
        Gap or None
            What is missing of that bar.
        """
        opening, self.opening = self.opening, None
        if opening is None or not isinstance(hole := self._queue[0], Hole):
            return None
        self._queue.popleft()
        gap, self._first_id = None, first_id
        if first_id is not None and first_id < opening.first_id:
            to_time = self._first_waiting_time() or opening.open_time
            gap = Gap(
                *(self.symbol, first_id, opening.first_id - 1, opening.open_time, to_time),
                *("start", now),
                market=self._market,
            )
            self._queue_gap(gap, now, front=True)
            batch.gaps.append(gap)
        elif first_id is None:
            self.debts.owe(opening.open_time, opening.open_time, None)
        hole.is_open = False
        self._flow(batch)
        return gap

    def _first_waiting_time(self) -> int | None:
        first = next((item for item in self._queue if isinstance(item, list)), None)
        return first[0].trade_time if first else None

    def tell(self, gap: Gap, now: int, batch: Batch) -> None:
        """Take note of a gap; what comes after it waits."""
        self._queue_gap(gap, now)
        batch.gaps.append(gap)

    def _queue_gap(self, gap: Gap, now: int, front: bool = False) -> None:
        pieces = parts(gap, self._patience.part_ids)
        case = Case(gap, now, len(pieces))
        holes = [Hole(piece, case) for piece in pieces]
        if front:
            self._queue.extendleft(reversed(holes))
        else:
            self._queue.extend(holes)
        self._counts.gaps_open += 1

    def wants(self, part: Gap) -> bool:
        """Whether a part of a gap is still waited for."""
        return any(hole.gap == part for hole in self._holes())

    def _holes(self) -> list[Hole]:
        return [hole for hole in self._queue if isinstance(hole, Hole) and hole.is_open]

    def fill(self, fill: Fill, now: int, batch: Batch) -> None:
        """Put trades that were found where they are missing."""
        asked = fill.gap
        for hole in self._holes():
            part = hole.gap
            if part is None or not (asked.from_id <= part.from_id and part.to_id <= asked.to_id):
                continue
            hole.trades = [t for t in fill.trades if part.from_id <= t.agg_id <= part.to_id]
            why = "" if fill.is_whole else asked.cause
            self._settle(hole, why, now, batch)
        self._flow(batch)

    def _settle(self, hole: Hole, why: str, now: int, batch: Batch) -> None:
        """Nothing more will come for this part; `why` says what is still missing of it, if so."""
        case = hole.case
        assert hole.gap is not None
        assert case is not None
        hole.is_open = False
        if missing_ids(hole.gap, hole.trades):
            case.why = case.why or why or "given up"
        case.n_left -= 1
        case.n_found += len(hole.trades)
        if not case.n_left:
            self._conclude(case, now, batch)

    def _conclude(self, case: Case, now: int, batch: Batch) -> None:
        gap = replace(case.gap, n_repaired=case.n_found)
        self._counts.gaps_open -= 1
        if not case.why:
            self._counts.gaps_repaired += 1
            batch.gaps.append(replace(gap, repaired_at=now))
            return
        self._counts.gaps_given_up += 1
        gap = replace(gap, cause=case.why)
        batch.gaps.append(gap)
        batch.bars += self.debts.take_back(gap.from_time)
        if not case.why.endswith(UNKNOWN):
            self.debts.owe(gap.from_time, gap.to_time, gap)

    def tick(self, now: int, is_crowded: bool, batch: Batch) -> None:
        """Wait no longer for what was waited for long enough, or in too large a crowd."""
        if not self._queue or not isinstance(first := self._queue[0], Hole):
            return
        since = self._since if first.case is None else first.case.since
        if not is_crowded and now - since < self._patience.wait_us:
            return
        if first.case is None:
            self.open(None, now, batch)
            return
        why = "too many trades waiting" if is_crowded else "not repaired in time"
        for hole in self._holes():
            if hole.case is first.case:
                self._settle(hole, f"{first.case.gap.cause}; {why}", now, batch)
        self._flow(batch)

    def doubt(self) -> None:
        """Ids of single trades do not follow: the bar is not to be called complete."""
        if self._queue:
            return  # its bars are looked at anyway
        self._link, self._owed_from = PARTIAL, self.open_time or None

    def reset(self, batch: Batch) -> None:
        """The exchange numbers anew: what was forming stays partial."""
        self._abandon_queue(batch)
        if (bar := self.builder.flush()) is not None:
            self._owed_from = bar.open_time
            self._tell_bars([bar], batch)
        self.builder = BarBuilder(self.symbol, self._interval, self._market)
        self._link, self._skip_to, self.open_time = PARTIAL, -1, 0

    def _abandon_queue(self, batch: Batch) -> None:
        for hole in self._holes():
            if hole.case is None:
                hole.is_open = False
                self.opening = None
            else:
                self._settle(hole, f"{hole.case.gap.cause}; numbered anew", 0, batch)
        self._flow(batch)

    def _flow(self, batch: Batch) -> None:
        """Let pass what has nothing missing before it."""
        queue = self._queue
        while queue:
            item = queue[0]
            if isinstance(item, list):
                self._counts.waiting -= len(item)
                for trade in item:
                    self._pass(trade, COMPLETE, batch)
            elif item.is_open:
                return
            else:
                for trade in item.trades:
                    self._pass(trade, REPAIRED, batch)
                self._counts.repaired += len(item.trades)
            queue.popleft()

    def _pass(self, trade: AggTrade, quality: Quality, batch: Batch) -> None:
        """Let one trade into its bar."""
        self._counts.trades += 1
        if self._keeps:
            batch.trades.append(trade)
        if trade.agg_id <= self._skip_to:
            self._skip_to = -1 if trade.agg_id == self._skip_to else self._skip_to
            self.last = trade
            return
        if self.last is None and trade.agg_id != self._first_id:
            quality = PARTIAL  # nothing proves that the bar began here
        elif quality == COMPLETE:
            quality = self._link
        if self._owed_from is not None:
            self.debts.owe(self._owed_from, trade.trade_time, None)
            self._owed_from = None
        self._link, self.last, self._skip_to = COMPLETE, trade, -1
        try:
            closed = self.builder.update(trade, quality)
        except LateTradeError as late:
            self.recall(late, batch)
            return
        if not self.open_time:
            self.open_time = trade.trade_time - trade.trade_time % self._step
        if closed:
            self.close(closed, trade.agg_id - 1, trade.first_id - 1, batch)

    def recall(self, error: DataError, batch: Batch) -> None:
        """A trade came whose bar is closed: that bar, and those since, are to be made anew."""
        if not isinstance(error, LateTradeError):
            raise error
        self._counts.late += 1
        # The builder left it out: to the next trade's bar all are made anew.
        self._owed_from = min(error.trade_time, self._owed_from or error.trade_time)
        batch.bars += self.debts.take_back(error.trade_time)

    def close(self, closed: list[Bar], agg_id: int, trade_id: int, batch: Batch) -> None:
        """Tell bars that were closed; the ids are those of the last trade in them."""
        self.open_time = closed[-1].open_time + self._step
        self._tell_bars(closed, batch)
        batch.watermarks[self.symbol] = Watermark(
            *(self.symbol, self._interval, agg_id, trade_id, self.open_time, closed[-1].close),
            market=self._market,
        )

    def _tell_bars(self, bars: Iterable[Bar], batch: Batch) -> None:
        for bar in bars:
            self._counts.bars += 1
            self._counts.partial += bar.quality == PARTIAL
            self.debts.published(bar)
            batch.bars.append(bar)
