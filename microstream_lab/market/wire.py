"""The one place where Binance's column orders, key names and time units become ours.

Invariant: a time unit is inferred once, from magnitude, and what leaves here is integer
microseconds; a time outside 2009 .. 2100 has no unit and is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import DecodeError
from microstream_lab.schema import (
    BAR_VALUES,
    COMPLETE,
    QUALITIES,
    TRADE_COLUMNS,
    AggTrade,
)

__all__ = [
    "AGG_TRADE_LAYOUT",
    "KLINE_LAYOUT",
    "TIME_RANGE",
    "Column",
    "Columns",
    "WireAggTrade",
    "bars_frame",
    "constant_category",
    "decode_agg_trades",
    "decode_klines",
    "decode_quote",
    "infer_unit",
    "to_micros",
    "to_micros_column",
    "trades_frame",
]

Columns = dict[str, npt.NDArray[Any]]

EARLIEST_US: Final = 1_230_768_000_000_000
LATEST_US: Final = 4_102_444_800_000_000
UNITS_US: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
TIME_RANGE: Final = "a time between 2009 and 2100 in s, ms or us"


class Column(msgspec.Struct, frozen=True):
    """A column of the archive's CSV: our name, its type, and the headers it is known under."""

    name: str
    type: type
    headers: frozenset[str]


def _column(name: str, type: type, headers: str) -> Column:  # noqa: A002
    return Column(name, type, frozenset((name, *headers.split())))


KLINE_LAYOUT: Final = (
    _column("open_time", int, ""),
    _column("open", float, ""),
    _column("high", float, ""),
    _column("low", float, ""),
    _column("close", float, ""),
    _column("volume", float, ""),
    _column("close_time", int, ""),
    _column("quote_volume", float, "quote_asset_volume"),
    _column("trades", int, "count number_of_trades"),
    _column("taker_buy_base", float, "taker_buy_volume taker_buy_base_asset_volume"),
    _column("taker_buy_quote", float, "taker_buy_quote_volume taker_buy_quote_asset_volume"),
    _column("ignore", str, ""),
)
AGG_TRADE_LAYOUT: Final = (
    _column("agg_id", int, "agg_trade_id aggregate_trade_id"),
    _column("price", float, ""),
    _column("quantity", float, "qty"),
    _column("first_id", int, "first_trade_id"),
    _column("last_id", int, "last_trade_id"),
    _column("trade_time", int, "transact_time timestamp time"),
    _column("buyer_is_maker", bool, "is_buyer_maker isbuyermaker"),
    _column("is_best_match", bool, "isbestmatch"),
)
"""Spot files have all of them, futures files lack the last."""


def infer_unit(value: float) -> int | None:
    """Microseconds per unit of a wire time, or None if no unit gives a year of 2009 .. 2100."""
    for unit in UNITS_US.values():
        if EARLIEST_US <= value * unit < LATEST_US:
            return unit
    return None


def to_micros(value: float) -> int:
    """A wire time in microseconds; :class:`DecodeError` if its year is impossible."""
    unit = infer_unit(value)
    if unit is None:
        raise DecodeError(f"time: found {value}, expected {TIME_RANGE}")
    return value * unit if isinstance(value, int) else round(value * unit)


def to_micros_column(values: npt.NDArray[Any], unit: int) -> npt.NDArray[np.int64]:
    """Wire times of one unit in microseconds."""
    micros = np.rint(values * unit) if values.dtype.kind == "f" else values * unit
    return micros.astype(np.int64, copy=False)


def constant_category(value: str, length: int, known: tuple[str, ...] = ()) -> pd.Categorical[str]:
    """A column that holds `value` throughout, at a byte a row."""
    categories = known or (value,)
    codes = np.full(length, categories.index(value), dtype=np.int8)
    return pd.Categorical.from_codes(codes, pd.Index(categories))


