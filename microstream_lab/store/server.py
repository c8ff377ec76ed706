"""Serving a store: one process holds the file, everybody else attaches to it.

Invariant: while the block lasts the file is open exactly once and the endpoint file beside it tells
where; afterwards both are as if it had never been served.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb

from microstream_lab.errors import SettingsError, StoreError, StoreLockedError
from microstream_lab.market.offline import is_loopback
from microstream_lab.store.connection import literal
from microstream_lab.store.embedded import EmbeddedFile
from microstream_lab.store.endpoint import SCHEME, Endpoint, find_endpoint, published
from microstream_lab.store.gate import Gate, gate_file, own_command
from microstream_lab.store.janitor import Janitor
from microstream_lab.store.patience import alone
from microstream_lab.store.quack import is_address, load_quack
from microstream_lab.store.session import READS, WRITES

__all__ = ["LOOPBACK", "serving"]

LOOPBACK: Final = "127.0.0.1"
_FAREWELL_S: Final = 5.0
"""How long a server that ends waits for calls that are under way."""
_QUIET_S: Final = 0.05
"""How long nobody has to call: who has just found the server is about to."""
_UNDER_WAY: Final = f"""
SELECT count(*) FROM quack_active_connections() WHERE state = 'active'
    OR starts_with(query, {literal(READS)}) OR starts_with(query, {literal(WRITES)})
"""


@contextlib.contextmanager
def serving(
    path: Path,
    host: str = LOOPBACK,
    port: int = 0,
    *,
    beyond_loopback: bool = False,
    timeout_s: float = 10.0,
) -> Iterator[Endpoint]:
    """Serve the store at `path` until the block ends.

    Parameters
    ----------
    path : Path
        The file; made if there is none.
    host, port : str, int
        Where to listen; port 0 takes a free one.
    beyond_loopback : bool
        Must be said for a host that other machines can reach. The protocol itself is not
        encrypted: it belongs behind a proxy that speaks TLS.
    timeout_s : float
        How long to wait for whoever holds the file.

    Raises
    ------
    SettingsError
        If `host` is not this machine's loopback and `beyond_loopback` is not said.
    StoreError
        If it is served already, cannot be opened, or the port is taken.
    """
    if is_address(str(path)):
        raise SettingsError(f"store: found {path}, expected a file to serve")
    if not (beyond_loopback or is_loopback(f"quack://{host}")):
        raise SettingsError(
            f"host: found {host}, expected one of this machine's loopback such as {LOOPBACK}; "
            "docs/store.md tells how to serve other machines, behind TLS"
        )
    path = path.expanduser().resolve()
    if there := find_endpoint(path):
        raise StoreError(f"{path}: is served already, by PID {there.pid} at {there.address}")
    gate = Gate(gate_file(path))
    with contextlib.ExitStack() as stack:
        with EmbeddedFile(path, timeout_s).writing() as opened:
            opened.execute("RESET threads")
            connection = duckdb.connect(path)  # a second one, which keeps the file open
            stack.callback(connection.close)
            endpoint = _listen(connection, path, host, port, beyond_loopback)
            stack.callback(_hang_up, connection, endpoint)
            stack.enter_context(_told(path, endpoint, gate, timeout_s))
        stack.enter_context(Janitor(connection.cursor(), gate, endpoint))
        yield endpoint


def _listen(
    connection: duckdb.DuckDBPyConnection, path: Path, host: str, port: int, beyond: bool
) -> Endpoint:
    address = f"{SCHEME}{host}:{port}"
    try:
        port = _free_port(host, port)
    except OSError as error:
        raise StoreError(f"{address}: cannot be served there ({error.strerror})") from error
    load_quack(connection)
    if beyond:
        connection.execute("SET GLOBAL enable_external_access = false")
    endpoint = Endpoint(
        host=host,
        port=port,
        token=secrets.token_hex(32),
        pid=os.getpid(),
        command=own_command(),
        started_at=time.time_ns() // 1000,
        path=str(path),
    )
    try:
        connection.execute(
            f"CALL quack_serve({literal(endpoint.address)}, token = {literal(endpoint.token)}, "
            f"disable_ssl = true, allow_other_hostname = {beyond})"
        )
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{endpoint.address}: cannot be served there ({reason})") from error
    return endpoint


@contextlib.contextmanager
def _told(path: Path, endpoint: Endpoint, gate: Gate, timeout_s: float) -> Iterator[None]:
    """Published for the block; the end waits for a writer who is under way."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(published(path, endpoint))
        yield
        with contextlib.suppress(StoreLockedError):
            stack.enter_context(alone(gate, str(path), timeout_s))


def _hang_up(connection: duckdb.DuckDBPyConnection, endpoint: Endpoint) -> None:
    """Let calls that are under way end, and stop to listen."""
    until = time.monotonic() + _FAREWELL_S
    quiet_since = time.monotonic()
    while time.monotonic() < min(until, quiet_since + _QUIET_S):
        time.sleep(0.005)
        if connection.execute(_UNDER_WAY).fetchall() != [(0,)]:
            quiet_since = time.monotonic()
    connection.execute(f"CALL quack_stop({literal(endpoint.address)})")
    with contextlib.suppress(duckdb.Error):  # a session may live on for a moment; nothing is lost
        connection.execute("FORCE CHECKPOINT")


def _free_port(host: str, port: int) -> int:
    """The port itself, or any if it is 0; DuckDB would share one that is taken and say nothing."""
    family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])
