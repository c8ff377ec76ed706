"""Our frames as the exchange writes them in its archive: column order, units, eight decimals.

Invariant: prices and volumes that are multiples of 1e-8, as all of the exchange's are, come back
unchanged when the text is read.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import DataError
from microstream_lab.schema import interval_us

__all__ = ["FUTURES_KLINE_HEADER", "agg_trade_text", "eight_decimals", "kline_text"]

FUTURES_KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,"
    "count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
_COARSE = 2.0**52 * 1e-8
"""From here on neighbouring floats are so far apart that their eighth decimal is noise."""
_KLINE_VALUES = ("open", "high", "low", "close", "volume")
_KLINE_SUMS = ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")


def eight_decimals(value: float) -> str:
    """A price or volume as the exchange writes it; large ones by their shortest decimal."""
    return f"{value:.8f}" if value < _COARSE else f"{Decimal(repr(value)):.8f}"


def kline_text(bars: pd.DataFrame, unit_us: int) -> str:
    """The CSV rows of a bars frame, times in units of `unit_us` microseconds."""
    opens = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    closes = opens + interval_us(str(bars["interval"].iloc[0])) - unit_us
    columns = [
        opens // unit_us,
        *(bars[name] for name in _KLINE_VALUES),
        closes // unit_us,
        *(bars[name] for name in _KLINE_SUMS),
    ]
    return _render(columns, "0")


def agg_trade_text(trades: pd.DataFrame, unit_us: int) -> str:
    """The CSV rows of a trades frame, times in units of `unit_us` microseconds."""
    times = pd.DatetimeIndex(trades["trade_time"]).as_unit("us").asi8
    if (times % unit_us).any():
        row = int((times % unit_us != 0).argmax())
        found = f"trade_time {trades['trade_time'].iloc[row]}"
        raise DataError("trades", found, f"a multiple of {unit_us} us, the unit of the file")
    columns = [
        *(trades[name] for name in ("agg_id", "price", "quantity", "first_id", "last_id")),
        times // unit_us,
        trades["buyer_is_maker"],
    ]
    return _render(columns, "True")


def _render(columns: list[Any], last: str) -> str:
    cells = [_cells(np.asarray(column)) for column in columns]
    return "".join(f"{','.join(row)},{last}\n" for row in zip(*cells, strict=True))


def _cells(column: npt.NDArray[Any]) -> list[str]:
    if column.dtype.kind != "f":
        return [str(value) for value in column.tolist()]
    if not np.isfinite(column).all():
        raise DataError("frame to write", "a value that is not finite", "finite numbers")
    return [eight_decimals(value) for value in column.tolist()]
