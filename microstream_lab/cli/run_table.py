"""``microstream runs``: what ran, what became of it, what differs, and what may go."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING, Annotated, Any

import typer

from microstream_lab.cli.common import (
    load_settings,
    open_store,
    seconds_text,
    show_figures,
    show_pairs,
    show_table,
)
from microstream_lab.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["app"]

app = typer.Typer(help="Notebook runs: list, show, open, diff, prune.")

RunId = Annotated[str, typer.Argument(help="Run id, the start of one, or 'last'.")]


@app.command("list", short_help="List the latest runs.")
def list_runs(
    last: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    job: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of a job, such as nightly.BTCUSDT.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only running, done, failed or missed ones.")
    ] = None,
) -> None:
    """List the latest runs.

    Example: microstream runs list --last 5 --status failed
    """
    runs = open_store(load_settings()).runs(status=status, limit=last, job=job)
    took = (runs["ended_at"] - runs["started_at"]).dt.total_seconds().map(seconds_text)
    columns = (runs["run_id"], runs["notebook"], runs["job"], runs["status"], took, runs["error"])
    show_table(("run", "notebook", "job", "status", "took", "error"), zip(*columns, strict=True))


@app.command(short_help="Show a run.")
def show(run_id: RunId = "last") -> None:
    """Show a run: parameters, key figures, where its report is.

    Example: microstream runs show last
    """
    settings = load_settings()
    run = _find(open_store(settings).runs(), run_id)
    took = seconds_text((run["ended_at"] - run["started_at"]).total_seconds())
    typer.echo(f"{run['run_id']}: {run['status']}, took {took}")
    if run["job"]:
        typer.echo(f"job: {run['job']}, attempt {run['attempt']}, {run['cause']}")
    if run["error"]:
        typer.echo(f"error: {run['error']}")
    typer.echo("parameters:")
    show_pairs(run["parameters"])
    typer.echo("key figures:")
    show_figures(run["metrics"])
    typer.echo(f"report: {settings.path(run['report']) if run['report'] else 'none'}")


@app.command("open", short_help="Open a run's report in the browser.")
def open_report(
    run_id: RunId = "last",
    index: Annotated[bool, typer.Option("--index", help="Open the page of all runs.")] = False,
) -> None:
    """Open a run's report, or the page of all runs, in the browser; prints where it is.

    Example: microstream runs open last
    """
    from microstream_lab.research.run_index import index_path, refresh_index

    settings = load_settings()
    if index:
        refresh_index(settings)
        path = index_path(settings)
    else:
        run = _find(open_store(settings).runs(), run_id)
        path = settings.path(run["report"] or "")
        if not run["report"] or not path.is_file():
            raise RunError(f"run {run['run_id']}: found no report; see: microstream runs show")
    typer.echo(path)
    if not webbrowser.open(path.as_uri()):
        typer.echo("found no browser here; open the file yourself", err=True)


@app.command(short_help="Compare two runs.")
def diff(
    before: Annotated[str, typer.Argument(help="Run id, or the start of one.")],
    after: Annotated[str, typer.Argument(help="Run id, the start of one, or 'last'.")] = "last",
) -> None:
    """Show in which parameters and key figures two runs differ.

    Example: microstream runs diff 20240501T0030 last
    """
    from microstream_lab.research.figures import readable
    from microstream_lab.research.run_changes import changes

    runs = open_store(load_settings()).runs()
    old, new = _find(runs, before), _find(runs, after)
    typer.echo(f"{old['run_id']} ({old['status']}) -> {new['run_id']} ({new['status']})")
    for title, name in (("parameters", "parameters"), ("key figures", "metrics")):
        found = changes(old[name], new[name])
        if not found:
            typer.echo(f"{title}: the same")
            continue
        typer.echo(f"{title}:")
        rows = [(readable(c.name) if name == "metrics" else c.name, *c[1:]) for c in found]
        show_table(("  name", "before", "after", "by"), [(f"  {n}", *rest) for n, *rest in rows])


@app.command(short_help="Delete old runs.")
def prune(
    keep: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep the newest N of each kind.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="Keep runs of the last DAYS.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell, and delete nothing.")] = False,
) -> None:
    """Delete the files of old runs, and the bundles that only they made.

    Runs of bundles that are current or may be by a rollback, the last good run of each kind and all
    rows of the run table stay.

    Example: microstream runs prune --keep 50 --days 90 --dry-run
    """
    import time

    from microstream_lab.research.retention import prune_runs

    if keep is None and days is None:
        raise typer.BadParameter("expected --keep N or --days DAYS, or both")
    settings = load_settings()
    now = time.time_ns() // 1000
    gone = prune_runs(settings, open_store(settings), now, keep, days, dry_run=dry_run)
    for run in gone:
        typer.echo(run.run_id)
    typer.echo(f"{len(gone)} runs {'would be ' if dry_run else ''}deleted")


def _find(runs: pd.DataFrame, run_id: str) -> pd.Series[Any]:
    found = runs[:1] if run_id == "last" else runs[runs["run_id"].str.startswith(run_id)]
    if len(found) != 1:
        expected = "expected one; see: microstream runs list"
        raise RunError(f"run {run_id}: found {len(found)} such runs, {expected}")
    run = found.iloc[0].astype(object)
    texts = ["job", "cause", "error", "report"]
    run[texts] = run[texts].where(run[texts].notna(), None)
    return run
