"""Questions a user asks in SQL: one statement, and one that only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import pandas as pd

from microstream_lab.errors import StoreError
from microstream_lab.store.connection import Connection
from microstream_lab.store.series import fetch_frame

__all__ = ["answer"]

_READING: Final = (
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.RELATION,
)


def answer(
    connection: Connection, query: str, params: Mapping[str, Any] | Sequence[Any] | None
) -> pd.DataFrame:
    """The answer to one query; :class:`StoreError` if it writes or is not one statement."""
    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise StoreError(f"sql: found {len(statements)} statements, expected one query")
    kind = statements[0].type
    if kind not in _READING:
        raise StoreError(f"sql: found a statement of type {kind.name}, expected one that reads")
    return fetch_frame(connection, query, params)
