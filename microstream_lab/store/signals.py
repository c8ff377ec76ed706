"""Signals in and out of their table.

Invariant: a stored signal never changes. One that was computed anew and differs stands beside the
first under the next revision; one that is equal is not written again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from microstream_lab.errors import DataError, StoreError
from microstream_lab.schema import TIME_DTYPE, Signal
from microstream_lab.store.connection import Connection, identifier, literal
from microstream_lab.store.results import WriteCounts
from microstream_lab.store.series import (
    IN_SERIES,
    IN_SPAN,
    Series,
    Span,
    fetch_frame,
    parameters,
    time_column,
)

__all__ = ["Which", "frames_of", "read_signals", "write_signals"]

Which = Literal["latest", "first"]

_PROBABILITY: Final = re.compile(r"p_(\d+)")
_NOT_FEATURES: Final = frozenset(
    {"anomaly_score", "is_anomaly", "regime", "expected_stress", "anomaly_quantile"}
    | {"bundle_id", "revision"}
)
# Equal but for the last digits, in which one bar at a time and all at once may differ.
_NEAR: Final = """
CREATE OR REPLACE TEMP MACRO near(a, b) AS
    a IS NOT DISTINCT FROM b OR coalesce(abs(a - b) <= 1e-9 * greatest(1, abs(a), abs(b)), false);
CREATE OR REPLACE TEMP MACRO all_near(a, b) AS len(a) = len(b)
    AND coalesce(list_bool_and(list_transform(list_zip(a, b), lambda x: near(x[1], x[2]))), true);
"""
_SAME: Final = """
    old.regime = new.regime AND old.is_anomaly = new.is_anomaly
    AND near(old.anomaly_score, new.anomaly_score)
    AND near(old.expected_stress, new.expected_stress)
    AND all_near(old.p, new.p) AND map_keys(old.features) = map_keys(new.features)
    AND all_near(map_values(old.features), map_values(new.features))
"""
_WRITE: Final = f"""
INSERT INTO signals
WITH new AS (
    SELECT open_time, revision, regime, {{p}} AS p, {{features}} AS features,
           anomaly_score, is_anomaly, expected_stress
    FROM incoming
), old AS (
    SELECT * FROM signals WHERE {IN_SERIES} AND {IN_SPAN} AND bundle_id = $bundle_id
), known AS (
    SELECT open_time FROM new JOIN old USING (open_time)
    WHERE old.revision >= new.revision AND {_SAME}
), newest AS (
    SELECT open_time, max(revision) AS revision FROM old GROUP BY open_time
)
SELECT $market, $symbol, $interval, new.open_time, $bundle_id,
       greatest(new.revision, coalesce(newest.revision + 1, 0)), new.regime, new.p, new.features,
       new.anomaly_score, new.is_anomaly, new.expected_stress, now()
FROM new LEFT JOIN newest USING (open_time)
WHERE new.open_time NOT IN (SELECT open_time FROM known)
"""
_CHOSEN: Final = f"{IN_SERIES} AND {IN_SPAN} AND bundle_id = coalesce($bundle_id, bundle_id)"
_SHAPES: Final = f"""
SELECT map_keys(features) AS names, max(len(p)) AS n_regimes FROM signals WHERE {_CHOSEN}
GROUP BY names ORDER BY min(open_time)
"""
_READ: Final = f"""
SELECT open_time, {{features}} anomaly_score, is_anomaly, regime, {{p}} expected_stress,
       bundle_id, revision
