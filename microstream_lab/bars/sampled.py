"""Tick, volume and dollar bars for research: a bar closes when enough has traded, not by the clock.

Invariant: a bar is made of whole trades, as many as it takes to reach the size, and the next one
starts from nothing; what is counted is whole (units of 1e-8), so that both faces close at the same
trade. All else is done by the bars of time, on a clock that ticks once a bar.

References
----------
Lopez de Prado (2018), Advances in Financial Machine Learning, section 2.3.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microstream_lab.bars.batch import bars_from_trades, require_trades
from microstream_lab.bars.builder import BarBuilder
from microstream_lab.errors import SettingsError
from microstream_lab.schema import (
    BAR_VALUES,
    COMPLETE,
    PARTIAL,
    QUALITIES,
    TIME_DTYPE,
    AggTrade,
    Bar,
    Quality,
    interval_us,
)

__all__ = ["SampleKind", "SampledBar", "SampledBarBuilder", "sampled_bars"]

SampleKind = Literal["tick", "volume", "dollar"]

_TICK: Final = "1s"
_UNITS: Final = 1e8
_MOST: Final = 2**62


class SampledBar(msgspec.Struct, frozen=True, gc=False):
    """What traded between two trades, both included.

    As :class:`~microstream_lab.schema.Bar`, but ``open_time`` and ``close_time`` are the times of
    its first and last trade (us), and ``kind`` and ``size`` stand where the interval does.
    """

    symbol: str
    kind: SampleKind
    size: float
    open_time: int
    close_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    taker_buy_base: float
    taker_buy_quote: float
    quality: Quality = COMPLETE
    market: str = "spot"


def sampled_bars(trades: pd.DataFrame, kind: SampleKind, size: float) -> pd.DataFrame:
    """Bars of `size` single trades, base units or quote units each.

    Parameters
    ----------
    trades : DataFrame
        As :func:`~microstream_lab.bars.bars_from_trades` takes them.
    kind : {"tick", "volume", "dollar"}
        What is counted: single trades, base volume or quote volume.
    size : float
        How much closes a bar, above zero; the last trade may carry a bar beyond it.

    Returns
    -------
    DataFrame
        The bars that are full, numbered from 0: ``open_time`` and ``close_time`` of the first and
        the last trade, which need not be unique, the values of a bars frame, ``quality`` (partial
        where ids are missing inside or just before), ``market`` and ``symbol``.

    Raises
    ------
    SettingsError
        If the kind is unknown or the size cannot be counted to.
    DataError
        As :func:`~microstream_lab.bars.bars_from_trades`.
    """
    from microstream_lab.bars.counting import bar_numbers  # numba loads with the first batch only

    whole = _whole_size(kind, size)
    require_trades(trades)
    numbers, n_full = bar_numbers(_counted(trades, kind), whole)
    ticks = trades.assign(trade_time=numbers * interval_us(_TICK))
    bars = bars_from_trades(ticks, _TICK).iloc[:n_full]
    first = np.searchsorted(numbers, np.arange(n_full + 1))
    times = pd.DatetimeIndex(pd.to_datetime(trades["trade_time"], unit="us", utc=True))
    spans = (times[first[:-1]], times[first[1:] - 1])
    return _frame(bars, spans, _quality(trades, numbers, n_full))


class SampledBarBuilder:
    """The same, one trade at a time.

    Parameters
    ----------
    symbol : str
        Whose trades.
    kind : {"tick", "volume", "dollar"}
        What is counted: single trades, base volume or quote volume.
    size : float
        How much closes a bar, above zero.
    market : str
        ``spot``, ``um`` or ``sim``.
    """

    def __init__(self, symbol: str, kind: SampleKind, size: float, market: str = "spot") -> None:
        self.kind, self.size = kind, size
        self._whole = _whole_size(kind, size)
        self._builder = BarBuilder(symbol, _TICK, market)
        self._clock = self._count = 0
        self._open_time = self._close_time = 0

    def update(self, trade: AggTrade) -> SampledBar | None:
        """Take the next trade and return the bar it closes, if it does.

        Raises
        ------
        DataError
            If its ``agg_id`` is not above that of the last trade; nothing has changed.
        """
        self._builder.update(msgspec.structs.replace(trade, trade_time=self._clock))
        if not self._count:
            self._open_time = trade.trade_time
        self._close_time = trade.trade_time
        self._count += _counted_one(trade, self.kind)
        if self._count < self._whole:
            return None
        self._clock, self._count = self._clock + interval_us(_TICK), 0
        (bar,) = self._builder.advance(self._clock)
        return self._sampled(bar)

    def flush(self) -> SampledBar | None:
        """The bar that is not full yet, called partial; None where none has begun."""
        bar = self._builder.forming
        return None if bar is None or not self._count else self._sampled(bar)

    def _sampled(self, bar: Bar) -> SampledBar:
        values = [getattr(bar, name) for name in BAR_VALUES]
        times = (self._open_time, self._close_time)
        record = (bar.symbol, self.kind, self.size, *times, *values, bar.quality, bar.market)
        return SampledBar(*record)


def _whole_size(kind: str, size: float) -> int:
    if kind not in get_args(SampleKind):
        known = " ".join(get_args(SampleKind))
        raise SettingsError(f"kind of bars: found {kind!r}, expected one of {known}")
    if not 1 / _UNITS <= size < 1e10:
        raise SettingsError(f"size of {kind} bars: found {size}, expected from 1e-8 to 1e10")
    return round(size * _UNITS)


def _counted(trades: pd.DataFrame, kind: str) -> NDArray[np.int64]:
    """What each trade counts for, in units of 1e-8, shape ``(n_trades,)``."""
    if kind == "tick":
        single = trades["last_id"].to_numpy(np.int64) - trades["first_id"].to_numpy(np.int64) + 1
        amount = single.astype(np.float64)
    elif kind == "volume":
        amount = trades["quantity"].to_numpy(np.float64)
    else:
        amount = trades["price"].to_numpy(np.float64) * trades["quantity"].to_numpy(np.float64)
    counted: NDArray[np.int64] = np.minimum(np.rint(amount * _UNITS), _MOST).astype(np.int64)
    return counted


def _counted_one(trade: AggTrade, kind: str) -> int:
    if kind == "tick":
        amount = float(trade.last_id - trade.first_id + 1)
    elif kind == "volume":
        amount = trade.quantity
    else:
        amount = trade.price * trade.quantity
    return min(round(amount * _UNITS), _MOST)


def _quality(trades: pd.DataFrame, numbers: NDArray[np.int64], n_full: int) -> NDArray[np.int8]:
    """Partial where the trades of a hole would have been counted."""
    after_hole = numbers[1:][np.diff(trades["agg_id"].to_numpy(np.int64)) != 1]
    quality = np.full(n_full, QUALITIES.index(COMPLETE), dtype=np.int8)
    quality[after_hole[after_hole < n_full]] = QUALITIES.index(PARTIAL)
    return quality


def _frame(
    bars: pd.DataFrame,
    spans: tuple[pd.DatetimeIndex, pd.DatetimeIndex],
    quality: NDArray[np.int8],
) -> pd.DataFrame:
    sampled = bars.drop(columns="interval").set_axis(pd.RangeIndex(len(bars), name="bar"))
    sampled["quality"] = pd.Categorical.from_codes(quality, pd.Index(QUALITIES))
    for place, name in enumerate(("open_time", "close_time")):
        sampled.insert(place, name, spans[place].astype(TIME_DTYPE))
    return sampled
