"""``microstream sweep``: a notebook over a grid of parameters, and its runs compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import (
    load_settings,
    on_terminal,
    open_store,
    show_figures,
    show_table,
    typed_path,
)
from microstream_lab.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

    from microstream_lab.research.grid_file import GridFile
    from microstream_lab.research.grid_run import GridRun
    from microstream_lab.settings import Settings

__all__ = ["sweep"]

_SHOWN = 20


def sweep(
    grid: Annotated[Path, typer.Argument(metavar="GRID.TOML", help="The grid file.")],
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Runs at once; else as the file says.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on this dask cluster, such as tcp://host:8786."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the grid and tell its size; start nothing.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run points again that have failed.")
    ] = False,
) -> None:
    """Run a notebook for every combination of a grid of parameters, and compare the runs.

    The whole grid is checked before anything starts. A sweep broken off goes on where it was when
    the same command is given again; failed runs are kept, told, and left out of the comparison.

    Example: microstream sweep grid.toml --jobs 2
    """
    from microstream_lab.research.grid_file import read_grid
    from microstream_lab.research.grid_run import grid_run

    settings = load_settings()
    path = typed_path(grid, settings)
    read = read_grid(path)
    work = grid_run(read, path.stem, settings, retry_failed)
    work.check()
    kept = work.kept()
    already = f", {kept} of them ended already" if kept else ""
    typer.echo(f"{read.notebook}: {work.total} runs{already}")
    if not dry_run:
        _work(work, read, settings, jobs or read.jobs, dask)


def _work(work: GridRun, grid: GridFile, settings: Settings, n_jobs: int, dask: str | None) -> None:
    try:
        with _where(dask):
            table = work.work(None if dask else n_jobs, progress=on_terminal())
    except KeyboardInterrupt:
        done = f"{work.kept()} of {work.total} runs are kept"
        typer.echo(f"{done}; the same command goes on from there", err=True)
        raise
    _tell(table, grid)
    failed = int((table["error"] != "").sum())
    if failed == len(table):
        raise RunError(f"all {failed} runs failed; nothing to compare")
    run = work.comparison(table, open_store(settings))
    show_figures(run.metrics)
    typer.echo(f"table: {work.folder / 'table.csv'}")
    typer.echo(f"report: {settings.path(run.report or '')}")
    if failed:
        raise RunError(f"{failed} of {len(table)} runs failed; --retry-failed runs them again")


@contextlib.contextmanager
def _where(dask: str | None) -> Iterator[None]:
    """On this machine, or on a cluster."""
    if dask is None:
        yield
        return
    from microstream_lab.research.cluster import cluster

    with cluster(dask):
        yield


def _tell(table: pd.DataFrame, grid: GridFile) -> None:
    """The runs, the best first, and why the failed ones did."""
    from microstream_lab.research.comparison import compare

    failed = table[table["error"] != ""]
    for row in failed.to_dict("records"):
        settings = ", ".join(f"{name} {row[name]}" for name in grid.grid)
        typer.echo(f"failed: {settings}: {row['error']}", err=True)
    if len(failed) == len(table):
        return
    found = compare(table, list(grid.grid), grid.compare, grid.lower_is_better)
    columns = [*found.varied, found.figure]
    best = found.ranked()[columns][:_SHOWN]
    show_table(columns, [[_text(value) for value in row] for row in best.itertuples(index=False)])


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
