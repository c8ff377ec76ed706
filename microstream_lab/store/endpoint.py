"""Where a store is served: a file beside it that only its user can read.

Invariant: the server holds a lock on the file for as long as it lives, so that one left behind by
a dead process is known for what it is, whatever process has its number now.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil

from microstream_lab.errors import StoreError

try:
    import fcntl
except ImportError:  # pragma: no cover
    fcntl = None  # type: ignore[assignment]

__all__ = ["SCHEME", "Endpoint", "endpoint_file", "find_endpoint", "published"]

SCHEME: Final = "quack:"
_ANY: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


class Endpoint(msgspec.Struct, frozen=True):
    """Where a store is served, and what lets one in.

    ``command`` and ``started_at`` (us) tell people who serves it and since when; ``path`` is the
    file behind it, on the machine that serves.
    """

    host: str
    port: int
    token: str
    pid: int
    command: str
    started_at: int
    path: str

    @property
    def address(self) -> str:
        """Such as ``quack:127.0.0.1:9494``."""
        return f"{SCHEME}{self.host}:{self.port}"

    @property
    def near(self) -> str:
        """The address for programs of the machine that serves."""
        return f"{SCHEME}{_ANY.get(self.host, self.host)}:{self.port}"

    def __repr__(self) -> str:  # the token stays out of logs and tracebacks
        return f"Endpoint({self.address!r}, pid={self.pid})"


def endpoint_file(store: Path) -> Path:
    """The file that tells where the store at `store` is served."""
    return store.with_name(store.name + ".served")


def find_endpoint(store: Path) -> Endpoint | None:
    """Where the store at `store` is served right now; None if nobody serves it."""
    try:
        descriptor = os.open(endpoint_file(store), os.O_RDONLY)
    except OSError:
        return None
    try:
        endpoint = msgspec.json.decode(os.read(descriptor, 65_536), type=Endpoint)
        return endpoint if _is_alive(descriptor, endpoint) else None
    except (OSError, msgspec.DecodeError):
        return None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def published(store: Path, endpoint: Endpoint) -> Iterator[None]:
    """Tell the user's other programs where the store is served, until the block ends.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    target = endpoint_file(store)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written ({error.strerror})") from error
    try:
        os.write(descriptor, msgspec.json.encode(endpoint))
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.replace(target)  # whole and locked before anybody can find it
        yield
    finally:
        draft.unlink(missing_ok=True)
        if find_endpoint(store) == endpoint:
            target.unlink(missing_ok=True)
        os.close(descriptor)


def _is_alive(descriptor: int, endpoint: Endpoint) -> bool:
    if not psutil.pid_exists(endpoint.pid):
        return False
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks: the process is all there is to go by
        return True
    return False
