"""Where a store is right now: in its file, or with whoever serves it.

Invariant: this is the one place that knows the difference. Each call looks anew, so that a store
that begins or ceases to be served between two calls, or just now, is found where it is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from microstream_lab.errors import StoreError
from microstream_lab.store.connection import Connection, MovedError, StoreFile
from microstream_lab.store.embedded import EmbeddedFile
from microstream_lab.store.endpoint import Endpoint, find_endpoint
from microstream_lab.store.gate import gate_file
from microstream_lab.store.served import ServedFile

__all__ = ["SharedFile"]

_PAUSE_S = 0.01


class SharedFile:
    """A store of this machine, opened for one call at a time.

    Parameters
    ----------
    path : Path
        The file; made, with its folders, by the first write.
    timeout_s : float
        How long to wait for whoever is in the way.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._embedded = EmbeddedFile(path, timeout_s)
        self.path, self._timeout_s = self._embedded.path, timeout_s

    def exists(self) -> bool:
        """Whether there is anything to read."""
        return self._embedded.exists()

    def endpoint(self) -> Endpoint | None:
        """Where the store is served, if it is."""
        return find_endpoint(self.path)

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
                    raise StoreError(
                        f"{self.path}: {error}; waited {self._timeout_s:g} s for it to come or go"
                    ) from error
            time.sleep(_PAUSE_S)

    def _place(self) -> StoreFile:
        endpoint = self.endpoint()
        if endpoint is None:
            return self._embedded
        gate = gate_file(self.path)
        return ServedFile(endpoint.address, endpoint.token, gate, self._timeout_s)
