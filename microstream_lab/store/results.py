"""What the store answers: how many rows were written, what an import did, how a run went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from microstream_lab.store.coverage import Coverage

__all__ = ["FileImport", "ImportReport", "Run", "StoreStatus", "WriteCounts"]


@dataclass(frozen=True)
class WriteCounts:
    """What became of the rows that were to be written.

    ``new`` were not there; ``unchanged`` were there and equal; ``replaced`` were there, differed
    and were overwritten with a higher revision; ``differing`` were there, differed and were kept
    as stored. For signals, which are never overwritten, a recomputed one that differs is ``new``.
    """

    rows: int = 0
    new: int = 0
    unchanged: int = 0
    differing: int = 0
    replaced: int = 0

    def __add__(self, other: WriteCounts) -> WriteCounts:
        return WriteCounts(
            self.rows + other.rows,
            self.new + other.new,
            self.unchanged + other.unchanged,
            self.differing + other.differing,
            self.replaced + other.replaced,
        )

    def __str__(self) -> str:
        parts = [f"{self.new:,} new", f"{self.unchanged:,} already there"]
        parts += [f"{self.replaced:,} replaced"] if self.replaced else []
        parts += [f"{self.differing:,} differing and kept as stored"] if self.differing else []
        return f"{self.rows:,} rows: {', '.join(parts)}"


@dataclass(frozen=True)
class FileImport:
    """What the import of one file did."""

    file: Path
    sha256: str
    market: str
    symbol: str
    interval: str
    counts: WriteCounts


@dataclass(frozen=True)
class ImportReport:
    """What an import did: file by file, and how complete each series is now."""

    files: tuple[FileImport, ...]
    coverage: tuple[Coverage, ...]

    @property
    def counts(self) -> WriteCounts:
        """Rows of all files together."""
        return sum((file.counts for file in self.files), WriteCounts())

    def summary(self) -> str:
        """One line for the import and one for each series."""
        n = len(self.files)
        head = f"{n} file{'s' if n != 1 else ''}, {self.counts}"
        return "\n".join([head, *(coverage.summary() for coverage in self.coverage)])


@dataclass(frozen=True)
class Run:
    """A notebook run; times are microseconds UTC.

    ``parameters`` and ``metrics`` are stored as JSON, a NaN among them as null. A run of the
    scheduler knows its ``job`` (and symbol: ``nightly.BTCUSDT``), the moment it was
    ``scheduled_for`` (None for one that was asked for), which ``attempt`` it is, from 1 on, and
    its ``cause`` in words. A ``missed`` run never took place; ``error`` says why.
    """

    run_id: str
    notebook: str
    started_at: int
    status: Literal["running", "done", "failed", "missed"] = "running"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ended_at: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    report: str | None = None
    job: str | None = None
    scheduled_for: int | None = None
    attempt: int = 1
    cause: str | None = None


@dataclass(frozen=True)
class StoreStatus:
    """Whether a store can be read right now; `problem` tells why not.

    ``served_by`` tells the process through which everybody reads it, None while it is a file that
    everybody opens.
    """

    path: Path
    exists: bool
    size_bytes: int = 0
    schema_version: int | None = None
    locked_by: str | None = None
    problem: str | None = None
    served_by: str | None = None

    @property
    def reachable(self) -> bool:
        """Whether a reader gets in."""
        return self.schema_version is not None

    def summary(self) -> str:
        """One line for people."""
        if self.problem is not None:
            return self.problem
        size = f"{self.size_bytes / 1e6:.1f} MB, " if self.size_bytes else ""
        served = f", served by {self.served_by}" if self.served_by else ""
        return f"{self.path}: {size}schema version {self.schema_version}{served}"
