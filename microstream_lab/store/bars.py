"""Bars in and out of their table.

Invariant: a bar that is there and equal is not written again; one that differs is overwritten only
by a better one, and then its revision rises.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from microstream_lab.errors import DataError
from microstream_lab.market.wire import constant_category
from microstream_lab.schema import (
    BAR_COLUMNS,
    BAR_VALUES,
    QUALITIES,
    Bar,
    interval_us,
    require_bars,
    series_key,
)
from microstream_lab.store.connection import Connection
from microstream_lab.store.results import WriteCounts
from microstream_lab.store.series import (
    IN_SERIES,
    IN_SPAN,
    Series,
    Span,
    constant_column,
    fetch_frame,
    parameters,
    time_column,
)

__all__ = ["read_bars", "stage", "stage_frame", "stage_records", "write_staged"]

_KEY: Final = ("market", "symbol", "interval", "open_time")
_COLUMNS: Final = (*_KEY, *BAR_VALUES, "quality", "revision")
_SAME_BAR: Final = " AND ".join(f"new.{name} = old.{name}" for name in _KEY)
_OTHER_VALUES: Final = " OR ".join(f"new.{name} <> old.{name}" for name in BAR_VALUES)
# A partial bar yields to one that is not, or that saw more trades.
_COMPLETES: Final = (
    "(old.quality = 'partial' AND (new.quality <> 'partial' OR new.trades > old.trades))"
)
_DIFFERS: Final = f"({_OTHER_VALUES} OR {_COMPLETES} OR new.revision > old.revision)"
_IS_BETTER: Final = (
    f"($replace OR {_COMPLETES} OR new.quality = 'repaired' OR new.revision > old.revision)"
)
# Far cheaper than comparing, and in most imports the answer is no.
_MAY_BE_THERE: Final = """
SELECT EXISTS (
    FROM bars WHERE open_time BETWEEN $first AND $last AND list_contains($symbols, symbol)
)
"""
_COMPARE: Final = f"""
SELECT count(*), count(*) FILTER ({_DIFFERS}), count(*) FILTER ({_DIFFERS} AND {_IS_BETTER})
FROM incoming AS new JOIN bars AS old ON {_SAME_BAR}
"""
_INSERT_ALL: Final = f"INSERT INTO bars SELECT {', '.join(_COLUMNS)} FROM incoming"
_INSERT_NEW: Final = f"{_INSERT_ALL} ANTI JOIN bars USING ({', '.join(_KEY)})"
_REPLACE: Final = f"""
UPDATE bars AS old SET
    {", ".join(f"{name} = new.{name}" for name in (*BAR_VALUES, "quality"))},
    revision = greatest(old.revision + 1, new.revision)
