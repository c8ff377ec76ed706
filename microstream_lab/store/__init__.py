"""The store room: one DuckDB file, its tables, and whoever wants to read or write it.

Invariant: nobody else imports duckdb, and within the room only `embedded.py` opens a file and only
`sharing.py` knows whether another process serves it.
"""

from microstream_lab.store.connection import transaction
from microstream_lab.store.coverage import Coverage, MissingRange
from microstream_lab.store.endpoint import endpoint_file
from microstream_lab.store.results import FileImport, ImportReport, Run, StoreStatus, WriteCounts
from microstream_lab.store.server import serving
from microstream_lab.store.store import Store

__all__ = [
    "Coverage",
    "FileImport",
    "ImportReport",
    "MissingRange",
    "Run",
    "Store",
    "StoreStatus",
    "WriteCounts",
    "endpoint_file",
    "serving",
    "transaction",
]