FROM signals WHERE {_CHOSEN}
QUALIFY row_number() OVER (PARTITION BY open_time ORDER BY {{order}}) = 1
ORDER BY open_time
"""
_ORDER: Final[dict[Which, str]] = {
    "latest": "written_at DESC, revision DESC",
    "first": "written_at, revision",
}


def write_signals(
    connection: Connection, signals: pd.DataFrame, series: Series, bundle_id: str
) -> WriteCounts:
    """Write the signals of one bundle for one series; call it within a transaction.

    Raises
    ------
    DataError
        If the frame has no unique ``open_time`` index or lacks a column of a signals frame.
    """
    features, n_regimes = _shape(signals)
    query = _WRITE.format(
        p=_listed(f"p_{k}" for k in range(n_regimes)),
        features=f"map([{', '.join(map(literal, features))}]::VARCHAR[], {_listed(features)})",
    )
    times = time_column(pd.DatetimeIndex(signals.index))
    span = Span(times[0].value, times[-1].value + 1)
    connection.register("incoming", _staged(signals, times))
    try:
        connection.execute(_NEAR)
        values = {**parameters(series, span), "bundle_id": bundle_id}
        row = connection.execute(query, values).fetchone()
    finally:
        connection.unregister("incoming")
    assert row is not None
    return WriteCounts(rows=len(signals), new=row[0], unchanged=len(signals) - row[0])


def read_signals(
    connection: Connection, series: Series, span: Span, bundle_id: str | None, which: Which
) -> pd.DataFrame:
    """One signal for each bar of a series, of `bundle_id` or of whichever bundle wrote it."""
    values = {**parameters(series, span), "bundle_id": bundle_id}
    shapes = connection.execute(_SHAPES, values).fetchall()
    features = list(dict.fromkeys(name for names, _ in shapes for name in names))
    n_regimes = max((n for _, n in shapes), default=0)
    query = _READ.format(
        features="".join(f"features[{literal(name)}] AS {identifier(name)}, " for name in features),
        p="".join(f"p[{k + 1}] AS p_{k}, " for k in range(n_regimes)),
        order=_ORDER[which],
    )
    return fetch_frame(connection, query, values).set_index("open_time")


def frames_of(
    signals: pd.DataFrame | Iterable[Signal],
    bundle_id: str | None,
    market: str,
    symbol: str | None,
    interval: str | None,
) -> Iterator[tuple[Series, str, pd.DataFrame]]:
    """Signals of a frame, whose series and bundle are given, or of records, which know theirs.

    Raises :class:`StoreError` for a frame of which they are not given.
    """
    if not isinstance(signals, pd.DataFrame):
        yield from _frames_of_records(signals)
    elif bundle_id is None or symbol is None or interval is None:
        raise StoreError("a signals frame: expected bundle_id, symbol and interval beside it")
    elif len(signals):
        yield Series(market, symbol, interval).checked(), bundle_id, signals


def _frames_of_records(records: Iterable[Signal]) -> Iterator[tuple[Series, str, pd.DataFrame]]:
    """Records as frames of one series, bundle, revision and shape each, revisions ascending."""
    groups: dict[tuple[object, ...], dict[int, Signal]] = {}
    for signal in sorted(records, key=lambda signal: signal.revision):
        shape = (*signal.features, len(signal.filtered_probs))
        series = Series(signal.market, signal.symbol, signal.interval).checked()
        key = (series, signal.bundle_id, signal.revision, shape)
        groups.setdefault(key, {})[signal.open_time] = signal
    for by_time in groups.values():
        first = next(iter(by_time.values()))
        series = Series(first.market, first.symbol, first.interval)
        yield series, first.bundle_id, _frame([by_time[time] for time in sorted(by_time)])


def _frame(signals: Sequence[Signal]) -> pd.DataFrame:
    index = pd.DatetimeIndex(
        np.array([signal.open_time for signal in signals]).view("M8[us]"), tz="UTC"
    )
    rows = [
        {
            **signal.features,
            "anomaly_score": signal.anomaly_score,
            "is_anomaly": signal.is_anomaly,
            "regime": signal.regime,
            **{f"p_{k}": prob for k, prob in enumerate(signal.filtered_probs)},
            "expected_stress": signal.expected_stress,
            "revision": signal.revision,
        }
        for signal in signals
    ]
    return pd.DataFrame(rows, index=index)


def _shape(signals: pd.DataFrame) -> tuple[list[str], int]:
    """Names of the features and number of regimes of a signals frame."""
    index = signals.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataError("signals frame", f"an index of {index.dtype}", f"open_time, {TIME_DTYPE}")
    if not (index.is_monotonic_increasing and index.is_unique):
        raise DataError("signals frame", "open_time unsorted or doubled", "ascending and unique")
    names = [str(name) for name in signals.columns]
    n_regimes = sum(_PROBABILITY.fullmatch(name) is not None for name in names)
    needed = ["anomaly_score", "is_anomaly", "regime", "expected_stress"]
    for name in (*needed, *(f"p_{k}" for k in range(n_regimes))):
        if name not in names:
            raise DataError("signals frame", f"no column {name}", "the columns of a bundle's")
    features = [name for name in names if name not in _NOT_FEATURES]
    return [name for name in features if not _PROBABILITY.fullmatch(name)], n_regimes


def _staged(signals: pd.DataFrame, times: pa.Array) -> pa.Table:
    columns = {
        str(name): pa.array(signals[name].to_numpy(), from_pandas=True)
        for name in signals.columns
        if name not in ("bundle_id", "revision", "anomaly_quantile")
    }
    revision = signals["revision"] if "revision" in signals.columns else np.zeros(len(signals))
    revisions = pa.array(np.asarray(revision, dtype=np.int32))
    return pa.table({**columns, "open_time": times, "revision": revisions})


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(map(identifier, names))}]::DOUBLE[]"
