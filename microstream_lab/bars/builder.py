"""Trades to bars, one trade at a time.

Invariant: a bar is closed by a trade of a later bar or by a watermark that proves the market quiet,
never by a clock; what was closed is never silently changed, and no trade is silently left out.
"""

from __future__ import annotations

from microstream_lab.bars.summing import joined, settled
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
    The state is a score of numbers and can be pickled at any time. Trades of one symbol carry
    ascending times on the exchange; one whose bar has been closed nevertheless is refused with
    :class:`~microstream_lab.errors.LateTradeError` and changes nothing, and its bar is to be made
    anew with :func:`~microstream_lab.bars.bars_from_trades`, which counts such a trade in the bar
    of its own time.
    """

    __slots__ = (
        "_buy_base",
        "_buy_base_lost",
        "_buy_quote",
        "_buy_quote_lost",
        "_close",
        "_end",
        "_high",
        "_live_until",
        "_low",
        "_next_id",
        "_open",
        "_open_time",
        "_quality",
        "_revision",
        "_sell_base",
        "_sell_base_lost",
        "_sell_quote",
        "_sell_quote_lost",
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
        self._buy_base = self._buy_base_lost = self._buy_quote = self._buy_quote_lost = 0.0
        self._sell_base = self._sell_base_lost = self._sell_quote = self._sell_quote_lost = 0.0

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
            If its ``agg_id`` is not above that of the last trade; nothing has changed.
        """
        time = trade.trade_time
        if (
            trade.agg_id != self._next_id
            or not self._open_time <= time < self._live_until
            or quality is not COMPLETE
        ):
            closed = self._turn_to(trade, quality)
        else:
            closed = []
        self._next_id = trade.agg_id + 1
        price, quantity = trade.price, trade.quantity
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._close = price
        self._trades += trade.last_id - trade.first_id + 1
        # summing.added, four times by hand: a call each would double the cost of a trade
        if trade.buyer_is_maker:
            total = self._sell_base
            step = quantity - self._sell_base_lost
            self._sell_base = larger = total + step
            self._sell_base_lost = (larger - total) - step
            total = self._sell_quote
            step = price * quantity - self._sell_quote_lost
            self._sell_quote = larger = total + step
            self._sell_quote_lost = (larger - total) - step
        else:
            total = self._buy_base
            step = quantity - self._buy_base_lost
            self._buy_base = larger = total + step
            self._buy_base_lost = (larger - total) - step
            total = self._buy_quote
            step = price * quantity - self._buy_quote_lost
            self._buy_quote = larger = total + step
            self._buy_quote_lost = (larger - total) - step
        return closed

    def advance(self, watermark: int) -> list[Bar]:
        """Close the bars that end by `watermark` and return them, oldest first.

        `watermark` is a time (us) before which no further trade can come: that of a later trade
        of the feed or of the exchange's word that all is told, never that of a clock. Before the
        first trade nothing is known and nothing is closed.
        """
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
        if not self._trades:
            self._open = self._high = self._low = trade.price
            self._live_until = self._end
        return closed

    def _require_next(self, trade: AggTrade) -> None:
        if self._next_id is not None and trade.agg_id < self._next_id:
            found = f"agg_id {trade.agg_id} after {self._next_id - 1}"
            raise DataError(f"trades of {self.symbol}", found, "agg_id ascending and unique")
        if trade.trade_time < self._open_time:
            raise LateTradeError(self.symbol, trade.agg_id, trade.trade_time, self._open_time)

    def _close_until(self, watermark: int, quality: Quality) -> list[Bar]:
        closed: list[Bar] = []
        while self._next_id is not None and self._end <= watermark:
            closed.append(self._bar(self._quality))
            self._turn(self._end, self._close, quality)
        return closed

    def _bar(self, quality: Quality) -> Bar:
        buy_base, buy_base_lost = self._buy_base, self._buy_base_lost
        buy_quote, buy_quote_lost = self._buy_quote, self._buy_quote_lost
        return Bar(
            self.symbol,
            self.interval,
            self._open_time,
            self._open,
            self._high,
            self._low,
            self._close,
            settled(*joined(buy_base, buy_base_lost, self._sell_base, self._sell_base_lost)),
            settled(*joined(buy_quote, buy_quote_lost, self._sell_quote, self._sell_quote_lost)),
            self._trades,
            settled(buy_base, buy_base_lost),
            settled(buy_quote, buy_quote_lost),
            quality,
            self._revision,
            self.market,
        )


def _worse(one: Quality, other: Quality) -> Quality:
    return max(one, other, key=QUALITIES.index)
