"""What happened: holes in the trades, how far recorders are, imported files.

Invariant: a row is written once under its key; writing it again brings it up to date.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import pandas as pd

from microstream_lab.schema import Gap, Watermark
from microstream_lab.store.connection import Connection
from microstream_lab.store.results import FileImport, WriteCounts
from microstream_lab.store.series import Span, fetch_frame

__all__ = [
    "put",
    "read_gaps",
    "read_open_gaps",
    "read_watermarks",
    "write_gaps",
    "write_import",
    "write_watermarks",
]

_TIMES: Final = frozenset(
    {"from_time", "to_time", "detected_at", "repaired_at", "started_at", "ended_at", "open_time"}
    | {"scheduled_for", "handled_until"}
)
_GAP_KEY: Final = ("market", "symbol", "from_id", "to_id")
_GAP_FACTS: Final = ("from_time", "to_time", "cause", "detected_at", "repaired_at", "n_repaired")
_WATERMARK_KEY: Final = ("market", "symbol", "interval")
_WATERMARK_FACTS: Final = ("agg_id", "trade_id", "open_time", "close")
_READ_GAPS: Final = f"""
SELECT {", ".join((*_GAP_KEY, *_GAP_FACTS))} FROM gaps
WHERE market = $market AND symbol = coalesce($symbol, symbol)
    AND to_time >= make_timestamptz($start) AND from_time < make_timestamptz($end)
ORDER BY symbol, from_id
"""
_READ_WATERMARKS: Final = """
SELECT symbol, interval, agg_id, trade_id, epoch_us(open_time) AS open_time, close, market
FROM watermarks WHERE market = $market AND interval = $interval ORDER BY symbol
"""
_READ_OPEN_GAPS: Final = """
SELECT symbol, from_id, to_id, epoch_us(from_time), epoch_us(to_time), cause, epoch_us(detected_at),
    NULL, n_repaired, market
FROM gaps WHERE market = $market AND repaired_at IS NULL ORDER BY symbol, from_id
"""
_WRITE_IMPORT: Final = """
INSERT INTO imports SELECT $file, $sha256, $market, $symbol, $interval, $rows, $new, now()
WHERE NOT EXISTS (
    FROM imports WHERE sha256 = $sha256 AND market = $market AND symbol = $symbol
        AND interval = $interval
)
"""


def write_gaps(connection: Connection, gaps: Iterable[Gap]) -> WriteCounts:
    """Write gaps, or bring them up to date; call it within a transaction."""
    counts = WriteCounts()
    for gap in gaps:
        counts += put(connection, "gaps", _GAP_KEY, _GAP_FACTS, msgspec.structs.asdict(gap))
    return counts


def read_gaps(connection: Connection, market: str, symbol: str | None, span: Span) -> pd.DataFrame:
    """Gaps that touch a span, by symbol and id; ``repaired_at`` is NaT while a gap is open."""
    values = {"market": market, "symbol": symbol, **span._asdict()}
    return fetch_frame(connection, _READ_GAPS, values)


def read_open_gaps(connection: Connection, market: str) -> list[Gap]:
    """Gaps of a market that are not repaired, by symbol and id."""
    rows = connection.execute(_READ_OPEN_GAPS, {"market": market}).fetchall()
    return [Gap(*row) for row in rows]


def write_watermarks(connection: Connection, watermarks: Iterable[Watermark]) -> None:
    """Write how far series are stored; call it within a transaction."""
    for watermark in watermarks:
        values = msgspec.structs.asdict(watermark)
        put(connection, "watermarks", _WATERMARK_KEY, _WATERMARK_FACTS, values)


def read_watermarks(connection: Connection, market: str, interval: str) -> dict[str, Watermark]:
    """How far the series of a market and interval are stored, by symbol."""
    values = {"market": market, "interval": interval}
    rows = connection.execute(_READ_WATERMARKS, values).fetchall()
    return {row[0]: Watermark(*row) for row in rows}


def write_import(connection: Connection, done: FileImport) -> None:
    """Remember where bars came from; the same content is remembered once."""
    values = {
        "file": done.file.name,
        "sha256": done.sha256,
        "market": done.market,
        "symbol": done.symbol,
        "interval": done.interval,
        "rows": done.counts.rows,
        "new": done.counts.new,
    }
    connection.execute(_WRITE_IMPORT, values)


def put(
    connection: Connection,
    table: str,
    key: tuple[str, ...],
    facts: tuple[str, ...],
    values: dict[str, Any],
) -> WriteCounts:
    """Insert a row, or update the one under the same key where it differs."""
    same_key = " AND ".join(f"{name} = ${name}" for name in key)
    terms = {
        name: f"make_timestamptz(${name})" if name in _TIMES else f"${name}" for name in values
    }
    # Not ON CONFLICT, which an attached remote catalog does not know.
    found = connection.execute(
        f"SELECT {' AND '.join(f'{name} IS NOT DISTINCT FROM {terms[name]}' for name in facts)} "
        f"FROM {table} WHERE {same_key}",
        values,
    ).fetchone()
    if found is None:
        names = ", ".join(values)
        connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {', '.join(terms.values())}", values
        )
        return WriteCounts(rows=1, new=1)
    if found[0]:
        return WriteCounts(rows=1, unchanged=1)
    assignments = ", ".join(f"{name} = {terms[name]}" for name in facts)
    connection.execute(f"UPDATE {table} SET {assignments} WHERE {same_key}", values)
    return WriteCounts(rows=1, replaced=1)
