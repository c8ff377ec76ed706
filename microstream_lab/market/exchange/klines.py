"""The exchange's own bars: whole numbers of 1e-8 units, rounded only where a kline is.

Invariant: no float is added anywhere, and nothing is shared with
:mod:`microstream_lab.bars`, so that agreement of the two is evidence and not a tautology.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microstream_lab.errors import DataError
from microstream_lab.market.exchange.tape import (
    AGG_ID,
    FIRST_ID,
    LAST_ID,
    MAKER,
    PRICE,
    QUANTITY,
    TIME,
    UNITS,
    Ints,
    as_decimals,
)
from microstream_lab.market.wire import bars_frame
from microstream_lab.schema import PARTIAL

__all__ = ["KLINE_ROWS", "accumulated", "as_bars", "fold", "settled", "with_quiet"]

KLINE_ROWS: Final = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
    "first_id",
    "last_id",
    "holes",
    "quote_rest",
    "taker_quote_rest",
)
"""Rows of an array of klines, shape (15, n_bars); ids are -1 where nothing traded.

``holes`` has a bit for ids missing inside (1), before the first trade (2), after the last (4); the
rests are what the quote volumes lack, in units of 1e-16, until :func:`settled`.
"""
_DECIMALS: Final = {"open", "high", "low", "close", "volume", "quote_volume"} | {
    "taker_buy_base",
    "taker_buy_quote",
}
_OPEN_TIME, _HIGH, _LOW, _CLOSE, _HOLES = 0, 2, 3, 4, 12
_AS_BEGUN: Final = [1, 10]  # open, first_id
_SUMS: Final = [5, 6, 7, 8, 9, 13, 14]
_PRICES, _IDS = slice(1, 5), slice(10, 12)
_QUOTES, _RESTS = [6, 9], [13, 14]
_INSIDE, _BEFORE, _AFTER = 1, 2, 4
_LARGEST: Final = 9e18


def fold(tape: Ints, step: int) -> Ints:
    """The klines of bars of `step` (us) in which something traded, ascending, yet to be settled."""
    if not tape.shape[1]:
        return np.empty((len(KLINE_ROWS), 0), np.int64)
    open_times = tape[TIME] - tape[TIME] % step
    broken = np.diff(tape[AGG_ID], prepend=tape[AGG_ID, 0] - 1) != 1
    if (np.diff(open_times) < 0).any():
        order = np.argsort(open_times, kind="stable")
        tape, open_times, broken = tape[:, order], open_times[order], broken[order]
    starts = np.flatnonzero(np.diff(open_times, prepend=-1))
    last = np.append(starts[1:], len(open_times)) - 1
    price, taker_bought = tape[PRICE], 1 - tape[MAKER]
    whole, rest = _quote(tape)
    return np.stack(
        [
            open_times[starts],
            price[starts],
            np.maximum.reduceat(price, starts),
            np.minimum.reduceat(price, starts),
            price[last],
            np.add.reduceat(tape[QUANTITY], starts),
            np.add.reduceat(whole, starts),
            np.add.reduceat(tape[LAST_ID] - tape[FIRST_ID] + 1, starts),
            np.add.reduceat(tape[QUANTITY] * taker_bought, starts),
            np.add.reduceat(whole * taker_bought, starts),
            tape[FIRST_ID, starts],
            tape[LAST_ID, last],
            _holes(broken, starts),
            np.add.reduceat(rest, starts),
            np.add.reduceat(rest * taker_bought, starts),
        ]
    )


def _quote(tape: Ints) -> tuple[Ints, Ints]:
    """Price times quantity, exactly: units of 1e-8, and what is left in units of 1e-16."""
    price_whole, price_rest = np.divmod(tape[PRICE], UNITS)
    size_whole, size_rest = np.divmod(tape[QUANTITY], UNITS)
    if (tape[PRICE].astype(np.float64) * tape[QUANTITY] / UNITS).sum() > _LARGEST:
        found = "a quote volume beyond 9e10"
        raise DataError("trades of the local exchange", found, "sums that 64 bits can hold")
    carried, rest = np.divmod(price_rest * size_rest, UNITS)
    whole = price_whole * size_whole * UNITS
    return whole + price_whole * size_rest + price_rest * size_whole + carried, rest


def settled(klines: Ints) -> Ints:
    """Klines whose quote volumes are rounded to units of 1e-8, half a unit upwards."""
    final = klines.copy()
    final[_QUOTES] += (2 * klines[_RESTS] + UNITS) // (2 * UNITS)
    final[_RESTS] = 0
    return final


def _holes(broken: NDArray[np.bool_], starts: Ints) -> Ints:
    """Where ids are missing: inside a bar, before its first trade, after its last.

    `broken` tells before which trades some are missing.
    """
    flags = broken.astype(np.int64) * _INSIDE
    flags[starts] *= _BEFORE // _INSIDE
    after = np.append(broken[starts[1:]], False)
    holes: Ints = np.bitwise_or.reduceat(flags, starts) | after * _AFTER
    return holes


def accumulated(parts: Ints, open_time: int) -> Ints:
    """How the bar that begins at `open_time` (us) grows with each of its parts, in order."""
    grown = parts.copy()
    grown[_OPEN_TIME] = open_time
    grown[_AS_BEGUN] = parts[_AS_BEGUN, :1]
    grown[_HIGH] = np.maximum.accumulate(parts[_HIGH])
    grown[_LOW] = np.minimum.accumulate(parts[_LOW])
    grown[_SUMS] = np.cumsum(parts[_SUMS], axis=1)
    return grown


def with_quiet(klines: Ints, step: int, until: int) -> Ints:
    """`klines` with the bars up to `until` in which nothing traded, at the last price before them.

    A hole in the ids between two trades may have fallen into any of the quiet bars between them.
    """
    if not klines.shape[1]:
        return klines
    first, last = klines[_OPEN_TIME, 0], max(klines[_OPEN_TIME, -1], (until - 1) // step * step)
    full = np.zeros((len(KLINE_ROWS), (last - first) // step + 1), np.int64)
    places = (klines[_OPEN_TIME] - first) // step
    before = np.repeat(np.arange(len(places)), np.diff(np.append(places, full.shape[1])))
    full[_PRICES], full[_IDS] = klines[_CLOSE, before], -1
    full[_HOLES] = klines[_HOLES, before] & _AFTER
    full[:, places] = klines
    full[_OPEN_TIME] = first + step * np.arange(full.shape[1])
    return full


def as_bars(klines: Ints, symbol: str, interval: str, market: str) -> pd.DataFrame:
    """The bars frame of `klines`; where ids are missing a bar is ``partial``."""
    columns = {
        name: as_decimals(row) if name in _DECIMALS else row
        for name, row in zip(KLINE_ROWS, klines, strict=True)
    }
    bars = bars_frame(columns, symbol, interval, market)
    bars.loc[klines[_HOLES] > 0, "quality"] = PARTIAL
    return bars
