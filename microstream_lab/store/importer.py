"""Kline files into the store, read one ahead of the writing: parsing and inserting share the time.

Invariant: files come in order, each with the checksum of what was read, and the first that cannot
be read ends the stream after those before it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import pyarrow as pa

from microstream_lab.market.files import read_klines
from microstream_lab.schema import series_key
from microstream_lab.store.bars import stage_frame, write_staged
from microstream_lab.store.connection import Connection, StoreFile, transaction
from microstream_lab.store.journal import write_import
from microstream_lab.store.results import FileImport
from microstream_lab.store.series import Series

__all__ = ["StagedFile", "import_staged", "staged_files"]

_HOLD_S: Final = 1.0
"""How long an import keeps others out before it lets them have a turn."""


@dataclass(frozen=True)
class StagedFile:
    """A kline file, read and checked."""

    file: Path
    sha256: str
    series: Series
    rows: pa.Table


def staged_files(
    files: Iterable[Path], symbol: str | None, interval: str | None, market: str
) -> Iterator[StagedFile]:
    """Read files in order, always one ahead of the caller."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="klines") as reader:
        ahead: Future[StagedFile] | None = None
        for file in files:
            following = reader.submit(_stage, file, symbol, interval, market)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()


def import_staged(
    file: StoreFile, staged: Iterator[StagedFile], replace: bool
) -> Iterator[FileImport]:
    """Write files, a transaction each, and let others in between once a second."""
    for first in staged:
        with file.writing() as connection:
            opened = time.monotonic()
            for each in chain([first], staged):
                yield _import_one(connection, each, replace)
                if time.monotonic() - opened > _HOLD_S:
                    break


def _import_one(connection: Connection, staged: StagedFile, replace: bool) -> FileImport:
    with transaction(connection):
        counts = write_staged(connection, staged.rows, replace=replace)
        done = FileImport(staged.file, staged.sha256, *staged.series, counts)
        write_import(connection, done)
    return done


def _stage(file: Path, symbol: str | None, interval: str | None, market: str) -> StagedFile:
    frame = read_klines(file, symbol, interval, market)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return StagedFile(file, digest, Series(*series_key(frame)), stage_frame(frame))
