"""A lock file in front of the store, which tells who is behind it.

Invariant: writers hold it while they wait and write, readers only pass it on their way in, and show
that they wait, so that writers can let them. It works between threads and between processes, and a
killed holder leaves it open. Where there are no such locks (Windows, a folder we may not write to)
everybody passes and DuckDB's own lock decides.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover
    fcntl = None  # type: ignore[assignment]

__all__ = ["Gate", "GateBusyError", "command_of", "gate_file", "own_command"]


class GateBusyError(Exception):
    """Somebody is at the gate; the text says who."""


class Gate:
    """A shared or exclusive lock on a file of its own.

    Parameters
    ----------
    path : Path
        The lock file; it stays when nobody holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def enter(self, *, exclusive: bool) -> int | None:
        """Take the lock without waiting; what is returned has to be given back to :meth:`leave`.

        Raises
        ------
        GateBusyError
            If somebody else holds it in a way that excludes us.
        """
        descriptor = self._open()
        if descriptor is None:
            return None
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise GateBusyError(self._holder()) from error
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        if exclusive:
            _sign(descriptor, f"PID {os.getpid()} ({own_command()})")
        return descriptor

    def leave(self, descriptor: int | None, *, exclusive: bool) -> None:
        """Give back what :meth:`enter` returned."""
        if descriptor is None:
            return
        if exclusive:
            _sign(descriptor, "")
        # Unlocked and not only closed: a child forked meanwhile has a copy of the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[None]:
        """Show to writers, for the length of the block, that somebody wants to read."""
        descriptor = self._open()
        if descriptor is None:
            yield
            return
        try:
            _mark(descriptor, fcntl.F_RDLCK)
            yield
        finally:
            os.close(descriptor)

    def is_awaited(self) -> bool:
        """Whether somebody wants to read, as far as the system can tell."""
        descriptor = self._open()
        if descriptor is None:
            return False
        try:
            return not _mark(descriptor, fcntl.F_WRLCK)
        finally:
            os.close(descriptor)

    def _open(self) -> int | None:
        if fcntl is None:
            return None
        for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
            with contextlib.suppress(OSError):
                return os.open(self.path, flags, 0o644)
        return None

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return self.path.read_text(errors="replace").strip() or "another program"
        return "another program"


def command_of(pid: int) -> str | None:
    """Command line of a process, where the system tells it."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return _shortened(word.decode(errors="replace") for word in words) or None
    return None


def gate_file(store: Path) -> Path:
    """The lock file of the store at `store`."""
    return store.with_name(store.name + ".lock")


def own_command() -> str:
    """Command line of this process."""
    return _shortened([Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]])


def _shortened(words: Iterable[str]) -> str:
    text = " ".join(" ".join(words).split())
    return text if len(text) <= 120 else text[:117] + "..."


def _mark(descriptor: int, kind: int) -> bool:
    """Lock one byte of the file, which has nothing to do with the gate; False if others hold it."""
    if not hasattr(fcntl, "F_OFD_SETLK"):  # pragma: no cover
        return True
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    except BlockingIOError:
        return False
    except OSError:  # opened for reading only, or a file system without locks
        return True
    return True


def _sign(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):  # opened for reading only, or a full disk
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
