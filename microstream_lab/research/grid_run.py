"""A grid file worked off: every run, one table, one notebook that compares them.

Invariant: one process at a time works on a grid, nothing starts before the whole grid has been
checked, and the comparison is made only of runs that have ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
from filelock import FileLock, Timeout

from microstream_lab.errors import RunError
from microstream_lab.research.comparison import compare
from microstream_lab.research.grid_file import GridFile
from microstream_lab.research.notebook_trial import NotebookTrial
from microstream_lab.research.runs import Order, Run, RunTable, run_notebook
from microstream_lab.research.sweep import points_of, sweep
from microstream_lab.settings import Settings

__all__ = ["GridRun", "grid_run"]

_COMPARISON: Final = "06_sweep"


@dataclass(frozen=True)
class GridRun:
    """A grid, where what it leaves is kept, and with which home folder."""

    grid: GridFile
    trial: NotebookTrial
    folder: Path
    settings: Settings

    @property
    def total(self) -> int:
        """How many runs the grid asks for."""
        return len(self._points)

    def kept(self) -> int:
        """How many of them have ended already, in this or an earlier sweep."""
        return sum(point.kept.exists() for point in self.trial.points(self._points))

    def check(self) -> None:
        """Refuse a grid that cannot be run; nothing is started."""
        self.trial.check(self._points)

    def work(self, n_jobs: int | None, progress: bool = False) -> pd.DataFrame:
        """Run what has not ended yet, and write the table of all."""
        with self._alone():
            table = sweep(
                self.trial, self.grid.grid, self.grid.fixed, n_jobs=n_jobs, progress=progress
            )
            table.to_csv(self._table, index=False)
        return table

    def comparison(self, table: pd.DataFrame, store: RunTable | None = None) -> Run:
        """Run the notebook that compares the runs."""
        chosen = compare(table, list(self.grid.grid), self.grid.compare)
        parameters = {
            "table": self._table.relative_to(self.settings.microstream_home).as_posix(),
            "varied": list(self.grid.grid),
            "figure": chosen.figure,
            "lower_is_better": self.grid.lower_is_better,
        }
        order = Order(cause=f"sweep {self.folder.name}")
        return run_notebook(
            _COMPARISON, parameters, settings=self.settings, store=store, order=order
        )

    @property
    def _table(self) -> Path:
        return self.folder / "table.csv"

    @property
    def _points(self) -> list[dict[str, object]]:
        return [{**self.grid.fixed, **point} for point in points_of(self.grid.grid)]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "sweep.lock", timeout=0):
                yield
        except Timeout as error:
            raise RunError(f"{self.folder}: another sweep is at work on this grid") from error


def grid_run(grid: GridFile, name: str, settings: Settings, retry: bool = False) -> GridRun:
    """What a grid file stands for.

    Parameters
    ----------
    name : str
        Of the folder below ``data/sweeps``.
    retry : bool
        Run failed points again.
    """
    folder = settings.path("data", "sweeps", name)
    trial = NotebookTrial(grid.notebook, settings, folder / "points", grid.timeout_s, retry=retry)
    return GridRun(grid, trial, folder, settings)
