"""How complete a stored series is: bars expected, present, missing, and quiet ones apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pandas as pd

from microstream_lab.schema import MARKETS, TIME_DTYPE, interval_us
from microstream_lab.store.connection import Connection
from microstream_lab.store.series import IN_SERIES, IN_SPAN, Series, Span, parameters, span_of

__all__ = ["Coverage", "MissingRange", "measure_coverage"]

_STORED: Final = f"""
SELECT count(*), count(*) FILTER (volume = 0), count(*) FILTER (quality = 'partial'),
       epoch_us(min(open_time)), epoch_us(max(open_time))
FROM bars WHERE {IN_SERIES} AND {IN_SPAN}
"""
_HOLES: Final = f"""
WITH edges AS (
    SELECT epoch_us(open_time) AS open_us FROM bars WHERE {IN_SERIES} AND {IN_SPAN}
    UNION ALL SELECT unnest([$start - $step, $end])
), steps AS (
    SELECT open_us + $step AS missing_from, lead(open_us) OVER (ORDER BY open_us) AS missing_to
    FROM edges
)
SELECT missing_from, missing_to FROM steps WHERE missing_to > missing_from ORDER BY missing_from
"""


@dataclass(frozen=True)
class MissingRange:
    """Bars that are not there: ``start`` is the first missing, ``end`` is exclusive."""

    start: pd.Timestamp
    end: pd.Timestamp
    n_bars: int


@dataclass(frozen=True)
class Coverage:
    """How much of a series is stored between its first bar and its last, or as asked for.

    ``zero_volume`` bars are present: nothing traded. ``partial`` bars are present, but trades of
    theirs are known to be missing. ``first`` and ``last`` are open times, None if there are none.
    """

    market: str
    symbol: str
    interval: str
    expected: int
    present: int
    zero_volume: int
    partial: int
    first: pd.Timestamp | None
    last: pd.Timestamp | None
    missing: tuple[MissingRange, ...]

    @property
    def n_missing(self) -> int:
        """Bars expected but not there."""
        return self.expected - self.present

    @property
    def ratio(self) -> float:
        """Share of the expected bars that are there, in [0, 1]; NaN where none is expected."""
        return self.present / self.expected if self.expected else float("nan")

    def summary(self) -> str:
        """All of it in one line."""
        series = f"{self.symbol} {self.interval} ({MARKETS[self.market]})"
        if self.first is None or self.last is None:
            return f"{series}: no bars, {self.expected:,} expected"
        holes = f" in {_counted(len(self.missing), 'range')}" if self.missing else ""
        partial = f", {self.partial:,} partial" if self.partial else ""
        return (
            f"{series}: {self.present:,} of {self.expected:,} bars ({_percent(self.ratio)}), "
            f"{self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M}, "
            f"{self.n_missing:,} missing{holes}, {self.zero_volume:,} with zero volume{partial}"
        )

    def missing_frame(self) -> pd.DataFrame:
        """The missing ranges as a frame: ``start``, ``end`` (exclusive), ``n_bars``."""
        rows = [(hole.start, hole.end, hole.n_bars) for hole in self.missing]
        frame = pd.DataFrame(rows, columns=["start", "end", "n_bars"])
        return frame.astype({"start": TIME_DTYPE, "end": TIME_DTYPE, "n_bars": "int64"})


def measure_coverage(
    connection: Connection, series: Series, start: object | None = None, end: object | None = None
) -> Coverage:
    """Coverage of a series from `start` to `end` (exclusive), by default from first to last bar."""
    step = interval_us(series.interval)
    span = span_of(start, end)
    present, quiet, partial, first, last = _stored(connection, series, span)
    if present:
        span = Span(
            first if start is None else _up_to_grid(span.start, step),
            last + step if end is None else _up_to_grid(span.end, step),
        )
    elif start is None or end is None:
        span = Span(0, 0)  # nothing there, and nothing said about what should be
    expected = max(0, (span.end - span.start) // step)
    holes = _holes(connection, series, span) if present < expected else ()
    return Coverage(
        market=series.market,
        symbol=series.symbol,
        interval=series.interval,
        expected=expected,
        present=present,
        zero_volume=quiet,
        partial=partial,
        first=_stamp(first) if present else None,
        last=_stamp(last) if present else None,
        missing=holes,
    )


def _stored(connection: Connection, series: Series, span: Span) -> tuple[int, ...]:
    row = connection.execute(_STORED, parameters(series, span)).fetchone()
    assert row is not None
    return row


def _holes(connection: Connection, series: Series, span: Span) -> tuple[MissingRange, ...]:
    step = interval_us(series.interval)
    rows = connection.execute(_HOLES, {**parameters(series, span), "step": step}).fetchall()
    return tuple(MissingRange(_stamp(a), _stamp(b), (b - a) // step) for a, b in rows)


def _up_to_grid(micros: int, step: int) -> int:
    return -(-micros // step) * step


def _stamp(micros: int) -> pd.Timestamp:
    return pd.Timestamp(micros, unit="us", tz="UTC").as_unit("us")


def _percent(ratio: float) -> str:
    """A ratio as a percentage that only says 100 where nothing is missing."""
    return "100 %" if ratio == 1 else f"{min(100 * ratio, 99.9999):.4f} %"


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
