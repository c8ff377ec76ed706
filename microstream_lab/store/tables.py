"""The tables, and the steps by which a store of an earlier version becomes one of today.

Invariant: a step, once released, never changes; a store is at version n when steps 1..n have run,
and a step runs whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from microstream_lab.errors import StoreError
from microstream_lab.store.connection import Connection

__all__ = ["MIGRATIONS", "migrate", "newest_version", "schema_version"]

_VERSION_1: Final = """
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL);

CREATE TABLE bars (
    market VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    interval VARCHAR NOT NULL,
    open_time TIMESTAMPTZ NOT NULL,
    open DOUBLE NOT NULL,
    high DOUBLE NOT NULL,
    low DOUBLE NOT NULL,
    close DOUBLE NOT NULL,
    volume DOUBLE NOT NULL,
    quote_volume DOUBLE NOT NULL,
    trades BIGINT NOT NULL,
    taker_buy_base DOUBLE NOT NULL,
    taker_buy_quote DOUBLE NOT NULL,
    quality VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (market, symbol, interval, open_time)
);

CREATE TABLE signals (
    market VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    interval VARCHAR NOT NULL,
    open_time TIMESTAMPTZ NOT NULL,
    bundle_id VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    regime TINYINT NOT NULL,
    p DOUBLE[] NOT NULL,
    features MAP(VARCHAR, DOUBLE) NOT NULL,
    anomaly_score DOUBLE,
    is_anomaly BOOLEAN NOT NULL,
    expected_stress DOUBLE,
    written_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (market, symbol, interval, open_time, bundle_id, revision)
);

CREATE TABLE gaps (
    market VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    from_id BIGINT NOT NULL,
    to_id BIGINT NOT NULL,
    from_time TIMESTAMPTZ NOT NULL,
    to_time TIMESTAMPTZ NOT NULL,
    cause VARCHAR NOT NULL,
    detected_at TIMESTAMPTZ NOT NULL,
    repaired_at TIMESTAMPTZ,
    n_repaired BIGINT NOT NULL,
    PRIMARY KEY (market, symbol, from_id, to_id)
);

CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    notebook VARCHAR NOT NULL,
    parameters JSON NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('running', 'done', 'failed')),
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    metrics JSON NOT NULL,
    error VARCHAR,
    report VARCHAR
);

CREATE TABLE imports (
    file VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    market VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    interval VARCHAR NOT NULL,
    n_rows BIGINT NOT NULL,
    n_new BIGINT NOT NULL,
    imported_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (sha256, market, symbol, interval)
);
"""

_VERSION_2: Final = """
CREATE TABLE watermarks (
    market VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    interval VARCHAR NOT NULL,
    agg_id BIGINT NOT NULL,
    trade_id BIGINT NOT NULL,
    open_time TIMESTAMPTZ NOT NULL,
    close DOUBLE NOT NULL,
    PRIMARY KEY (market, symbol, interval)
);
"""

# A column's CHECK cannot be changed, so the table of runs is made anew.
_VERSION_3: Final = """
ALTER TABLE runs RENAME TO runs_of_version_2;
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    notebook VARCHAR NOT NULL,
    parameters JSON NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('running', 'done', 'failed', 'missed')),
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    metrics JSON NOT NULL,
    error VARCHAR,
    report VARCHAR,
    job VARCHAR,
    scheduled_for TIMESTAMPTZ,
    attempt INTEGER NOT NULL,
    cause VARCHAR
);
INSERT INTO runs
SELECT run_id, notebook, parameters, status, started_at, ended_at, metrics, error, report,
    NULL, NULL, 1, NULL
FROM runs_of_version_2;
DROP TABLE runs_of_version_2;

CREATE TABLE jobs (job VARCHAR PRIMARY KEY, handled_until TIMESTAMPTZ NOT NULL);
"""

_VERSION_4: Final = """
CREATE TABLE drift (
    market VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    interval VARCHAR NOT NULL,
    open_time TIMESTAMPTZ NOT NULL,
    bundle_id VARCHAR NOT NULL,
    n_bars INTEGER NOT NULL,
    "window" INTEGER NOT NULL,
    features MAP(VARCHAR, DOUBLE) NOT NULL,
    regimes DOUBLE NOT NULL,
    shortfall DOUBLE NOT NULL,
    alarms VARCHAR[] NOT NULL,
    PRIMARY KEY (market, symbol, interval, open_time, bundle_id)
);
"""

_VERSION_5: Final = """
CREATE TABLE outbox (
    number BIGINT NOT NULL,
    market VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    interval VARCHAR NOT NULL,
    open_time TIMESTAMPTZ NOT NULL,
    revision INTEGER NOT NULL
);
"""

MIGRATIONS: Final[Mapping[int, str]] = dict(
    enumerate((_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5), 1)
)
"""Version reached, and the SQL that reaches it from the version before."""


def newest_version() -> int:
    """The version this package writes, and the newest it can read."""
    return max(MIGRATIONS)


def schema_version(connection: Connection, where: str) -> int:
    """Version of the tables behind a connection; 0 in an empty file.

    Raises
    ------
    StoreError
        If the file, called `where`, holds tables, but not ours.
    """
    query = "SELECT table_name FROM duckdb_tables() WHERE NOT temporary"
    names = {name for (name,) in connection.execute(query).fetchall()}
    if not names:
        return 0
    if "schema_version" not in names:
        raise StoreError(f"{where}: found a DuckDB file with table {min(names)}, expected a store")
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    assert row is not None
    return int(row[0] or 0)


def migrate(connection: Connection, where: str) -> None:
    """Run the steps the store `where` is behind, in order; call it within a transaction."""
    found = schema_version(connection, where)
    for version in sorted(version for version in MIGRATIONS if version > found):
        connection.execute(MIGRATIONS[version])
        connection.execute("INSERT INTO schema_version VALUES (?, now())", [version])
