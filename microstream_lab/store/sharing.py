"""Where a store is right now: in its file, or with whoever serves it.

Invariant: this is the one place that knows the difference. Each call looks anew, so that a store
that begins or ceases to be served between two calls, or just now, is found where it is.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from microstream_lab.errors import StoreError
from microstream_lab.market.offline import is_loopback, require_allowed
from microstream_lab.settings import Settings
from microstream_lab.store.connection import Connection, MovedError, StoreFile
from microstream_lab.store.embedded import EmbeddedFile
from microstream_lab.store.endpoint import Endpoint, find_endpoint
from microstream_lab.store.gate import gate_file
from microstream_lab.store.quack import is_address, split_address
from microstream_lab.store.served import ServedFile

__all__ = ["SharedFile", "shared_file"]

_PAUSE_S: Final = 0.01


class SharedFile(ABC):
    """A store, opened for one call at a time wherever it is then."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path, self._timeout_s = path, timeout_s

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is anything to read."""

    @abstractmethod
    def endpoint(self) -> Endpoint | None:
        """Where it is served and by whom, as far as that is known here."""

    @abstractmethod
    def _place(self) -> StoreFile:
        """Where it is now."""

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that reads.

        Raises
        ------
        StoreLockedError
            If somebody wrote for longer than we were willing to wait.
        StoreVersionError
            If the store was written by a newer version.
        StoreError
            If there is no store, or it cannot be read.
        """
        with contextlib.ExitStack() as stack:
            yield self._enter(stack, "reading")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection that may write, alone; errors as for :meth:`reading`."""
        with contextlib.ExitStack() as stack:
            yield self._enter(stack, "writing")

    def _enter(self, stack: contextlib.ExitStack, how: Literal["reading", "writing"]) -> Connection:
        deadline = time.monotonic() + self._timeout_s
        while True:
            place = self._place()
            try:
                opened = place.reading() if how == "reading" else place.writing()
                return stack.enter_context(opened)
            except MovedError as error:
                if time.monotonic() > deadline:
                    raise StoreError(f"{error}; waited {self._timeout_s:g} s") from error
            time.sleep(_PAUSE_S)


class _NamedFile(SharedFile):
    """A store named by its file, which is served sometimes."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._embedded = EmbeddedFile(path, timeout_s)
        super().__init__(self._embedded.path, timeout_s)

    def exists(self) -> bool:
        return self._embedded.exists()

    def endpoint(self) -> Endpoint | None:
        return find_endpoint(self.path)

    def _place(self) -> StoreFile:
        endpoint = self.endpoint()
        if endpoint is None:
            return self._embedded
        gate = gate_file(self.path)
        return ServedFile(endpoint.near, endpoint.token, gate, self._timeout_s)


class _AddressedFile(SharedFile):
    """A store named by where it is served."""

    def __init__(self, address: str, token: str | None, timeout_s: float) -> None:
        self._host, self._port = split_address(address)
        self._address, self._token = address, token
        super().__init__(Path(address), timeout_s)

    def exists(self) -> bool:
        return True

    def endpoint(self) -> Endpoint | None:
        """The user's own store of this machine, if it is the one served there."""
        own = Settings.load().store_path
        endpoint = None if is_address(str(own)) else find_endpoint(own)
        is_it = endpoint is not None and endpoint.address == self._address
        return endpoint if is_it else None

    def _place(self) -> StoreFile:
        if endpoint := self.endpoint():
            gate = gate_file(Path(endpoint.path))
            return ServedFile(endpoint.near, endpoint.token, gate, self._timeout_s)
        settings, url = Settings.load(), f"quack://{self._host}:{self._port}"
        require_allowed(url, settings)
        token = self._token or settings.microstream_store_token
        if not token:
            raise StoreError(
                f"{self._address}: found no token, expected the one in the file *.served beside "
                "the store, as token=... or MICROSTREAM_STORE_TOKEN"
            )
        return ServedFile(self._address, token, None, self._timeout_s, is_loopback(url))


def shared_file(path: Path, timeout_s: float, token: str | None = None) -> SharedFile:
    """The store at `path`, a file or such as ``quack:127.0.0.1:9494``."""
    if is_address(str(path)):
        return _AddressedFile(str(path), token, timeout_s)
    return _NamedFile(path, timeout_s)