FROM incoming AS new WHERE {_SAME_BAR} AND {_DIFFERS} AND {_IS_BETTER}
"""
_READ: Final = f"""
SELECT open_time, {", ".join(BAR_VALUES)}, quality::ENUM {QUALITIES} AS quality
FROM bars WHERE {IN_SERIES} AND {IN_SPAN} ORDER BY open_time
"""


_QUALITY: Final = pd.CategoricalDtype(list(QUALITIES))


def stage_frame(bars: pd.DataFrame) -> pa.Table:
    """A bars frame as rows to be written; a column ``revision`` is heeded if there is one.

    Raises
    ------
    DataError
        If the frame breaks the contract of a bars frame or holds a value that is not finite.
    """
    series = Series(*series_key(require_bars(bars))).checked()
    n, where = len(bars), f"bars of {series.symbol} {series.interval}"
    values = {name: _finite(bars[name].to_numpy(), name, where) for name in BAR_VALUES}
    quality = bars["quality"].astype(_QUALITY)
    if quality.isna().any():
        raise DataError(where, "an unknown quality", " ".join(QUALITIES))
    revision = bars["revision"] if "revision" in bars.columns else np.zeros(n)
    return pa.table(
        {
            **{name: constant_column(value, n) for name, value in series._asdict().items()},
            "open_time": time_column(pd.DatetimeIndex(bars.index)),
            **values,
            "quality": pa.array(quality),
            "revision": pa.array(np.asarray(revision, dtype=np.int32)),
        }
    )


def stage_records(records: Iterable[Bar]) -> pa.Table:
    """Bars of any series as rows to be written; of one bar given twice the last revision counts.

    Raises
    ------
    DataError
        If a bar is off the grid of its interval or holds a value that is not finite.
    """
    bars = _last_revisions(records)
    columns = {name: [getattr(bar, name) for bar in bars] for name in _COLUMNS}
    values = {name: _finite(np.array(columns[name]), name, "bars") for name in BAR_VALUES}
    times = pa.array(columns["open_time"], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    revisions = pa.array(columns["revision"], pa.int32())
    return pa.table({**columns, **values, "open_time": times, "revision": revisions})


def stage(bars: pd.DataFrame | Iterable[Bar]) -> pa.Table | None:
    """A frame or records as rows to be written; None if there are none."""
    if isinstance(bars, pd.DataFrame):
        return stage_frame(bars) if len(bars) else None
    records = list(bars)
    return stage_records(records) if records else None


def write_staged(connection: Connection, rows: pa.Table, *, replace: bool = False) -> WriteCounts:
    """Write staged rows; call it within a transaction.

    Parameters
    ----------
    replace : bool
        Whether a stored bar that differs gives way even to one that is no better.
    """
    connection.register("incoming", rows)
    try:
        options = {"replace": replace}
        present, differing, better = 0, 0, 0
        if _may_be_there(connection, rows):
            present, differing, better = _fetch_row(connection, _COMPARE, options)
        if better:
            connection.execute(_REPLACE, options)
        if present < rows.num_rows:
            connection.execute(_INSERT_NEW if present else _INSERT_ALL)
    finally:
        connection.unregister("incoming")
    return WriteCounts(
        rows=rows.num_rows,
        new=rows.num_rows - present,
        unchanged=present - differing,
        differing=differing - better,
        replaced=better,
    )


def read_bars(connection: Connection, series: Series, span: Span) -> pd.DataFrame:
    """The bars frame of a series within a span; without rows if there are none."""
    frame = fetch_frame(connection, _READ, parameters(series, span)).set_index("open_time")
    for name, value in series._asdict().items():
        frame[name] = constant_category(value, len(frame))
    frame["quality"] = frame["quality"].astype(_QUALITY)
    return frame[list(BAR_COLUMNS)]


def _may_be_there(connection: Connection, rows: pa.Table) -> bool:
    times = pc.min_max(rows["open_time"])
    values = {
        "first": times["min"].as_py(),
        "last": times["max"].as_py(),
        "symbols": rows["symbol"].unique().to_pylist(),
    }
    return bool(_fetch_row(connection, _MAY_BE_THERE, values)[0])


def _fetch_row(connection: Connection, query: str, values: dict[str, Any]) -> tuple[int, ...]:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row


def _last_revisions(records: Iterable[Bar]) -> list[Bar]:
    bars: dict[tuple[str, str, str, int], Bar] = {}
    for bar in records:
        series = Series(bar.market, bar.symbol, bar.interval).checked()
        if bar.open_time % interval_us(bar.interval):
            found = f"open_time {bar.open_time} of {bar.symbol}"
            raise DataError("bars", found, f"a multiple of {bar.interval}")
        known = bars.get((*series, bar.open_time))
        if known is None or bar.revision >= known.revision:
            bars[(*series, bar.open_time)] = bar
    return list(bars.values())


def _finite(values: npt.NDArray[Any], name: str, where: str) -> pa.Array:
    finite = np.isfinite(values)
    if not finite.all():
        raise DataError(where, f"{name} {values[int(finite.argmin())]}", "a finite number")
    return pa.array(np.asarray(values, dtype=np.int64 if name == "trades" else np.float64))
