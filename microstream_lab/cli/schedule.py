"""``microstream schedule``: notebooks by the clock, until told to stop."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from microstream_lab.cli.common import load_settings, open_store, show_table

if TYPE_CHECKING:
    from microstream_lab.schedule.jobs import Schedule
    from microstream_lab.settings import Settings

__all__ = ["app"]

_FILE: Final = "schedule.toml"
_SHOWN: Final = 10

app = typer.Typer(invoke_without_command=True)

File = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", metavar="FILE", help="The schedule; schedule.toml in the home folder."
    ),
]


@app.callback(short_help="Run notebooks by the clock.")
def schedule(
    context: typer.Context,
    file: File = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the next ten runs, and start none.")
    ] = False,
) -> None:
    """Run the jobs of schedule.toml by the clock, until Ctrl-C or SIGTERM.

    Each run has a process of its own; every one is accounted for in the run table, see
    microstream runs list.

    Example: microstream schedule --dry-run
    """
    if context.invoked_subcommand is not None:
        context.obj = file
        return
    settings = load_settings()
    read = _read(file, settings)
    if dry_run:
        _show_next(read)
        return
    from microstream_lab.schedule.scheduler import Scheduler

    scheduler = Scheduler(read, settings, open_store(settings), tell=_tell)
    stop = _stop_at_signals()
    scheduler.open()
    names = ", ".join(job.name for job in read.jobs)
    _tell(f"looking after {names}; the page of all runs is {settings.runs_path / 'index.html'}")
    scheduler.run(stop)
    _tell("ended")


@app.command(short_help="Run a job now.")
def run(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="Name of a job in the schedule.")],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; kept with the run.")
    ] = "by hand",
    symbol: Annotated[
        str | None, typer.Option(metavar="SYMBOL", help="Only this one of its symbols.")
    ] = None,
    file: File = None,
) -> None:
    """Run a job now: here, or by the scheduler that has it. For cron and systemd timers, too.

    Ends with 1 if the run failed at every attempt.

    Example: microstream schedule run nightly
    """
    from microstream_lab.errors import JobLockedError
    from microstream_lab.schedule.requests import request_run
    from microstream_lab.schedule.scheduler import Scheduler

    settings = load_settings()
    wanted = _read(file or context.obj, settings).only(job, symbol and symbol.upper())
    scheduler = Scheduler(wanted, settings, open_store(settings), tell=_tell, by_clock=False)
    stop = _stop_at_signals()
    try:
        scheduler.open()
    except JobLockedError as error:
        request_run(settings, job, reason, symbol and symbol.upper())
        typer.echo(f"job {job} is held by {error.holder}, which was asked to run it")
        return
    scheduler.ask(reason)
    if not scheduler.run_to_end(stop):
        raise typer.Exit(1)


def _read(file: Path | None, settings: Settings) -> Schedule:
    from microstream_lab.schedule.reading import read_schedule

    return read_schedule(settings.path(_FILE) if file is None else file.expanduser(), settings)


def _show_next(read: Schedule) -> None:
    """The next runs, each in the time zone of its job and in UTC."""
    from microstream_lab.research.run_folder import moment
    from microstream_lab.schedule.plan import upcoming

    rows = []
    for due, task in upcoming(read.tasks, time.time_ns() // 1000, _SHOWN):
        local = moment(due).astimezone(task.job.zone)
        values = ", ".join(f"{name}={value}" for name, value in task.parameters(due).items())
        when, utc = f"{local:%a %Y-%m-%d %H:%M %Z}", f"{moment(due):%m-%d %H:%M}"
        rows.append((when, utc, task.name, task.job.notebook.stem, values))
    show_table(("when", "UTC", "job", "notebook", "parameters"), rows)


def _stop_at_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _tell(line: str) -> None:
    typer.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} {line}")
