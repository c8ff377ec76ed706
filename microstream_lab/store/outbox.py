"""Bars as they are published, and which still are to be: noted with the bar, struck off once out.

Invariant: a bar that a recorder has stored for publishing is in the outbox in the same transaction,
and stays there until somebody says that it has arrived; what was sent and not struck off is sent
again, and told apart by key and revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from microstream_lab.schema import BAR_VALUES, Bar, Gap, Watermark
from microstream_lab.store import journal
from microstream_lab.store.bars import stage, write_staged
from microstream_lab.store.connection import Connection, transaction
from microstream_lab.store.results import WriteCounts
from microstream_lab.store.series import IN_SERIES, IN_SPAN, Series, parameters, span_of
from microstream_lab.store.sharing import SharedFile

__all__ = ["OutboxTable", "Posted"]

_KEY: Final = ("market", "symbol", "interval", "open_time")
_POST: Final = f"""
INSERT INTO outbox
SELECT coalesce((SELECT max(number) FROM outbox), 0)
       + row_number() OVER (ORDER BY bars.open_time, bars.symbol),
       {", ".join(f"bars.{name}" for name in _KEY)}, bars.revision
FROM outgoing JOIN bars ON bars.market = outgoing.market AND bars.symbol = outgoing.symbol
    AND bars.interval = outgoing.interval AND bars.open_time = make_timestamptz(outgoing.time)
"""
_BAR: Final = f"""bars.symbol, bars.interval, epoch_us(bars.open_time),
       {", ".join(f"bars.{name}" for name in BAR_VALUES)},
       bars.quality, bars.revision, bars.market"""
_PAGE: Final = f"""
SELECT {_BAR} FROM bars WHERE {IN_SERIES} AND {IN_SPAN} ORDER BY open_time LIMIT $most
"""
_READ: Final = f"""
SELECT number, outbox.revision, {_BAR}
FROM outbox JOIN bars USING ({", ".join(_KEY)})
WHERE outbox.market = $market AND outbox.interval = $interval
    AND list_contains($symbols, outbox.symbol)
ORDER BY number LIMIT $most
"""
_COUNT: Final = """
SELECT count(*) FROM outbox
WHERE market = $market AND interval = $interval AND list_contains($symbols, symbol)
"""
_STRIKE: Final = f"""
DELETE FROM outbox WHERE (number, revision, {", ".join(_KEY)}) IN (
    SELECT number, revision, market, symbol, interval, make_timestamptz(time) FROM posted
)
"""


class Posted(NamedTuple):
    """A bar as it is stored now, and what the outbox has noted of it."""

    number: int
    noted_revision: int
    bar: Bar


class OutboxTable:
    """The part of a store that recorders write, and that remembers what is to be published."""

    _file: SharedFile

    def write_live(
        self,
        bars: Iterable[Bar],
        gaps: Iterable[Gap],
        watermarks: Iterable[Watermark],
        *,
        publish: bool = False,
    ) -> WriteCounts:
        """Write what a recorder has to tell, in one transaction: all of it is stored or nothing.

        With `publish` the bars are noted in the outbox as well.

        Returns
        -------
        WriteCounts
            Of the bars.
        """
        rows, gaps, watermarks = stage(bars), list(gaps), list(watermarks)
        with self._file.writing() as connection, transaction(connection):
            counts = WriteCounts() if rows is None else write_staged(connection, rows)
            if publish and rows is not None:
                _post(connection, rows)
            journal.write_gaps(connection, gaps)
            journal.write_watermarks(connection, watermarks)
        return counts

    def pages(
        self,
        symbol: str,
        interval: str,
        start: object | None = None,
        end: object | None = None,
        market: str = "spot",
        most: int = 5_000,
    ) -> Iterator[list[Bar]]:
        """The bars from `start` to `end` (exclusive) as they are published, `most` at a time.

        They ascend and have the revisions they are stored under; in between the file is free.
        """
        series, span = Series(market, symbol, interval).checked(), span_of(start, end)
        while self._file.exists():
            with self._file.reading() as connection:
                asked = parameters(series, span) | {"most": most}
                rows = connection.execute(_PAGE, asked).fetchall()
            if not rows:
                return
            yield (page := [Bar(*row) for row in rows])
            span = span._replace(start=page[-1].open_time + 1)

    def outbox(
        self, symbols: Sequence[str], interval: str, market: str = "spot", most: int = 5_000
    ) -> list[Posted]:
        """The first bars that are still to be published, in the order in which they were stored."""
        if not self._file.exists():
            return []
        asked = {"market": market, "interval": interval, "symbols": list(symbols), "most": most}
        with self._file.reading() as connection:
            rows = connection.execute(_READ, asked).fetchall()
        return [Posted(row[0], row[1], Bar(*row[2:])) for row in rows]

    def n_in_outbox(self, symbols: Sequence[str], interval: str, market: str = "spot") -> int:
        """How many bars are still to be published."""
        if not self._file.exists():
            return 0
        asked = {"market": market, "interval": interval, "symbols": list(symbols)}
        with self._file.reading() as connection:
            row = connection.execute(_COUNT, asked).fetchone()
        return int(row[0]) if row else 0

    def strike_off(self, posted: Sequence[Posted]) -> None:
        """These have arrived."""
        if not posted:
            return
        with self._file.writing() as connection, transaction(connection):
            connection.register("posted", _table(posted))
            try:
                connection.execute(_STRIKE)
            finally:
                connection.unregister("posted")


def _post(connection: Connection, bars: pa.Table) -> None:
    """Note staged bars, which have just been written; call it within the same transaction."""
    times = bars["open_time"].cast(pa.int64())
    connection.register("outgoing", bars.select(list(_KEY[:3])).append_column("time", times))
    try:
        connection.execute(_POST)
    finally:
        connection.unregister("outgoing")


def _table(posted: Sequence[Posted]) -> pa.Table:
    bars = [each.bar for each in posted]
    return pa.table(
        {
            "number": pa.array([each.number for each in posted], pa.int64()),
            "revision": pa.array([each.noted_revision for each in posted], pa.int32()),
            **{name: [getattr(bar, name) for bar in bars] for name in _KEY[:3]},
            # As a number: DuckDB would compare an Arrow column of times with the help of pytz.
            "time": pa.array([bar.open_time for bar in bars], pa.int64()),
        }
    )
