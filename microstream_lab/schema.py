"""The vocabulary: records, columns, intervals and units that every other room speaks.

Invariant: times are integer microseconds since 1970 UTC in records and ``datetime64[us, UTC]`` in
frames. Nothing here reads a clock, a file or a socket.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from math import nan
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.columns import are_even, holds_one_value
from microstream_lab.errors import DataError, SettingsError

__all__ = [
    "BAR_COLUMNS",
    "BAR_VALUES",
    "COMPLETE",
    "INTERVALS",
    "MARKETS",
    "PARTIAL",
    "QUALITIES",
    "REPAIRED",
    "TIME_DTYPE",
    "TRADE_COLUMNS",
    "AggTrade",
    "Bar",
    "Gap",
    "Quality",
    "Signal",
    "Watermark",
    "as_micros",
    "contiguous_runs",
    "hour_of_bars",
    "interval_us",
    "iter_bars",
    "require_bars",
    "series_key",
]

Quality = Literal["complete", "repaired", "partial"]

COMPLETE: Final = "complete"
REPAIRED: Final = "repaired"
PARTIAL: Final = "partial"
QUALITIES: Final = (COMPLETE, REPAIRED, PARTIAL)
MARKETS: Final = {"spot": "spot", "um": "USD-M futures", "sim": "simulated"}
"""Binance spot, Binance USD-M futures and the simulator's own market, with words for people."""

_MINUTE: Final = 60_000_000
INTERVALS: Final[dict[str, int]] = {
    "1s": 1_000_000,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": 60 * _MINUTE,
    "2h": 120 * _MINUTE,
    "4h": 240 * _MINUTE,
    "6h": 360 * _MINUTE,
    "8h": 480 * _MINUTE,
    "12h": 720 * _MINUTE,
    "1d": 1440 * _MINUTE,
}
"""Bar intervals and their length in microseconds; all of them divide or equal a UTC day."""

_YEAR_FIRST: Final = re.compile(r"\s*\d{4}(-\d{1,2}){0,2}([ T]|Z?\s*$)|\s*\d{8}([ T]|\s*$)")
TIME_DTYPE: Final = "datetime64[us, UTC]"
BAR_VALUES: Final = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
)
BAR_COLUMNS: Final = (*BAR_VALUES, "quality", "market", "symbol", "interval")
TRADE_COLUMNS: Final = (
    "agg_id",
    "price",
    "quantity",
    "first_id",
    "last_id",
    "trade_time",
    "buyer_is_maker",
)


class AggTrade(msgspec.Struct, frozen=True, gc=False):
    """Trades of one taker order at one price, as the exchange aggregates them.

    ``agg_id`` is contiguous per symbol, and so are the ids of the single trades inside,
    ``first_id .. last_id``; ``price`` is in quote units, ``quantity`` in base units, ``trade_time``
    in microseconds UTC. ``buyer_is_maker`` means that the taker sold.
    """

    symbol: str
    agg_id: int
    price: float
    quantity: float
    first_id: int
    last_id: int
    trade_time: int
    buyer_is_maker: bool


