"""What the tables need of a connection, whoever holds the store's file.

Invariant: the rest of this room speaks to a :class:`Connection` and cannot tell one of a file on
this machine from one of a server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import duckdb

__all__ = ["Connection", "MovedError", "StoreFile", "identifier", "literal", "transaction"]


class Connection(Protocol):
    """The part of a DuckDB connection that is used here."""

    def execute(
        self,
        query: str,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        /,
    ) -> duckdb.DuckDBPyConnection:
        """Run statements; what is returned holds the rows of the last one."""

    def extract_statements(self, query: str, /) -> list[duckdb.Statement]:
        """Statements of a text, parsed and not run."""

    def register(self, view_name: str, python_object: object, /) -> object:
        """Let queries of this transaction read an Arrow table under a name."""

    def unregister(self, view_name: str, /) -> object:
        """Forget a registered table."""

    def begin(self) -> object:
        """Start a transaction."""

    def commit(self) -> object:
        """Make all of a transaction durable."""

    def rollback(self) -> object:
        """Undo all of a transaction."""


class StoreFile(Protocol):
    """Where a store is kept, opened for one call at a time."""

    def exists(self) -> bool:
        """Whether there is anything to read."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that reads."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A connection that may write, alone."""


class MovedError(Exception):
    """The file is served meanwhile, or no longer: whoever opens it has to look again."""


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All of the block, or nothing of it."""
    connection.begin()
    try:
        yield
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # the error that brought us here says more
            connection.rollback()
        raise
    connection.commit()


def literal(text: str) -> str:
    """Text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name of a table or column as SQL reads it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
