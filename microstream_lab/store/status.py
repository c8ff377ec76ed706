"""What the doctor asks of a store, without waiting for anybody and without changing anything."""

from __future__ import annotations

import pandas as pd

from microstream_lab.errors import MicrostreamError, StoreLockedError
from microstream_lab.store.endpoint import Endpoint
from microstream_lab.store.results import StoreStatus
from microstream_lab.store.sharing import SharedFile
from microstream_lab.store.tables import schema_version

__all__ = ["look_at"]


def look_at(file: SharedFile) -> StoreStatus:
    """Whether a store can be read right now, who serves it, and if not, why."""
    path, endpoint = file.path, file.endpoint()
    served_by = None if endpoint is None else _described(endpoint)
    size = path.stat().st_size if path.is_file() else 0
    if not file.exists():
        return StoreStatus(path, exists=False, problem=f"no store at {path}")
    try:
        with file.reading() as connection:
            version = schema_version(connection, str(path))
        return StoreStatus(path, True, size, version, served_by=served_by)
    except StoreLockedError as error:
        return StoreStatus(path, True, size, locked_by=error.holder, problem=str(error))
    except MicrostreamError as error:
        return StoreStatus(path, True, size, problem=str(error), served_by=served_by)


def _described(endpoint: Endpoint) -> str:
    since = pd.Timestamp(endpoint.started_at, unit="us")
    return f"PID {endpoint.pid} ({endpoint.command}) at {endpoint.address} since {since:%F %T} UTC"
