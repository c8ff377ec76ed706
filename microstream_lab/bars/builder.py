"""Trades to bars, one trade at a time.

Invariant: a bar is closed by a trade of a later bar or by a watermark that proves the market quiet,
never by a clock; what was closed is never silently changed, and no trade is silently left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import islice
from struct import pack
from typing import Final

import numpy as np

from microstream_lab.bars.summing import rows_to_sum, settled
from microstream_lab.errors import DataError, LateTradeError
from microstream_lab.schema import (
    COMPLETE,
    PARTIAL,
    QUALITIES,
    AggTrade,
    Bar,
    Quality,
    interval_us,
)

__all__ = ["BarBuilder"]

_HELD: Final = 64
"""Trades that came singly are held, so many at most, for their numbers to be noted together."""
_NOTED: Final = 2_048
"""Trades whose numbers are noted before they are added, together, to the sums."""
_MOST_CLOSED: Final = 3_000_000
"""So many bars are closed at once (34 days of seconds); a time beyond is an error and no flood."""


class BarBuilder:
    """Bars from trades that come one at a time, in the order of ``agg_id``.

    Parameters
    ----------
    symbol, interval : str
        Whose trades, and the length of a bar.
    market : str
        ``spot``, ``um`` or ``sim``.

    Notes
    -----
    The state is a score of numbers, and those of some thousand trades at most that are not added
    yet: adding many in one go costs a fraction. It can be pickled at any time. Trades of one symbol
    carry ascending times on the exchange; one whose bar is closed nevertheless is refused with
    :class:`~microstream_lab.errors.LateTradeError` and changes nothing, and its bar is to be made
    anew with :func:`~microstream_lab.bars.bars_from_trades`, which counts such a trade in the bar
    of its own time.
    """

    __slots__ = (
        "_close",
        "_end",
        "_estimate",
        "_exact",
        "_held",
        "_high",
        "_live_until",
        "_low",
        "_next_id",
        "_open",
        "_open_time",
        "_prices",
        "_quality",
        "_revision",
        "_sizes",
        "_sold",
        "_step",
        "_trades",
        "interval",
        "market",
        "symbol",
    )

    def __init__(self, symbol: str, interval: str, market: str = "spot") -> None:
        self.symbol, self.interval, self.market = symbol, interval, market
        self._step = interval_us(interval)
        self._next_id: int | None = None
        self._turn(0, 0.0, COMPLETE)

    def _turn(self, open_time: int, close: float, quality: Quality) -> None:
        """Begin a bar, quiet until a trade comes."""
        self._open_time, self._end = open_time, open_time + self._step
        self._live_until = open_time  # no trade passes update's fast path before the bar's first
        self._open = self._high = self._low = self._close = close
        self._trades = self._revision = 0
        self._quality = quality
        self._held: list[AggTrade] = []
        self._prices, self._sizes, self._sold = array("d"), array("d"), bytearray()
        self._exact, self._estimate = np.zeros((2, 2), np.int64), np.zeros((2, 2))

    def update(self, trade: AggTrade, quality: Quality = COMPLETE) -> list[Bar]:
        """Take the next trade and return the bars it closes, oldest first.

        Parameters
        ----------
        trade : AggTrade
            The next by ``agg_id``.
        quality : {"complete", "repaired", "partial"}
            How the trades between the last one and this one are known: every bar from the forming
            one to this trade's is called the worse of this and what it was. Missing ids make them
            partial in any case.

        Raises
        ------
        LateTradeError
            If the trade's bar has been closed; nothing has changed.
        DataError
            If its ``agg_id`` is not above that of the last trade, or its time is beyond what
            :meth:`advance` believes; nothing has changed.
        """
        if (
            trade.agg_id == self._next_id
            and self._open_time <= trade.trade_time < self._live_until
            and quality is COMPLETE
            and len(self._held) < _HELD
        ):
            self._held.append(trade)
            self._next_id += 1
            return []
        closed = self._turn_to(trade, quality)
        self._held.append(trade)
        self._next_id = trade.agg_id + 1
        return closed

    def absorb(self, trades: Sequence[AggTrade], start: int = 0) -> int:
        """Take trades from place `start` on for as long as they simply follow each other.

        Returns
        -------
        int
            Place of the first trade that was not taken, as it begins another bar or is not the next
            one: for :meth:`update` to look at.
        """
        next_id, since, until = self._next_id, self._open_time, self._live_until
        for trade in islice(trades, start, None):
            if trade.agg_id != next_id or not since <= trade.trade_time < until:
                break
            next_id += 1
        stop = start + (next_id or 0) - (self._next_id or 0)
        self._next_id = next_id
        self._note_held()
        if stop > start:
            self._note(trades[start:stop])
        return stop

    def advance(self, watermark: int) -> list[Bar]:
        """Close the bars that end by `watermark` and return them, oldest first.

        `watermark` is a time (us) before which no further trade can come: that of a later trade
        of the feed or of the exchange's word that all is told, never that of a clock. Before the
        first trade nothing is known and nothing is closed.

        Raises
        ------
        DataError
            If that would be more than three million bars; nothing has changed.
        """
        self._require_near(watermark)
        return self._close_until(watermark, COMPLETE)

    def flush(self) -> Bar | None:
        """The forming bar, called partial; None before the first trade.

        The bar keeps forming: should it close after all, it goes out with the next revision.
        """
        bar = self.forming
        self._revision += 1
        return bar

    @property
    def forming(self) -> Bar | None:
        """The bar as it stands, called partial; None before the first trade."""
        return None if self._next_id is None else self._bar(PARTIAL)

    def _turn_to(self, trade: AggTrade, quality: Quality) -> list[Bar]:
        """Make the bar of `trade` the forming one."""
        closed: list[Bar] = []
        time, opened = trade.trade_time, trade.trade_time - trade.trade_time % self._step
        if self._next_id is None:
            self._turn(opened, trade.price, quality)
        else:
            self._require_next(trade)
            link = PARTIAL if trade.agg_id != self._next_id else quality
            self._quality = _worse(self._quality, link)
            closed = self._close_until(time, link)
        if self._live_until < self._end:
            self._open = self._high = self._low = trade.price
            self._live_until = self._end
        self._note_held()
        return closed

    def _note_held(self) -> None:
        if self._held:
            self._note(self._held)
            self._held.clear()

    def _note(self, trades: Sequence[AggTrade]) -> None:
        """Take the numbers of trades of the forming bar while they are at hand."""
        floats = f"{len(trades)}d"  # packing takes half the time of array.fromlist
        self._prices.frombytes(pack(floats, *[trade.price for trade in trades]))
        self._sizes.frombytes(pack(floats, *[trade.quantity for trade in trades]))
        self._sold += bytes([trade.buyer_is_maker for trade in trades])
        self._trades += len(trades) + sum([trade.last_id - trade.first_id for trade in trades])
        self._close = trades[-1].price
        if len(self._sold) >= _NOTED:
            self._add()

    def _add(self) -> None:
        """Add the numbers that are noted to the sums."""
        if not self._sold:
            return
        price = np.frombuffer(self._prices)
        exact, estimate = rows_to_sum(price, np.frombuffer(self._sizes))
        shares = np.ones((len(price), 2), np.int64)  # of all, and of what takers bought
        shares[:, 1] -= np.frombuffer(self._sold, np.bool_)
        self._exact += (exact @ shares).T
        self._estimate += (estimate @ shares).T
        self._high = max(self._high, float(price.max()))
        self._low = min(self._low, float(price.min()))
        self._prices, self._sizes, self._sold = array("d"), array("d"), bytearray()

    def _require_next(self, trade: AggTrade) -> None:
        if self._next_id is not None and trade.agg_id < self._next_id:
            found = f"agg_id {trade.agg_id} after {self._next_id - 1}"
            raise DataError(f"trades of {self.symbol}", found, "agg_id ascending and unique")
        if trade.trade_time < self._open_time:
            raise LateTradeError(self.symbol, trade.agg_id, trade.trade_time, self._open_time)
        self._require_near(trade.trade_time)

    def _require_near(self, watermark: int) -> None:
        latest = self._open_time + _MOST_CLOSED * self._step
        if self._next_id is not None and watermark > latest:
            where = f"{self.interval} bars of {self.symbol}"
            raise DataError(where, f"a watermark of {watermark}", f"{latest} at most")

    def _close_until(self, watermark: int, quality: Quality) -> list[Bar]:
        closed: list[Bar] = []
        while self._next_id is not None and self._end <= watermark:
            closed.append(self._bar(self._quality))
            self._turn(self._end, self._close, quality)
        return closed

    def _bar(self, quality: Quality) -> Bar:
        self._note_held()
        self._add()
        (volume, quote_volume), taker = settled(self._exact, self._estimate).tolist()
        taker_buy_base, taker_buy_quote = taker
        return Bar(
            self.symbol,
            self.interval,
            self._open_time,
            self._open,
            self._high,
            self._low,
            self._close,
            volume,
            quote_volume,
            self._trades,
            taker_buy_base,
            taker_buy_quote,
            quality,
            self._revision,
            self.market,
        )


def _worse(one: Quality, other: Quality) -> Quality:
    return max(one, other, key=QUALITIES.index)
