"""What an import or a download brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from microstream_lab.store import Coverage, FileImport, WriteCounts

__all__ = ["IngestReport"]


@dataclass(frozen=True)
class IngestReport:
    """What an import or a download brought, and how complete each series is now.

    ``rest`` counts the bars asked for over REST because the archive did not have their days, which
    are ``missing_days``; ``n_gaps`` counts new holes in the ids of imported trades.
    """

    files: tuple[FileImport, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    rest: WriteCounts = field(default_factory=WriteCounts)
    missing_days: tuple[date, ...] = ()
    n_gaps: int = 0

    @property
    def counts(self) -> WriteCounts:
        """Rows of all files and of REST together."""
        return sum((file.counts for file in self.files), self.rest)

    def summary(self) -> str:
        """All of it, one thing a line."""
        n = len(self.files)
        lines = [f"{n} file{'s' if n != 1 else ''}, {self.counts}"]
        if self.rest.rows:
            lines.append(f"of these over REST: {self.rest}")
        if self.missing_days:
            first, last = self.missing_days[0], self.missing_days[-1]
            days = f"{len(self.missing_days)} day{'s' if len(self.missing_days) != 1 else ''}"
            lines.append(f"not in the archive: {days} between {first} and {last}")
        if self.n_gaps:
            gaps = f"{self.n_gaps} gap{'s' if self.n_gaps != 1 else ''}"
            lines.append(f"{gaps} in the trade ids; the bars touched are partial")
        return "\n".join([*lines, *(coverage.summary() for coverage in self.coverage)])
