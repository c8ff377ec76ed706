"""Which rows a call is about: one series, and a span of time in it.

Invariant: every query about a series says so with the same words and the same parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import pandas as pd
import pyarrow as pa

from microstream_lab.errors import SettingsError
from microstream_lab.schema import MARKETS, as_micros, interval_us
from microstream_lab.store.connection import Connection

__all__ = [
    "IN_SERIES",
    "IN_SPAN",
    "Series",
    "Span",
    "constant_column",
    "fetch_frame",
    "parameters",
    "span_of",
    "time_column",
]

IN_SERIES: Final = "market = $market AND symbol = $symbol AND interval = $interval"
IN_SPAN: Final = "open_time >= make_timestamptz($start) AND open_time < make_timestamptz($end)"

_END_OF_TIME: Final = 253_402_300_800_000_000  # the year 10000


class Series(NamedTuple):
    """What identifies a series of bars; `checked` refuses one that cannot exist."""

    market: str
    symbol: str
    interval: str

    def checked(self) -> Series:
        """The series itself, if its market and interval are known ones."""
        interval_us(self.interval)
        if self.market not in MARKETS:
            known = " ".join(MARKETS)
            raise SettingsError(f"market: found {self.market!r}, expected one of {known}")
        return self


class Span(NamedTuple):
    """Microseconds UTC; ``end`` is exclusive."""

    start: int
    end: int


def span_of(start: object | None, end: object | None) -> Span:
    """A span of anything :func:`microstream_lab.schema.as_micros` reads; None is open."""
    return Span(
        0 if start is None else as_micros(start), _END_OF_TIME if end is None else as_micros(end)
    )


def parameters(series: Series, span: Span) -> dict[str, Any]:
    """The parameters of :data:`IN_SERIES` and :data:`IN_SPAN`."""
    return {**series._asdict(), **span._asdict()}


def time_column(index: pd.DatetimeIndex) -> pa.Array:
    """A time index as an Arrow column that lands in a TIMESTAMPTZ."""
    return pa.array(index.as_unit("us").asi8).cast(pa.timestamp("us", tz="UTC"))


def constant_column(value: str, length: int) -> pa.Array:
    """A text column with one value throughout, at a byte a row."""
    codes = pa.nulls(length, pa.int8()).fill_null(0)
    return pa.DictionaryArray.from_arrays(codes, [value])


def fetch_frame(
    connection: Connection,
    query: str,
    values: Mapping[str, Any] | Sequence[Any] | None = None,
) -> pd.DataFrame:
    """The answer to a query as a frame, times as ``datetime64[us, UTC]``, maps as dicts."""
    table = connection.execute(query, values).to_arrow_table()
    frame: pd.DataFrame = table.to_pandas(maps_as_pydicts="strict")
    return frame
