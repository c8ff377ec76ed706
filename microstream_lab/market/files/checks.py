"""What rows of bars and trades must fulfil before they may be believed.

Invariant: every check runs over whole columns; the first row that fails is named with its line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.market.files.table import Rows
from microstream_lab.market.names import Period
from microstream_lab.market.wire import (
    EARLIEST_US,
    LATEST_US,
    TIME_RANGE,
    UNITS_US,
    infer_unit,
    to_micros_column,
)
from microstream_lab.schema import interval_us

__all__ = ["check_agg_trades", "check_klines"]

_Mask = npt.NDArray[np.bool_]
_PRICES: Final = ("open", "high", "low", "close")
_SUMS: Final = ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
_SLACK: Final = 1e-9
"""Relative room for the last digit of volumes that were summed on their own."""


def check_klines(rows: Rows, interval: str, period: Period | None = None) -> None:
    """Convert the times of `rows` to microseconds, in place, and check every kline.

    Parameters
    ----------
    rows : Rows
        The columns of :data:`wire.KLINE_LAYOUT`.
    interval : str
        The interval they must have.
    period : Period, optional
        The month or day that the file's name declares.

    Raises
    ------
    DataError
        With the line of the first row that breaks a rule.
    """
    unit = _convert_times(rows, "open_time", "close_time")
    _check_grid(rows, interval)
    _check_ascending(rows, "open_time")
    _check_close_times(rows, interval, unit)
    _check_period(rows, "open_time", period)
    _check_numbers(rows, _PRICES, above_zero=True)
    _check_numbers(rows, _SUMS)
    _check_prices(rows)
    _check_taker(rows, "taker_buy_base", "volume")
    _check_taker(rows, "taker_buy_quote", "quote_volume")


def check_agg_trades(rows: Rows, period: Period | None = None) -> None:
    """Convert the times of `rows` to microseconds, in place, and check every aggregate trade.

    Ids must ascend; holes between them are for the importer to record.

    Raises
    ------
    DataError
        With the line of the first row that breaks a rule.
    """
    _convert_times(rows, "trade_time")
    _check_numbers(rows, ("agg_id", "first_id", "last_id"))
    _check_ascending(rows, "agg_id")
    _check_period(rows, "trade_time", period)
    _check_numbers(rows, ("price", "quantity"), above_zero=True)
    ok = rows.columns["last_id"] >= rows.columns["first_id"]
    _require(rows, ok, "first_id <= last_id", "first_id", "last_id")


def _require(rows: Rows, ok: _Mask, expected: str, *names: str) -> None:
    """Unless every row is `ok`, tell the first that is not by its values of `names`."""
    if not ok.all():
        row = int(ok.argmin())
        found = ", ".join(f"{name} {_shown(rows, name, row)}" for name in names)
        raise rows.error(row, found, expected)


def _shown(rows: Rows, name: str, row: int) -> str:
    value = rows.columns[name][row]
    if not name.endswith("_time"):
        return str(value)
    clock = f"{pd.Timestamp(int(value), unit='us'):%Y-%m-%d %H:%M:%S.%f}"
    return clock.rstrip("0").rstrip(".")


def _convert_times(rows: Rows, *names: str) -> int:
    """Bring times to microseconds, all in the unit of the very first; return that unit."""
    first = rows.columns[names[0]][0]
    unit = infer_unit(float(first))
    if unit is None:
        raise rows.error(0, f"{names[0]} {first}", TIME_RANGE)
    word = next(word for word, size in UNITS_US.items() if size == unit)
    for name in names:
        wire = rows.columns[name]
        ok = (wire >= EARLIEST_US // unit) & (wire < LATEST_US // unit)
        if not ok.all():
            row = int(ok.argmin())
            raise rows.error(row, f"{name} {wire[row]}", f"a time in {word} as in the first row")
        rows.columns[name] = to_micros_column(wire, unit)
    return unit


def _check_grid(rows: Rows, interval: str) -> None:
    ok = rows.columns["open_time"] % interval_us(interval) == 0
    _require(rows, ok, f"a multiple of {interval}", "open_time")


def _check_ascending(rows: Rows, name: str) -> None:
    values = rows.columns[name]
    ok = np.append(True, values[1:] > values[:-1])
    if not ok.all():
        row = int(ok.argmin())
        before, here = (_shown(rows, name, place) for place in (row - 1, row))
        raise rows.error(row, f"{name} {here} after {before}", f"{name} ascending, each once")


def _check_close_times(rows: Rows, interval: str, unit: int) -> None:
    span = rows.columns["close_time"] - rows.columns["open_time"]
    length = interval_us(interval)
    ok = (span >= length - unit) & (span < length)
    _require(rows, ok, f"a bar of {interval}", "open_time", "close_time")


def _check_period(rows: Rows, name: str, period: Period | None) -> None:
    if period is not None:
        times = rows.columns[name]
        ok = (times >= period.start_us) & (times < period.end_us)
        _require(rows, ok, f"a time in {period} as in the file's name", name)


def _check_numbers(rows: Rows, names: Iterable[str], above_zero: bool = False) -> None:
    expected = "a finite number above zero" if above_zero else "a finite number, zero or more"
    for name in names:
        values = rows.columns[name]
        ok = ((values > 0) if above_zero else (values >= 0)) & (values < np.inf)
        _require(rows, ok, expected, name)


def _check_prices(rows: Rows) -> None:
    opens, highs, lows, closes = (rows.columns[name] for name in _PRICES)
    ok = (lows <= np.minimum(opens, closes)) & (highs >= np.maximum(opens, closes))
    _require(rows, ok, "low <= open, close <= high", *_PRICES)


def _check_taker(rows: Rows, part: str, whole: str) -> None:
    ok = rows.columns[part] <= rows.columns[whole] * (1 + _SLACK) + 1e-8
    _require(rows, ok, f"{part} at most {whole}", part, whole)