def bars_frame(columns: Columns, symbol: str, interval: str, market: str) -> pd.DataFrame:
    """The bars frame of wire columns whose ``open_time`` is in microseconds."""
    index = pd.DatetimeIndex(columns["open_time"].view("M8[us]"), name="open_time", tz="UTC")
    n = len(index)
    labels = {"market": market, "symbol": symbol, "interval": interval}
    # Without copy=False every value would be moved once more.
    return pd.DataFrame(
        {
            **{name: columns[name] for name in BAR_VALUES},
            "quality": constant_category(COMPLETE, n, QUALITIES),
            **{name: constant_category(value, n) for name, value in labels.items()},
        },
        index=index,
        copy=False,
    )


def trades_frame(columns: Columns, symbol: str, market: str) -> pd.DataFrame:
    """The trades frame of wire columns whose ``trade_time`` is in microseconds."""
    times = pd.DatetimeIndex(columns["trade_time"].view("M8[us]"), tz="UTC")
    n = len(times)
    return pd.DataFrame(
        {
            **{name: columns[name] for name in TRADE_COLUMNS},
            "trade_time": times,
            "market": constant_category(market, n),
            "symbol": constant_category(symbol, n),
        },
        copy=False,
    )


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Amount = Annotated[float, msgspec.Meta(ge=0, lt=1e18)]


class WireAggTrade(msgspec.Struct, frozen=True, gc=False):
    """An aggregate trade as REST writes it and, among other keys, the stream."""

    agg_id: _Count = msgspec.field(name="a")
    price: _Amount = msgspec.field(name="p")
    quantity: _Amount = msgspec.field(name="q")
    first_id: _Count = msgspec.field(name="f")
    last_id: _Count = msgspec.field(name="l")
    trade_time: _Count = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")

    def record(self, symbol: str) -> AggTrade:
        """The same as our record."""
        return AggTrade(
            symbol,
            self.agg_id,
            self.price,
            self.quantity,
            self.first_id,
            self.last_id,
            to_micros(self.trade_time),
            self.buyer_is_maker,
        )


class _Quote(msgspec.Struct, frozen=True, gc=False):
    bid: _Amount = msgspec.field(name="bidPrice")
    ask: _Amount = msgspec.field(name="askPrice")


_KlineRow = tuple[
    _Count, float, float, float, float, float, _Count, float, _Count, float, float, Any
]
# Numbers come as strings, which strict decoding would refuse.
_agg_trades = msgspec.json.Decoder(list[WireAggTrade], strict=False)
_klines = msgspec.json.Decoder(list[_KlineRow], strict=False)
_quote = msgspec.json.Decoder(_Quote, strict=False)


def decode_agg_trades(body: bytes, symbol: str) -> list[AggTrade]:
    """The aggregate trades of a REST page; :class:`DecodeError` if it is anything else."""
    try:
        return [trade.record(symbol) for trade in _agg_trades.decode(body)]
    except msgspec.DecodeError as error:
        raise DecodeError(f"aggTrades of {symbol}: {error}; found {body[:80]!r}") from error


def decode_quote(body: bytes, symbol: str) -> tuple[float, float]:
    """Best bid and ask of a REST answer, 0 for an empty side of the book.

    Raises :class:`DecodeError` if it is anything else.
    """
    try:
        quote = _quote.decode(body)
    except msgspec.DecodeError as error:
        raise DecodeError(f"bookTicker of {symbol}: {error}; found {body[:80]!r}") from error
    return quote.bid, quote.ask


def decode_klines(body: bytes) -> Columns:
    """The columns of a REST page of klines, times in the unit of the wire."""
    try:
        rows = _klines.decode(body)
    except msgspec.DecodeError as error:
        raise DecodeError(f"klines: {error}; found {body[:80]!r}") from error
    columns = zip(*rows, strict=True) if rows else ((),) * len(KLINE_LAYOUT)
    return {
        column.name: np.array(values, dtype={int: np.int64, float: np.float64}[column.type])
        for column, values in zip(KLINE_LAYOUT, columns, strict=True)
        if column.type is not str
    }
