"""Trades as the exchange keeps them: one integer column a trade, prices and sizes in 1e-8 units.

Invariant: the conversion to integers is exact or refused, so that everything the exchange says and
everything it is compared with comes from the same digits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microstream_lab.errors import DataError
from microstream_lab.market.wire import trades_frame
from microstream_lab.schema import TRADE_COLUMNS

__all__ = [
    "AGG_ID",
    "DUE",
    "FIRST_ID",
    "LAST_ID",
    "MAKER",
    "PRICE",
    "QUANTITY",
    "TIME",
    "UNITS",
    "Ints",
    "as_decimals",
    "as_frame",
    "as_tape",
    "single_trades",
]

Ints = NDArray[np.int64]

AGG_ID, PRICE, QUANTITY, FIRST_ID, LAST_ID, TIME, MAKER, DUE = range(8)
"""Rows of a tape, an array of shape (8, n_trades).

``DUE`` is when the trade goes over the wire: its time, or that of an earlier id if that is later.
"""
UNITS: Final = 100_000_000
_FLOAT_EXACT: Final = 2**53
_EXACT_BELOW: Final = float(2**63 - 1024)


def as_tape(trades: pd.DataFrame, where: str) -> Ints:
    """The tape of a trades frame.

    Raises
    ------
    DataError
        If ids do not ascend, or a number has more than eight decimals.
    """
    tape = np.empty((8, len(trades)), np.int64)
    for row, name in ((AGG_ID, "agg_id"), (FIRST_ID, "first_id"), (LAST_ID, "last_id")):
        tape[row] = trades[name].to_numpy(np.int64)
    for row, name in ((PRICE, "price"), (QUANTITY, "quantity")):
        tape[row] = _units(trades[name].to_numpy(np.float64), name, where)
    tape[TIME] = pd.DatetimeIndex(trades["trade_time"]).as_unit("us").asi8
    tape[MAKER] = trades["buyer_is_maker"].to_numpy(np.bool_)
    tape[DUE] = np.maximum.accumulate(tape[TIME])
    falls = np.flatnonzero(np.diff(tape[AGG_ID]) < 1)
    if len(falls):
        before, after = tape[AGG_ID, falls[0]], tape[AGG_ID, falls[0] + 1]
        raise DataError(where, f"agg_id {after} after {before}", "agg_id ascending, each once")
    return tape


def _units(values: NDArray[np.float64], name: str, where: str) -> Ints:
    scaled = np.rint(values * UNITS)
    # What is not finite fails here as well: a comparison with NaN is false.
    sound = (scaled / UNITS == values) & (scaled > 0) & (scaled < _EXACT_BELOW)
    if not sound.all():
        found = f"{name} {values[int(sound.argmin())]!r}"
        raise DataError(where, found, "a number above zero with at most eight decimals")
    return scaled.astype(np.int64)


def as_decimals(units: Ints) -> NDArray[np.float64]:
    """The floats nearest to these numbers of 1e-8 units."""
    if len(units) and units.max() > _FLOAT_EXACT:
        return np.array([value / UNITS for value in units.tolist()])
    return units / UNITS


def as_frame(tape: Ints, symbol: str, market: str) -> pd.DataFrame:
    """The trades frame of a tape."""
    columns = dict(zip(TRADE_COLUMNS, tape, strict=False))
    decimals = {
        name: as_decimals(tape[row]) for row, name in ((PRICE, "price"), (QUANTITY, "quantity"))
    }
    maker = tape[MAKER].astype(np.bool_)
    return trades_frame(columns | decimals | {"buyer_is_maker": maker}, symbol, market)


def single_trades(tape: Ints) -> Ints:
    """The trades that the aggregates of `tape` consist of, each with its id as AGG_ID.

    An aggregate is split into equal quantities; the last of its trades takes the rest.
    """
    counts = tape[LAST_ID] - tape[FIRST_ID] + 1
    singles = np.repeat(tape, counts, axis=1)
    last = np.cumsum(counts) - 1
    singles[AGG_ID] += np.arange(singles.shape[1]) - np.repeat(last - counts + 1, counts)
    singles[AGG_ID] += singles[FIRST_ID] - np.repeat(tape[AGG_ID], counts)
    singles[FIRST_ID] = singles[LAST_ID] = singles[AGG_ID]
    share = tape[QUANTITY] // counts
    singles[QUANTITY] = np.repeat(share, counts)
    singles[QUANTITY, last] += tape[QUANTITY] - share * counts
    return singles
