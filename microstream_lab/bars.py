"""Trades to bars, in batch and one at a time.

Invariant: a trade belongs to the bar of its own ``trade_time``, as in the exchange's klines; within
a bar the order is that of ``agg_id``. A bar is closed by a trade of a later bar or by a watermark
that proves the market quiet, never by a clock. Both faces do the same float operations in the same
order, so they agree in every bit, and sums end on the exchange's own eighth decimal.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microstream_lab.errors import DataError, LateTradeError
from microstream_lab.schema import (
    BAR_VALUES,
    COMPLETE,
    PARTIAL,
    QUALITIES,
    TRADE_COLUMNS,
    AggTrade,
    Bar,
    Quality,
    as_micros,
    interval_us,
)
from microstream_lab.summing import joined, settled

__all__ = ["BarBuilder", "bars_from_trades"]

_FOLDED: Final[dict[str, type]] = {
    "trade_time": np.int64,
    "agg_id": np.int64,
    "price": np.float64,
    "quantity": np.float64,
    "first_id": np.int64,
    "last_id": np.int64,
    "buyer_is_maker": np.bool_,
}


def bars_from_trades(
    trades: pd.DataFrame, interval: str, until: object | None = None
) -> pd.DataFrame:
    """Bars of the trades of one symbol, quiet bars included.

    Parameters
    ----------
    trades : DataFrame
        The columns :data:`~microstream_lab.schema.TRADE_COLUMNS`, ``market`` and ``symbol``,
        ordered by ``agg_id``. A ``trade_time`` may be earlier than that of the trade before it:
        the trade still counts in the bar of its own time.
    interval : str
        Such as ``"1m"``.
    until : timestamp, str or int of microseconds, optional
        A time before which the trades are known to be all there are: quiet bars that end by then
        are added after the last trade's bar.

    Returns
    -------
    DataFrame
        A bars frame from the first trade's bar to the last's. The first and the last bar hold
        whatever the frame holds of them. Bars between whose ids some are missing, and those the
        hole lies in, are ``partial``, all others ``complete``.

    Raises
    ------
    DataError
        If a column is missing, there are no trades, a number is not finite, or ``agg_id`` does not
        rise from row to row.
    """
    from microstream_lab.folding import fold, survey  # numba loads with the first batch only

    _require_trades(trades)
    step = interval_us(interval)
    times, agg_ids, *columns = (_plain(trades[name]) for name in _FOLDED)
    fallen, n_holes, in_order = survey(agg_ids, times, step)
    if fallen >= 0:
        found = f"agg_id {agg_ids[fallen]} after {agg_ids[fallen - 1]}"
        raise DataError(f"trades, row {fallen}", found, "agg_id ascending and unique")
    in_id_order = times
    if not in_order:
        order = np.argsort(times // step, kind="stable")
        times, *columns = (_fixed(column[order]) for column in (times, *columns))
    open_times = _open_times(times, step, until)
    price, quantity, first_ids, last_ids, maker = columns
    values = fold(times, price, quantity, first_ids, last_ids, maker, step, len(open_times))
    quality = np.zeros(len(open_times), dtype=np.int8)
    if n_holes:
        _mark_holes(quality, agg_ids, (in_id_order - open_times[0]) // step)
    return _bars_frame(open_times, values, quality, trades, interval)


def _require_trades(trades: pd.DataFrame) -> None:
    missing = [n for n in (*TRADE_COLUMNS, "market", "symbol") if n not in trades.columns]
    if missing:
        expected = f"columns {' '.join(TRADE_COLUMNS)} market symbol"
        raise DataError("trades", f"no column {missing[0]}", expected)
    if trades.empty:
        raise DataError("trades", "no rows", "at least one trade")
    for name in ("market", "symbol"):
        if (trades[name] != trades[name].iloc[0]).any():
            found = f"{trades[name].nunique()} values of {name}"
            raise DataError("trades", found, "trades of one symbol")
    for name in ("price", "quantity"):
        if not np.isfinite(trades[name].to_numpy(np.float64).sum()):
            raise DataError("trades", f"a {name} that is not finite", "finite numbers")


def _plain(column: pd.Series[Any]) -> NDArray[Any]:
    """A column as the kernel takes it; times become microseconds."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return _fixed(pd.DatetimeIndex(column).as_unit("us").asi8)
    return _fixed(column.to_numpy(_FOLDED[str(column.name)]))


def _fixed(values: NDArray[Any]) -> NDArray[Any]:
    """Contiguous and read-only, always: every other layout would be compiled for anew."""
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


def _open_times(times: NDArray[np.int64], step: int, until: object | None) -> NDArray[np.int64]:
    first, last = times[0] - times[0] % step, times[-1] - times[-1] % step
    if until is not None:
        last = max(last, as_micros(until) // step * step - step)
    return np.arange(first, last + step, step, dtype=np.int64)


def _mark_holes(
    quality: NDArray[np.int8], agg_ids: NDArray[np.int64], bars: NDArray[np.int64]
) -> None:
    """Call partial what lies between two trades with ids missing between them."""
    rows = np.flatnonzero(np.diff(agg_ids) != 1)
    ends = np.sort([bars[rows], bars[rows + 1]], axis=0)
    n_holes = np.zeros(len(quality) + 1, dtype=np.int64)
    np.add.at(n_holes, ends[0], 1)
    np.add.at(n_holes, ends[1] + 1, -1)
    quality[n_holes.cumsum()[:-1] > 0] = QUALITIES.index(PARTIAL)


def _bars_frame(
    open_times: NDArray[np.int64],
    values: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]],
    quality: NDArray[np.int8],
    trades: pd.DataFrame,
    interval: str,
) -> pd.DataFrame:
    prices, sums, counts = values
    columns = (*prices.T, *sums[:, :2].T, counts, *sums[:, 2:].T)
    index = pd.DatetimeIndex(open_times.view("M8[us]"), tz="UTC", name="open_time")
    bars = pd.DataFrame(dict(zip(BAR_VALUES, columns, strict=True)), index=index)
    bars["quality"] = pd.Categorical.from_codes(quality, pd.Index(QUALITIES))
    constants = {name: str(trades[name].iloc[0]) for name in ("market", "symbol")}
    for name, value in {**constants, "interval": interval}.items():
        bars[name] = pd.Categorical.from_codes(np.zeros_like(quality), pd.Index([value]))
    return bars


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
    anew with :func:`bars_from_trades`, which counts such a trade in the bar of its own time.
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
