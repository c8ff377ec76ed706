"""DuckDB's Quack protocol: its extensions from Python packages, and addresses.

Invariant: nothing is fetched from anywhere; without the packages there is one error that says so.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final

import duckdb

from microstream_lab.errors import StoreError
from microstream_lab.store.connection import literal
from microstream_lab.store.endpoint import SCHEME

__all__ = ["is_address", "load_quack", "split_address"]

_EXTENSIONS: Final = ("httpfs", "quack")
_ADDRESS: Final = re.compile(SCHEME + r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d+)")
_MISSING: Final = (
    "a served store: found no extension {name} for DuckDB {version}, expected the package of it; "
    "pip install 'microstream-lab[served]'"
)


def load_quack(connection: duckdb.DuckDBPyConnection) -> None:
    """Teach a DuckDB instance to serve and to attach.

    Raises
    ------
    StoreError
        If the extra ``served`` is not installed.
    """
    for name in _EXTENSIONS:
        try:
            connection.execute(f"LOAD {literal(str(_extension(name)))}")
        except duckdb.Error as error:
            raise StoreError(f"a served store: DuckDB cannot load {name}: {error}") from error


def _extension(name: str) -> Path:
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        file = Path(folder, "extensions", f"v{duckdb.__version__}", f"{name}.duckdb_extension")
        if file.is_file():
            return file
    raise StoreError(_MISSING.format(name=name, version=duckdb.__version__))


def is_address(text: str) -> bool:
    """Whether a store is named by where it is served and not by its file."""
    return text.startswith(SCHEME)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``quack:host:port``.

    Raises
    ------
    StoreError
        If it is written in another way.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65_536:
        raise StoreError(f"store: found {address!r}, expected such as quack:127.0.0.1:9494")
    return match["host"], int(match["port"])
