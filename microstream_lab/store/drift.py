"""Drift reports in and out of their table.

Invariant: one report a bar and bundle; the first one stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pandas as pd

from microstream_lab.models.drift_report import DriftReport
from microstream_lab.store.connection import Connection, transaction
from microstream_lab.store.results import WriteCounts
from microstream_lab.store.series import (
    IN_SERIES,
    IN_SPAN,
    Series,
    Span,
    fetch_frame,
    parameters,
    span_of,
)
from microstream_lab.store.sharing import SharedFile

__all__ = ["DriftTable"]

_COLUMNS: Final = 'open_time, bundle_id, n_bars, "window", features, regimes, shortfall, alarms'
# Not ON CONFLICT, which an attached remote catalog does not know.
_WRITE: Final = """
INSERT INTO drift
SELECT $market, $symbol, $interval, make_timestamptz($open_time), $bundle_id, $n_bars, $size,
       map($names::VARCHAR[], $values::DOUBLE[]), $regimes, $shortfall, $alarms::VARCHAR[]
WHERE NOT EXISTS (
    FROM drift WHERE market = $market AND symbol = $symbol AND interval = $interval
        AND open_time = make_timestamptz($open_time) AND bundle_id = $bundle_id
)
"""
_READ: Final = f"""
SELECT {_COLUMNS} FROM drift
WHERE {IN_SERIES} AND {IN_SPAN} AND bundle_id = coalesce($bundle_id, bundle_id)
ORDER BY open_time, bundle_id
"""


class DriftTable:
    """The part of a store that keeps drift."""

    _file: SharedFile

    def write_drift(self, reports: Iterable[DriftReport]) -> WriteCounts:
        """Write reports in one transaction; of a bar and bundle the first one stays."""
        reports = list(reports)
        if not reports:
            return WriteCounts()
        with self._file.writing() as connection, transaction(connection):
            return sum((_write(connection, report) for report in reports), WriteCounts())

    def drift(
        self,
        symbol: str,
        interval: str,
        start: object | None = None,
        end: object | None = None,
        market: str = "spot",
        bundle_id: str | None = None,
    ) -> pd.DataFrame:
        """Drift as live sessions have told it, with the fields of :class:`DriftReport`.

        Returns
        -------
        DataFrame
            By ``open_time``; ``features`` are dictionaries, ``alarms`` lists.
        """
        series, span = Series(market, symbol, interval).checked(), span_of(start, end)
        with self._file.reading() as connection:
            return _read(connection, series, span, bundle_id)


def _write(connection: Connection, report: DriftReport) -> WriteCounts:
    values = {
        "market": report.market,
        "symbol": report.symbol,
        "interval": report.interval,
        "open_time": report.open_time,
        "bundle_id": report.bundle_id,
        "n_bars": report.n_bars,
        "size": report.window,
        "names": list(report.features),
        "values": list(report.features.values()),
        "regimes": report.regimes,
        "shortfall": report.shortfall,
        "alarms": list(report.alarms),
    }
    row = connection.execute(_WRITE, values).fetchone()
    new = int(row[0]) if row else 0
    return WriteCounts(rows=1, new=new, unchanged=1 - new)


def _read(
    connection: Connection, series: Series, span: Span, bundle_id: str | None
) -> pd.DataFrame:
    values = {**parameters(series, span), "bundle_id": bundle_id}
    return fetch_frame(connection, _READ, values).set_index("open_time")
