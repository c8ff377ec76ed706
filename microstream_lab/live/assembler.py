"""The events of a feed, and trades fetched for its gaps, assembled to bars.

Invariant: sans-I/O. A bar closes by a later trade or by the exchange's own word that nothing more
came, never by a clock; it is called complete or repaired only if the ids prove that no trade of it
is missing. What waits is bounded in time and number.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeGuard, cast

from msgspec.structs import replace

from microstream_lab.errors import DataError
from microstream_lab.live.line import Line
from microstream_lab.live.rebuild import Rebuild
from microstream_lab.live.records import UNKNOWN, Batch, Counts, Debt, Opening, Patience
from microstream_lab.market.feed.messages import Kline, StreamTrade
from microstream_lab.market.feed.records import Event, Fill, Mismatch, Reset
from microstream_lab.schema import PARTIAL, AggTrade, Bar, Gap, Watermark, interval_us

__all__ = ["Assembler"]

log = logging.getLogger(__name__)

_TRADES: Final = frozenset((AggTrade, StreamTrade))


class Assembler:
    """Bars of any number of symbols in the making.

    Parameters
    ----------
    symbols : iterable of str
        Whose bars.
    interval, market : str
        Of the bars.
    patience : Patience, optional
        How long bars wait for what is missing.
    keep_trades : bool
        Whether batches carry the trades, too.

    Attributes
    ----------
    counts : Counts
        What happened so far.
    openings, wanted : list
        What somebody with access to the exchange has to look up, to be taken from here and answered
        by :meth:`open` and :meth:`fill`; what :meth:`payable` returns is answered by :meth:`pay`.
    klines : list of Kline
        Klines that came by, to be taken from here.

    Notes
    -----
    A symbol's first trade rarely begins its bar: an :class:`Opening` asks for the one that does.
    Trades behind a :class:`Gap` wait ``patience.wait_us`` for its repair; then they pass, the bars
    go out ``partial``, and a :class:`Debt` asks for all of their trades.
    """

    def __init__(
        self,
        symbols: Iterable[str],
        interval: str,
        market: str = "spot",
        patience: Patience | None = None,
        keep_trades: bool = False,
    ) -> None:
        self.interval, self.market, self._step = interval, market, interval_us(interval)
        self.patience, self.counts, self.keeps_trades = (
            patience or Patience(),
            Counts(),
            keep_trades,
        )
        self._lines = {
            symbol: Line(symbol, interval, market, self.patience, self.counts, keep_trades)
            for symbol in symbols
        }
        self.openings: list[Opening] = []
        self.wanted: list[Gap] = []
        self.klines: list[Kline] = []

    def resume(self, watermark: Watermark, kept: AggTrade | None = None) -> None:
        """Go on after what is stored.

        Parameters
        ----------
        watermark : Watermark
            How far the bars are.
        kept : AggTrade, optional
            The last trade that is kept, if trades are. Those after it come again; as far as their
            bars are stored they are only told.
        """
        self._lines[watermark.symbol].resume(watermark, kept)

    def update(self, events: Sequence[Event], now: int) -> Batch:
        """Take the feed's next events, received by `now` (us)."""
        batch = Batch()
        if self._are_of_one(events):
            self._pass({events[0].symbol: events}, now, batch)
            return batch
        runs = defaultdict[str, list[AggTrade]](list)
        for event in events:
            # What isinstance would say, which is far slower to ask for every trade.
            if type(event) is StreamTrade or type(event) is AggTrade:
                runs[event.symbol].append(event)
            else:
                self._pass(runs, now, batch)
                runs.clear()
                self._note(event, now, batch)
        self._pass(runs, now, batch)
        return batch

    def _are_of_one(self, events: Sequence[Event]) -> TypeGuard[Sequence[AggTrade]]:
        """Whether these are trades of the one symbol there is: nothing has to be sorted then."""
        if len(self._lines) > 1 or not _TRADES.issuperset(map(type, events)):
            return False
        return len({trade.symbol for trade in cast(Sequence[AggTrade], events)}) == 1

    def _pass(self, runs: Mapping[str, Sequence[AggTrade]], now: int, batch: Batch) -> None:
        """Let trades into their bars, or into the queue; a symbol's are in order."""
        for symbol, run in runs.items():
            line, place = self._lines[symbol], 0
            while place < len(run):
                if line.is_direct:
                    place = self._pass_straight(line, run, place, batch)
                else:
                    self._queue(line, run[place], now, batch)
                    place += 1

    def _pass_straight(self, line: Line, run: Sequence[AggTrade], start: int, batch: Batch) -> int:
        """Let trades into the forming bar, and the one after them into the next.

        Returns the place of the next trade.
        """
        stop = line.builder.absorb(run, start)
        if stop < len(run):
            trade = run[stop]
            try:
                if closed := line.builder.update(trade):
                    line.close(closed, trade.agg_id - 1, trade.first_id - 1, batch)
            except DataError as error:
                line.recall(error, batch)
            stop += 1
        line.last = run[stop - 1]
        self.counts.trades += stop - start
        if self.keeps_trades:
            batch.trades += run[start:stop]
        return stop

    def _queue(self, line: Line, trade: AggTrade, now: int, batch: Batch) -> None:
        line.take(trade, now, batch)
        if line.opening is not None and line.opening.first_id == trade.agg_id:
            self.openings.append(line.opening)

    def _note(self, event: Event, now: int, batch: Batch) -> None:
        match event:
            case Gap():
                self._lines[event.symbol].tell(event, now, batch)
                self.wanted.append(event)
            case Kline():
                self.klines.append(event)
            case Fill():
                self._fill(event, now, batch)
            case Mismatch():
                self._lines[event.symbol].doubt()
            case Reset():
                self._lines[event.symbol].reset(batch)

    def open(self, opening: Opening, first_id: int | None, now: int) -> Batch:
        """Answer an opening: the id of the first trade from its time on; None if unknown."""
        batch, line = Batch(), self._lines[opening.symbol]
        if line.opening == opening and (gap := line.open(first_id, now, batch)) is not None:
            self.wanted.append(gap)
        return batch

    def fill(self, fill: Fill, now: int) -> Batch:
        """Answer a wanted gap, or a part of it, with the trades there are."""
        batch = Batch()
        self._fill(fill, now, batch)
        return batch

    def _fill(self, fill: Fill, now: int, batch: Batch) -> None:
        line = self._lines[fill.gap.symbol]
        if line.is_waiting:
            line.fill(fill, now, batch)

    def wants(self, part: Gap) -> bool:
        """Whether a part of a gap is still waited for."""
        return self._lines[part.symbol].wants(part)

    def tick(self, now: int) -> Batch:
        """End what has waited for too long at `now` (us); to be called about once a second."""
        batch = Batch()
        for line in self._lines.values():
            if line.is_waiting:
                is_crowded = self.counts.waiting > self.patience.hold_limit
                line.tick(now, is_crowded, batch)
        return batch

    def last_trade(self, symbol: str) -> AggTrade | None:
        """The last trade that reached its bar; None before the first or while some wait."""
        line = self._lines[symbol]
        return None if line.is_waiting else line.last

    def forming(self, symbol: str) -> Bar | None:
        """The forming bar as it stands, called partial."""
        return self._lines[symbol].builder.forming

    def open_time(self, symbol: str) -> int:
        """Opening time (us) of the bar that is forming; 0 if none is."""
        return self._lines[symbol].open_time

    def prove(self, symbol: str, open_time: int, n_trades: int | None) -> Batch:
        """Close a forming bar by the exchange's word that it is over.

        Parameters
        ----------
        symbol : str
            Whose bar.
        open_time : int
            Which one (us); nothing happens unless it is the forming one and nothing waits.
        n_trades : int, optional
            How many single trades the exchange counts in it: the bar closes if it has as many.
            None if the exchange knows of no trade after the last one.
        """
        batch, bar, last = Batch(), self.forming(symbol), self.last_trade(symbol)
        line = self._lines[symbol]
        if bar is None or last is None or bar.open_time != open_time or line.is_skipping:
            return batch
        if n_trades is None or bar.trades == n_trades:
            closed = line.builder.advance(open_time + self._step)
            line.close(closed, last.agg_id, last.last_id, batch)
        return batch

    def payable(self) -> list[Debt]:
        """Debts whose bars are closed, to be paid by :meth:`pay`; each is told once."""
        return [
            debt for line in self._lines.values() for debt in line.debts.payable(line.open_time)
        ]

    def pay(self, debt: Debt, rebuild: Rebuild, now: int, n_found: int) -> Batch:
        """Publish the bars of a debt anew, with the next revision.

        Parameters
        ----------
        debt : Debt
            Which bars.
        rebuild : Rebuild
            Those bars, made from all trades there are.
        now : int
            Time (us) of the repair.
        n_found : int
            How many of them were missing.
        """
        batch = Batch()
        bars = rebuild.bars(self._lines[debt.symbol].debts.next_revisions(debt))
        is_whole = all(bar.quality != PARTIAL for bar in bars)
        if is_whole or n_found:
            batch.bars = bars
            self.counts.rebuilt += len(bars)
        self.counts.repaired += n_found
        batch.gaps = [self._settled(gap, is_whole, now) for gap in debt.gaps]
        return batch

    def _settled(self, gap: Gap, is_whole: bool, now: int) -> Gap:
        if not is_whole:
            is_known = gap.cause.endswith(UNKNOWN)
            return gap if is_known else replace(gap, cause=f"{gap.cause}; {UNKNOWN}")
        self.counts.gaps_given_up -= 1
        self.counts.gaps_repaired += 1
        n_ids = gap.to_id - gap.from_id + 1
        return replace(gap, repaired_at=now, n_repaired=n_ids)
