"""Connections to the store's file: short, patient, and able to say who is in the way.

Invariant: no connection outlives the ``with`` block it was made for. DuckDB lets one process write
or many read; whoever comes at the wrong moment waits a bounded time. Writers queue at a gate (a
lock file beside the store) that readers only pass through, so that a stream of readers cannot
starve a writer. Nothing else in this process may open the file: closing any descriptor of it would
drop the lock DuckDB holds.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb

from microstream_lab.errors import StoreError, StoreVersionError
from microstream_lab.store.connection import MovedError, transaction
from microstream_lab.store.endpoint import find_endpoint
from microstream_lab.store.gate import Gate, GateBusyError, command_of, gate_file
from microstream_lab.store.patience import BusyError, alone, patiently
from microstream_lab.store.tables import migrate, newest_version, schema_version

__all__ = ["EmbeddedFile"]

_HOLDER: Final = re.compile(r"Conflicting lock is held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")
_SAME_PROCESS: Final = "different configuration than existing connections"
_NEWER_FORMAT: Final = re.compile(r"database file with version number (\d+)")
_BUSY_S: Final = 5.0
_LONGEST_LOG: Final = 16_384
_DAMAGED: Final = ("not a valid DuckDB database file", "Could not read enough bytes", "Corrupt")


class _OutdatedError(Exception):
    """The tables are those of an earlier version."""


class EmbeddedFile:
    """A DuckDB file of this machine, opened for one call at a time.

    Parameters
    ----------
    path : Path
        The file; made, with its folders, by the first write.
    timeout_s : float
        How long to wait for whoever holds it.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        # DuckDB knows its open files by name: one file must have one name in this process.
        self.path = path.expanduser().resolve()
        self.timeout_s = timeout_s
        self._log = self.path.with_name(f"{self.path.name}.wal")
        self._gate = Gate(gate_file(self.path))

    def exists(self) -> bool:
        """Whether there is anything to read."""
        return self.path.exists()

    @contextlib.contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection.

        Raises
        ------
        StoreLockedError
            If somebody wrote for longer than we were willing to wait.
        StoreVersionError
            If the store was written by a newer version.
        StoreError
            If there is no store, or it cannot be read.
        """
        try:
            connection = self._awaited_reader()
        except _OutdatedError:
            with self.writing():
                pass  # opening for writing brings the tables up to date
            connection = self._awaited_reader()
        with contextlib.closing(connection), self._translating():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that may write, alone; errors as for :meth:`reading`."""
        with self._translating(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with alone(self._gate, str(self.path), self.timeout_s):
            if not self.exists():
                self._create()
            left = max(0.0, self.timeout_s - (time.monotonic() - started))
            is_busy = self._is_busy()
            connection = patiently(lambda: self._connect(read_only=False), *self._waiting(left))
            with contextlib.closing(connection), self._translating():
                # Filling a keyed table is serial work; a second thread would mostly spin.
                connection.execute("SET threads = 1")
                with transaction(connection):
                    migrate(connection, str(self.path))
                yield connection
                if is_busy and self._log_size() < _LONGEST_LOG:
                    connection.execute("PRAGMA disable_checkpoint_on_shutdown")

    def _is_busy(self) -> bool:
        """Whether the last write was a moment ago, so that there will be another one soon.

        Then what was written stays in DuckDB's log. Putting rows where they belong has a hundred
        thousand others written anew, for a tenth of a second in which nobody can read; a short log
        is played back by whoever opens the file, a third of a millisecond for each transaction.
        """
        written = 0.0
        for file in (self.path, self._log):
            with contextlib.suppress(FileNotFoundError):
                written = max(written, file.stat().st_mtime)
        return time.time() - written < _BUSY_S

    def _log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _awaited_reader(self) -> duckdb.DuckDBPyConnection:
        with contextlib.suppress(BusyError, GateBusyError):
            return self._open_reader()
        with self._gate.awaiting():
            return patiently(self._open_reader, *self._waiting())

    def _open_reader(self) -> duckdb.DuckDBPyConnection:
        if not self.exists():
            raise StoreError(
                f"no store at {self.path}; it is made by the first import (microstream ingest)"
            )
        self._gate.leave(self._gate.enter(exclusive=False), exclusive=False)
        return self._connect(read_only=True)

    def _waiting(self, left_s: float | None = None) -> tuple[str, float, float]:
        return str(self.path), self.timeout_s, self.timeout_s if left_s is None else left_s

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        with self._translating():
            try:
                connection = _connect_or_busy(self.path, read_only)
            except BusyError as error:
                if find_endpoint(self.path) is not None:
                    raise MovedError(str(error)) from error
                raise
            try:
                self._prepare(connection, read_only)
            except BaseException:
                connection.close()
                raise
            return connection

    def _prepare(self, connection: duckdb.DuckDBPyConnection, read_only: bool) -> None:
        # Set here, not in connect(): another configuration would shut out a user's own read-only
        # connection in the same process.
        connection.execute("SET SESSION TimeZone = 'UTC'")
        found, newest = schema_version(connection, str(self.path)), newest_version()
        if found > newest:
            raise StoreVersionError(
                f"{self.path}: found schema version {found}, expected at most {newest}; "
                "it was written by a newer microstream_lab"
            )
        if read_only and found < newest:
            raise _OutdatedError

    def _create(self) -> None:
        """Make the file beside its place and move it there, so that it is never half made."""
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        with self._translating(OSError):
            try:
                with duckdb.connect(draft) as connection:
                    migrate(connection, str(self.path))
                draft.replace(self.path)
            finally:
                draft.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _translating(self, *also: type[Exception]) -> Iterator[None]:
        caught: tuple[type[Exception], ...] = (duckdb.Error, *also)
        try:
            yield
        except caught as error:
            raise self._store_error(str(error)) from error

    def _store_error(self, text: str) -> StoreError:
        if newer := _NEWER_FORMAT.search(text):
            return StoreVersionError(
                f"{self.path}: found DuckDB storage version {newer[1]}, expected one that "
                f"DuckDB {duckdb.__version__} reads"
            )
        if any(sign in text for sign in _DAMAGED):
            return StoreError(
                f"{self.path}: found a file that is damaged or not DuckDB's, expected a store"
            )
        return StoreError(f"{self.path}: {text}")


def _connect_or_busy(path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(path, read_only=read_only)
    except duckdb.Error as error:
        text = str(error)
        if match := _HOLDER.search(text):
            command = command_of(int(match["pid"])) or match["program"]
            raise BusyError(f"PID {match['pid']} ({command})") from error
        if _SAME_PROCESS in text:
            holder = f"another connection of this process (PID {os.getpid()})"
            raise BusyError(holder) from error
        raise
