"""A table as hive-partitioned Parquet: ``market=/symbol=/interval=/month=``, one file a month.

Invariant: a file appears whole or not at all, also while others read the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from microstream_lab.store.connection import Connection
from microstream_lab.store.series import Series

__all__ = ["Table", "export_series", "series_in"]

Table = Literal["bars", "signals"]

_SERIES: Final = "SELECT DISTINCT market, symbol, interval FROM {table} ORDER BY ALL"
_MONTHS: Final = """
SELECT DISTINCT strftime(open_time, '%Y-%m') AS month
FROM {table} WHERE market = $market AND symbol = $symbol AND interval = $interval ORDER BY month
"""
_ROWS: Final = """
SELECT * EXCLUDE (market, symbol, interval) FROM {table}
WHERE market = $market AND symbol = $symbol AND interval = $interval
    AND open_time >= ($month || '-01')::TIMESTAMPTZ
    AND open_time < ($month || '-01')::TIMESTAMPTZ + INTERVAL 1 MONTH
ORDER BY open_time
"""
_ROWS_AT_ONCE: Final = 122_880


def series_in(connection: Connection, table: Table) -> list[Series]:
    """Every series of a table."""
    rows = connection.execute(_SERIES.format(table=table)).fetchall()
    return [Series(*row) for row in rows]


def export_series(connection: Connection, table: Table, series: Series, folder: Path) -> list[Path]:
    """Write the months of one series below `folder`, over those of an earlier export."""
    rows = connection.execute(_MONTHS.format(table=table), series._asdict()).fetchall()
    return [_export_month(connection, table, series, month, folder) for (month,) in rows]


def _export_month(
    connection: Connection, table: Table, series: Series, month: str, folder: Path
) -> Path:
    parts = {**series._asdict(), "month": month}
    target = folder.joinpath(*(f"{name}={value}" for name, value in parts.items()))
    target.mkdir(parents=True, exist_ok=True)
    # Without the suffix, so that a glob for *.parquet passes it over.
    draft = target / f".{table}-{uuid4().hex}"
    try:
        # Written here and not by DuckDB, which would write where the store is served.
        rows = connection.execute(_ROWS.format(table=table), parts)
        with rows.to_arrow_reader(_ROWS_AT_ONCE) as batches:
            _write(batches, draft)
        return draft.replace(target / f"{table}.parquet")
    finally:
        draft.unlink(missing_ok=True)


def _write(batches: pa.RecordBatchReader, file: Path) -> None:
    with pq.ParquetWriter(file, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
