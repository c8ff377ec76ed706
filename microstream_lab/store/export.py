"""A table as hive-partitioned Parquet: ``market=/symbol=/interval=/month=``, one file a month.

Invariant: a file appears whole or not at all, also while others read the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

from microstream_lab.store.connection import Connection
from microstream_lab.store.series import Series

__all__ = ["Table", "export_series", "series_in"]

Table = Literal["bars", "signals"]

_SERIES: Final = "SELECT DISTINCT market, symbol, interval FROM {table} ORDER BY ALL"
_MONTHS: Final = """
SELECT DISTINCT strftime(open_time, '%Y-%m') AS month
FROM {table} WHERE market = $market AND symbol = $symbol AND interval = $interval ORDER BY month
"""
_COPY: Final = """
COPY (
    SELECT * EXCLUDE (market, symbol, interval) FROM {table}
    WHERE market = $market AND symbol = $symbol AND interval = $interval
        AND open_time >= ($month || '-01')::TIMESTAMPTZ
        AND open_time < ($month || '-01')::TIMESTAMPTZ + INTERVAL 1 MONTH
    ORDER BY open_time
) TO '{file}' (FORMAT parquet, COMPRESSION zstd)
"""


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
        file = str(draft).replace("'", "''")
        connection.execute(_COPY.format(table=table, file=file), parts)
        return draft.replace(target / f"{table}.parquet")
    finally:
        draft.unlink(missing_ok=True)
