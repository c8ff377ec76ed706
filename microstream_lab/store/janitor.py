"""Ends what clients have left behind on a server: a killed one's transaction must block nobody.

Invariant: a writer of this machine holds the gate from its first statement to its last, so that a
writing session while the gate is free belongs to nobody any more. Sessions that have been idle for
long are ended, too; who comes back to one is given another.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
from threading import Event, Thread
from typing import Final, Self

import duckdb

from microstream_lab.store.connection import literal
from microstream_lab.store.endpoint import Endpoint
from microstream_lab.store.gate import Gate, GateBusyError
from microstream_lab.store.quack import split_address
from microstream_lab.store.session import WRITES

__all__ = ["Janitor"]

log = logging.getLogger(__name__)

_EVERY_S: Final = 0.25
_IDLE_S: Final = 300
_WRITING: Final = f"""
SELECT connection_id FROM quack_active_connections()
WHERE state = 'finished' AND starts_with(query, {literal(WRITES)})
"""
_IDLE: Final = f"""
SELECT connection_id FROM quack_active_connections()
WHERE state = 'finished' AND NOT starts_with(query, {literal(WRITES)})
    AND query_started_at < now() - INTERVAL {_IDLE_S} SECONDS
"""


class Janitor:
    """Looks after the sessions of a server, in a thread of its own, for the length of a block."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, gate: Gate, endpoint: Endpoint
    ) -> None:
        self._connection, self._gate, self._endpoint = connection, gate, endpoint
        self._ended = Event()
        self._thread = Thread(target=self._run, name="store-janitor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            try:
                self._look()
            except (duckdb.Error, OSError) as error:
                log.warning("sessions of %s: %s", self._endpoint.address, error)

    def _look(self) -> None:
        if self._sessions(_WRITING):
            with contextlib.suppress(GateBusyError):
                held = self._gate.enter(exclusive=True)
                try:
                    # Asked again, since a living writer may have come and gone meanwhile.
                    self._end(self._sessions(_WRITING) if held is not None else [])
                finally:
                    self._gate.leave(held, exclusive=True)
        self._end(self._sessions(_IDLE))

    def _sessions(self, query: str) -> list[str]:
        return [session for (session,) in self._connection.execute(query).fetchall()]

    def _end(self, sessions: list[str]) -> None:
        for session in sessions:
            log.info("session %s is nobody's any more", session)
            _disconnect(self._endpoint, session)


def _disconnect(endpoint: Endpoint, session: str) -> None:
    """Say goodbye in the name of a client; DuckDB has no function for it, but a message."""
    name = session.encode()
    message = b"\x01\x00\x0b\x02\x00" + bytes([len(name)]) + name
    message += b"\x03\x00" + b"\xff" * 9 + b"\x01" + b"\xff\xff" * 2
    host, port = split_address(endpoint.near)
    connection = http.client.HTTPConnection(host.strip("[]"), port, timeout=5)
    with contextlib.closing(connection):
        connection.request("POST", "/quack", message)
        connection.getresponse().read()
