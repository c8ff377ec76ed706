"""A TCP proxy that can be cut and mended, as networks are."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Proxy:
    """Forwards connections from one port of this machine to another until it is cut."""

    def __init__(self, port: int, target: int) -> None:
        self._port, self._target = port, target
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def mend(self) -> None:
        """Take connections."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Drop every connection and take none."""
        with self._lock:
            listener, self._listener = self._listener, None
            ends, self._open = [*self._open, *([listener] if listener else [])], []
        for each in ends:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._join(listener, listener.accept()[0])

    def _join(self, listener: socket.socket, here: socket.socket) -> None:
        try:
            there = socket.create_connection(("127.0.0.1", self._target))
        except OSError:  # nobody is there, which whoever has dialled shall see
            here.close()
            return
        with self._lock:
            if self._listener is listener:
                self._open += [here, there]
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=_copy, args=ends, daemon=True).start()
                return
        here.close()
        there.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