class Bar(msgspec.Struct, frozen=True, gc=False):
    """What traded in ``[open_time, open_time + interval)``.

    Prices are in quote units, ``volume`` and ``taker_buy_base`` in base units, ``quote_volume``
    and ``taker_buy_quote`` in quote units, ``trades`` counts single trades. ``quality`` is
    complete, repaired (a gap was filled) or partial (something is known to be missing);
    ``revision`` counts how often the bar was published anew.
    """

    symbol: str
    interval: str
    open_time: int
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
    revision: int = 0
    market: str = "spot"


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Trades known to be missing: ids ``from_id .. to_id``, both included.

    ``from_time`` and ``to_time`` are the trade times (us) on either side of the hole. A repaired
    gap has ``repaired_at`` (us) and ``n_repaired``, the number of trades fetched for it.
    """

    symbol: str
    from_id: int
    to_id: int
    from_time: int
    to_time: int
    cause: str
    detected_at: int
    repaired_at: int | None = None
    n_repaired: int = 0
    market: str = "spot"


class Watermark(msgspec.Struct, frozen=True, gc=False):
    """How far a series is stored: a recorder goes on after it.

    Every trade up to `agg_id`, and every single trade up to `trade_id`, is in a bar that ended by
    `open_time`, or in a gap on record; the next bar begins at `open_time` (us), and `close` is the
    price before it.
    """

    symbol: str
    interval: str
    agg_id: int
    trade_id: int
    open_time: int
    close: float
    market: str = "spot"


class Signal(msgspec.Struct, frozen=True):
    """What one bar says about the market, knowing nothing later than that bar.

    ``anomaly_score`` is in (0, 1], high means anomalous; ``anomaly_quantile`` is the share of the
    training bars that scored no higher, NaN where it is not known; ``regime`` is 0 (calmest) ..
    K-1, or -1 where a feature is missing; ``filtered_probs`` are Pr[regime | bars up to this one];
    ``expected_stress`` is the log realised volatility to be expected of the coming hour.
    Scores are NaN where ``regime`` is -1.
    """

    symbol: str
    interval: str
    open_time: int
    bundle_id: str
    features: dict[str, float]
    anomaly_score: float
    is_anomaly: bool
    regime: int
    filtered_probs: tuple[float, ...]
    expected_stress: float
    revision: int = 0
    market: str = "spot"
    anomaly_quantile: float = nan


def interval_us(interval: str) -> int:
    """Length of a bar interval in microseconds.

    Raises
    ------
    SettingsError
        If the interval is not one of :data:`INTERVALS`.
    """
    try:
        return INTERVALS[interval]
    except KeyError:
        known = " ".join(INTERVALS)
        raise SettingsError(f"interval: found {interval!r}, expected one of {known}") from None


def hour_of_bars(interval: str) -> int:
    """Bars that count as an hour, and never fewer than twelve: 60 of 1m, 12 of 5m or 1h."""
    return max(12, 60 * _MINUTE // interval_us(interval))


def as_micros(moment: object) -> int:
    """Microseconds since 1970 UTC of a timestamp, date string or integer of microseconds.

    A string begins with the year, as in ``2024-05-01 12:30``, and a time without a zone is UTC.

    Raises
    ------
    SettingsError
        If it is anything else: a float or bool could mean anything, and so could 01/02/2022.
    """
    if isinstance(moment, (int, np.integer)) and not isinstance(moment, bool):
        return int(moment)
    refusal = SettingsError(f"time: found {moment!r}, expected a UTC date such as 2024-05-01 12:30")
    if isinstance(moment, str) and not _YEAR_FIRST.match(moment):
        raise refusal
    if not isinstance(moment, (str, date, np.datetime64)):  # a Timestamp is a date, too
        raise refusal
    try:
        stamp = pd.Timestamp(moment)
    except ValueError as error:
        raise refusal from error
    if pd.isna(stamp):
        raise refusal
    stamp = stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")
    return int(stamp.as_unit("us").asm8.astype(np.int64))  # .value would be nanoseconds


def series_key(bars: pd.DataFrame) -> tuple[str, str, str]:
    """Market, symbol and interval of a bars frame, which holds exactly one series."""
    return tuple(str(bars[name].iloc[0]) for name in ("market", "symbol", "interval"))  # type: ignore[return-value]


def require_bars(bars: pd.DataFrame, where: str = "bars frame") -> pd.DataFrame:
    """Return `bars` if it keeps the contract of a bars frame.

    The contract: the columns :data:`BAR_COLUMNS`, at least one row, one market, symbol and
    interval, and ``open_time`` (UTC) ascending, unique and on the interval's grid.

    Raises
    ------
    DataError
        Naming the first thing that is not as it should be.
    """
    missing = [name for name in BAR_COLUMNS if name not in bars.columns]
    if missing:
        raise DataError(where, f"no column {missing[0]}", f"columns {' '.join(BAR_COLUMNS)}")
    if bars.empty:
        raise DataError(where, "no rows", "at least one bar")
    for name in ("market", "symbol", "interval"):
        if not holds_one_value(bars[name]):
            raise DataError(where, f"{bars[name].nunique()} values of {name}", "one series")
    index = bars.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataError(where, f"an index of {index.dtype}", f"open_time as {TIME_DTYPE}")
    times, step = _micros(index), interval_us(str(bars["interval"].iloc[0]))
    evenly = are_even(times, step)  # then the first bar tells it all
    if not evenly and (times[1:] <= times[:-1]).any():
        raise DataError(where, "open_time unsorted or doubled", "open_time ascending and unique")
    if times[0] % step or (not evenly and (times % step).any()):
        found = f"open_time {index[int((times % step != 0).argmax())]}"
        raise DataError(where, found, f"a multiple of {bars['interval'].iloc[0]}")
    return bars


def contiguous_runs(bars: pd.DataFrame) -> list[slice]:
    """Row slices of `bars`, which keeps the contract, within which no bar is missing."""
    times = _micros(pd.DatetimeIndex(bars.index))
    step = interval_us(str(bars["interval"].iloc[0]))
    if times[-1] - times[0] == step * (len(times) - 1):
        return [slice(0, len(times))]
    breaks = np.flatnonzero(np.diff(times) != step) + 1
    edges = [0, *breaks.tolist(), len(times)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _micros(index: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    """Times in microseconds, without a copy where they are that already."""
    return index.asi8 if index.unit == "us" else index.as_unit("us").asi8


def iter_bars(bars: pd.DataFrame) -> Iterator[Bar]:
    """The rows of a bars frame as :class:`Bar` records, in order."""
    if bars.empty:
        return
    market, symbol, interval = series_key(bars)
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8.tolist()
    columns = (bars[name].to_numpy().tolist() for name in BAR_VALUES)
    qualities = bars["quality"].astype(str).tolist()
    for open_time, *values, quality in zip(times, *columns, qualities, strict=True):
        record = (symbol, interval, open_time, *values, quality, 0, market)
        yield Bar(*record)
