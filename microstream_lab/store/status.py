"""What the doctor asks of a store, without waiting for anybody and without changing anything."""

from __future__ import annotations

from pathlib import Path

from microstream_lab.errors import StoreError, StoreLockedError
from microstream_lab.store.results import StoreStatus
from microstream_lab.store.sharing import SharedFile
from microstream_lab.store.tables import schema_version

__all__ = ["look_at"]


def look_at(path: Path) -> StoreStatus:
    """Whether the store at `path` can be read right now, and if not, why."""
    path = path.expanduser().resolve()
    try:
        size = path.stat().st_size
    except OSError as error:
        return StoreStatus(path, exists=False, problem=f"no store at {path} ({error.strerror})")
    try:
        with SharedFile(path, timeout_s=0).reading() as connection:
            return StoreStatus(path, True, size, schema_version(connection, str(path)))
    except StoreLockedError as error:
        return StoreStatus(path, True, size, locked_by=error.holder, problem=str(error))
    except StoreError as error:
        return StoreStatus(path, True, size, problem=str(error))
