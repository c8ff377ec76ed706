"""Kline files read one ahead of the writing, so that parsing and inserting share the time.

Invariant: files come in order, each with the checksum of what was read, and the first that cannot
be read ends the stream after those before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from microstream_lab.market.files import read_klines
from microstream_lab.schema import series_key
from microstream_lab.store.bars import stage_frame
from microstream_lab.store.series import Series

__all__ = ["StagedFile", "staged_files"]


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


def _stage(file: Path, symbol: str | None, interval: str | None, market: str) -> StagedFile:
    frame = read_klines(file, symbol, interval, market)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return StagedFile(file, digest, Series(*series_key(frame)), stage_frame(frame))
