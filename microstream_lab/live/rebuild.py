"""Bars made anew from all their trades.

Invariant: a trade counts in the bar of its own time, whatever the order of times, and the float
operations are the :class:`~microstream_lab.bars.BarBuilder`'s own; what is kept does not grow with
the number of trades.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from microstream_lab.bars import BarBuilder
from microstream_lab.schema import PARTIAL, REPAIRED, AggTrade, Bar, Quality, interval_us

__all__ = ["Rebuild"]


class Rebuild:
    """The bars of ``[start, end)`` once more.

    Parameters
    ----------
    symbol, interval, market : str
        Whose bars.
    start, end : int
        On the interval's grid (us).
    """

    def __init__(self, symbol: str, interval: str, market: str, start: int, end: int) -> None:
        self.symbol, self.start, self.end = symbol, start, end
        self._interval, self._market, self._step = interval, market, interval_us(interval)
        self._builders: dict[int, tuple[BarBuilder, int]] = {}
        self._close: float | None = None
        self._last: AggTrade | None = None
        self._holes: list[tuple[int, int]] = []

    def add(self, trades: Iterable[AggTrade]) -> None:
        """Take the next trades by id; one from before `start` gives quiet bars their price."""
        for trade in trades:
            before, time = self._last, trade.trade_time
            if before is not None and trade.agg_id != before.agg_id + 1:
                self._holes.append((before.trade_time, time))
            self._last = trade
            if self.start <= time < self.end:
                self._fold(trade, time - time % self._step)
            elif time < self.start:
                self._close = trade.price

    def _fold(self, trade: AggTrade, open_time: int) -> None:
        known = self._builders.get(open_time)
        builder, number = known or (BarBuilder(self.symbol, self._interval, self._market), 0)
        # Numbered within the bar: a late trade leaves a hole in two bars, but nothing is missing.
        builder.update(replace(AggTrade(*_fields(trade)), agg_id=number))
        self._builders[open_time] = builder, number + 1

    def bars(self, revisions: dict[int, int]) -> list[Bar]:
        """The bars, oldest first: repaired, or partial where ids are still missing.

        Parameters
        ----------
        revisions : dict
            Revision to give to the bar of an open time; 1 where it does not say.
        """
        bars, close = [], self._close
        for open_time in range(self.start, self.end, self._step):
            quality, revision = self._quality(open_time), revisions.get(open_time, 1)
            known = self._builders.get(open_time)
            if known is not None:
                bar = known[0].advance(open_time + self._step)[0]
                bars.append(replace(bar, quality=quality, revision=revision))
                close = bar.close
            elif close is not None:
                bars.append(self._quiet(open_time, close, quality, revision))
        return bars

    def _quality(self, open_time: int) -> Quality:
        end = open_time + self._step
        return PARTIAL if any(a < end and b >= open_time for a, b in self._holes) else REPAIRED

    def _quiet(self, open_time: int, close: float, quality: Quality, revision: int) -> Bar:
        values = (close, close, close, close, 0.0, 0.0, 0, 0.0, 0.0)
        return Bar(self.symbol, self._interval, open_time, *values, quality, revision, self._market)


def _fields(trade: AggTrade) -> tuple[str, int, float, float, int, int, int, bool]:
    """A trade of the stream carries a tag, which a plain record must not."""
    return (
        trade.symbol,
        trade.agg_id,
        trade.price,
        trade.quantity,
        trade.first_id,
        trade.last_id,
        trade.trade_time,
        trade.buyer_is_maker,
    )
