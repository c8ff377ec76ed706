"""A session on a server that serves a store, with the face of a DuckDB connection.

Invariant: every statement runs on the server, in the session's own transaction; this side parses,
ships rows there and takes rows back. Rows to be written travel into a table that exists only within
the transaction that asked for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

import duckdb

from microstream_lab.store.connection import identifier, literal
from microstream_lab.store.quack import load_quack

__all__ = ["READS", "WRITES", "Session"]

READS: Final = "/* call reads */ "
WRITES: Final = "/* call writes */ "
"""Stand before each statement of a call but its last, so that the server knows it is under way; one
that writes holds the gate meanwhile."""

_PATIENCE_S: Final = 600
"""How long one statement may take; a server that has ended is noticed at once."""

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "threads": 1,
    # Checking the signature of an extension takes a third of a second. It came with pip like any
    # compiled module, and whoever can change the one can change the other.
    "allow_unsigned_extensions": "true",
}


class Session:
    """A session of its own on a server.

    Parameters
    ----------
    address : str
        Such as ``quack:127.0.0.1:9494``.
    token : str
        What lets one in.
    plain : bool
        Without TLS, as on loopback and on the machine that serves.
    """

    def __init__(self, address: str, token: str, plain: bool = True) -> None:
        # An instance each: what DuckDB does to all that is attached, it does to this session alone.
        self._local = duckdb.connect(config=_CONFIG)
        self._ahead: list[str] = []
        self._staged: dict[str, str] = {}
        self._is_open = False
        self.mark = ""
        try:
            load_quack(self._local)
            self._local.execute(f"SET http_timeout = {_PATIENCE_S}; SET TimeZone = 'UTC'")
            # A statement is never sent twice: it may have been carried out the first time.
            self._local.execute("SET http_retries = 0")
            self._local.execute(
                f"ATTACH {literal(address)} AS server "
                f"(TYPE quack, TOKEN {literal(token)}, DISABLE_SSL {plain})"
            )
            self._ask("SET SESSION TimeZone = 'UTC'")
        except BaseException:
            self._local.close()
            raise

    def execute(
        self,
        query: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        /,
    ) -> duckdb.DuckDBPyConnection:
        """Run a query on the server; its rows wait in what is returned."""
        if parameters:
            query = self._with_values(query, parameters)
        return self._ask(self.mark + self._after_what_waits(query))

    def extract_statements(self, query: str, /) -> list[duckdb.Statement]:
        """Statements of a text, parsed here."""
        return self._local.extract_statements(query)

    def register(self, view_name: str, python_object: object, /) -> None:
        """Ship an Arrow table to the server, for queries of this transaction."""
        table = f"staged_{uuid4().hex}"
        self._local.register("outgoing", python_object)
        try:
            described = self._local.execute("DESCRIBE outgoing").fetchall()
            columns = ", ".join(f"{identifier(name)} {kind}" for name, kind, *_ in described)
            self.execute(f"CREATE TABLE {table} ({columns})")
            self._local.execute("CALL quack_clear_cache()")  # which now knows the new table
            self._local.execute(f"INSERT INTO server.main.{table} FROM outgoing")
        finally:
            self._local.unregister("outgoing")
        self._ahead.append(f"CREATE OR REPLACE TEMP VIEW {view_name} AS FROM {table}")
        self._staged[view_name] = table

    def unregister(self, view_name: str, /) -> None:
        """Have a shipped table dropped before the transaction ends."""
        if table := self._staged.pop(view_name, None):
            self._ahead += [f"DROP VIEW IF EXISTS {view_name}", f"DROP TABLE {table}"]

    def begin(self, read_only: bool = False) -> None:
        """Start a transaction."""
        self._ask(f"{self.mark}BEGIN TRANSACTION{' READ ONLY' if read_only else ''}")
        self._is_open = True

    def commit(self) -> None:
        """Make all of the transaction durable; if that fails, none of it is."""
        try:
            self._ask(self._after_what_waits("COMMIT"))
        except duckdb.Error:
            with contextlib.suppress(duckdb.Error):  # the error that brought us here says more
                self.rollback()
            raise
        self._is_open = False

    def rollback(self) -> None:
        """Undo all of the transaction."""
        self._ahead, self._staged, self._is_open = [], {}, False
        self._ask("ROLLBACK")

    def settle(self) -> None:
        """End whatever transaction is open, so that another call can take the session."""
        self.mark = ""
        if self._is_open:
            self.rollback()

    def greet(self) -> None:
        """Raise ``duckdb.Error`` if the server does not know this session any more."""
        self._ask("SELECT 1")

    def close(self) -> None:
        """Leave; what was not committed is undone."""
        with contextlib.suppress(duckdb.Error):  # the server may be gone
            self._local.execute("DETACH server")
        self._local.close()

    def _ask(self, text: str) -> duckdb.DuckDBPyConnection:
        # The text is part of the statement and no parameter of it: DuckDB may plan a statement with
        # parameters twice, and planning this one is what runs it on the server.
        asked = f"FROM quack_query_by_name('server', {literal(text)})"
        return self._local.execute(asked)

    def _after_what_waits(self, query: str) -> str:
        ahead, self._ahead = self._ahead, []
        return "; ".join([*ahead, query])

    def _with_values(self, query: str, values: Mapping[str, Any] | Sequence[Any]) -> str:
        if isinstance(values, Mapping):
            literals = self._literals(list(values.values()))
            names = (f"{identifier(name)} := " for name in values)
            terms = [name + term for name, term in zip(names, literals, strict=True)]
        else:
            terms = self._literals(values)
        return f"PREPARE asked AS {query.strip().rstrip(';')}; EXECUTE asked({', '.join(terms)})"

    def _literals(self, values: Sequence[Any]) -> list[str]:
        """Values as SQL that means the same on the server, whatever their type."""
        asked = ", ".join("typeof(?), ?::VARCHAR" for _ in values)
        twice = [each for value in values for each in (value, value)]
        row = self._local.execute(f"SELECT {asked}", twice).fetchone()
        assert row is not None
        return [
            "NULL" if text is None else f"CAST({literal(text)} AS {kind})"
            for kind, text in zip(row[::2], row[1::2], strict=True)
        ]
