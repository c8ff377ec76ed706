"""A store that another process serves: sessions on it, taken for one call at a time.

Invariant: a call either finds the server and does one thing whole or not at all, or raises
:class:`MovedError` before it has done anything. Writers of this machine queue at the same gate as
those of an embedded file, so that they never meet in the server.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Final

import duckdb

from microstream_lab.errors import StoreError, StoreVersionError
from microstream_lab.store.connection import MovedError
from microstream_lab.store.gate import Gate
from microstream_lab.store.patience import alone
from microstream_lab.store.session import READS, WRITES, Session
from microstream_lab.store.tables import newest_version, schema_version

__all__ = ["ServedFile"]

_GONE: Final = ("Could not connect", "Failed to send message", "Invalid connection id")
_PLACE: Final = re.compile(r"\s*LINE \d+:.*", re.DOTALL)
_PREFIX: Final = re.compile(r"^(?:Invalid Input Error: |IO Error: )+")
_MOST_IDLE: Final = 8

_lock = Lock()
_idle: dict[tuple[int, str, str], list[Session]] = {}


class ServedFile:
    """A store behind a server.

    Parameters
    ----------
    address, token : str
        Where it is served, and what lets one in.
    gate : Path, optional
        The lock file of writers, where the server is on this machine.
    timeout_s : float
        How long a writer waits for another one.
    plain : bool
        Whether to talk without TLS.
    """

    def __init__(
        self, address: str, token: str, gate: Path | None, timeout_s: float, plain: bool = True
    ) -> None:
        self.address, self._token, self._timeout_s = address, token, timeout_s
        self._plain = plain
        self._gate = None if gate is None else Gate(gate)
        self._key = (os.getpid(), address, token)

    def exists(self) -> bool:
        """What is served is there."""
        return True

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the store and cannot change it."""
        with self._session(_begin_to_read) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that may write, alone among the writers of this machine."""
        with contextlib.ExitStack() as stack:
            if self._gate is not None:
                stack.enter_context(alone(self._gate, self.address, self._timeout_s))
            session = stack.enter_context(self._session(Session.greet))
            session.mark = "" if self._gate is None else WRITES
            yield session

    @contextlib.contextmanager
    def _session(self, start: Callable[[Session], None]) -> Iterator[Session]:
        """A session that `start` went well with; closed, which undoes all, if it cannot go on."""
        session = self._take(start)
        is_well = False
        try:
            with self._translating():
                yield session
            is_well = True
        except Exception:  # of the call, not of the session; an interrupt may have split an answer
            is_well = True
            raise
        finally:
            self._give_back(session, is_well)

    def _take(self, start: Callable[[Session], None]) -> Session:
        while session := self._pop():
            try:
                start(session)
            except duckdb.Error:
                session.close()
            else:
                return session
        session = self._connect()
        try:
            start(session)
        except duckdb.Error as error:
            session.close()
            raise self._refused(str(error)) from error
        return session

    def _pop(self) -> Session | None:
        with _lock:
            idle = _idle.get(self._key)
            return idle.pop() if idle else None

    def _give_back(self, session: Session, is_well: bool) -> None:
        try:
            if is_well:
                session.settle()
        except duckdb.Error:
            is_well = False
        with _lock:
            idle = _idle.setdefault(self._key, [])
            keep = is_well and len(idle) < _MOST_IDLE
            if keep:
                idle.append(session)
        if not keep:
            session.close()

    def _connect(self) -> Session:
        try:
            session = Session(self.address, self._token, self._plain)
            found, newest = schema_version(session, self.address), newest_version()
        except duckdb.Error as error:
            raise self._refused(str(error)) from error
        if found > newest:
            session.close()
            raise StoreVersionError(
                f"{self.address}: found schema version {found}, expected at most {newest}; "
                "it is served by a newer microstream_lab"
            )
        return session

    def _refused(self, text: str) -> Exception:
        if any(sign in text for sign in _GONE):
            return MovedError(f"{self.address}: nobody answers")
        if "Authentication failed" in text:
            return StoreError(
                f"{self.address}: found a token that the server does not know, expected its own"
            )
        return StoreError(f"{self.address}: {_plain(text)}")

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            text = str(error)
            if any(sign in text for sign in _GONE):
                raise StoreError(
                    f"{self.address}: the server has ended in the middle of a call; what was being "
                    "written is stored whole or not at all, and writing it again is harmless"
                ) from error
            raise StoreError(f"{self.address}: {_plain(text)}") from error


def _begin_to_read(session: Session) -> None:
    session.mark = READS
    session.begin(read_only=True)


def _plain(text: str) -> str:
    """An error of the server, without the place in a text that nobody here has written so."""
    return _PREFIX.sub("", _PLACE.sub("", text)).strip()
