"""The command line ``microstream``: thin commands over what the package does.

Invariant: a mistake ends in one line on stderr, 1 for what the package refuses and 2 for a command
line it does not understand; a traceback is shown only when asked for with ``--debug``. Whatever is
slow to import is imported by the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from microstream_lab import __version__
from microstream_lab.cli import (
    bars,
    evaluate,
    exchange,
    models,
    monitor,
    notebooks,
    publish,
    record,
    run_table,
    runs,
    schedule,
    serve,
    sweep,
    train,
    workbench,
    worker,
)
from microstream_lab.errors import MicrostreamError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    help="Liquidity regimes of crypto markets: import bars, train, backtest, explore.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_HANDS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command("lab", context_settings=_HANDS_ON, short_help="Open JupyterLab on the notebooks.")(
    workbench.lab
)
app.command("ingest", short_help="Download bars, or import files.")(bars.ingest)
app.command("record", short_help="Record bars of live markets.")(record.record)
app.command("worker", short_help="Make signals of bars on Kafka.")(worker.worker)
app.command("exchange", short_help="Serve a local Binance to try things on.")(exchange.exchange)
app.command("monitor", context_settings=_HANDS_ON, short_help="Show the live monitor.")(
    monitor.monitor
)
app.command("train", short_help="Train a bundle, with a report.")(train.train)
app.command("backtest", short_help="Backtest, with a report.")(runs.backtest)
app.command("evaluate", short_help="Judge bundles beside baselines, with a report.")(
    evaluate.evaluate
)
app.command("sweep", short_help="Run a notebook over a grid, and compare.")(sweep.sweep)
app.add_typer(schedule.app, name="schedule")
app.add_typer(run_table.app, name="runs")
app.add_typer(notebooks.app, name="notebooks")
app.add_typer(models.app, name="models")
bars.app.command("publish", short_help="Put stored bars on Kafka.")(publish.publish)
bars.app.command("serve", short_help="Serve it to many programs at once.")(serve.serve)
app.add_typer(bars.app, name="store")
app.command("doctor", short_help="Is this installation fit to work?")(workbench.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"microstream_lab {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Log more, and show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, the process's own by default, and leave with its exit code."""
    words = _debug_first(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(words, prog_name="microstream", standalone_mode=False)
    except (MicrostreamError, typer.TyperException) as error:
        _complain(error, debug="--debug" in words[:1])
        code = error.exit_code if isinstance(error, typer.TyperException) else 1
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # whoever read us has gone: no flush at exit
        code = 0
    except Exception as error:
        _complain(error, debug="--debug" in words[:1])
        code = 1
    if code == _INTERRUPTED:
        typer.echo("error: interrupted", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _debug_first(words: Sequence[str]) -> list[str]:
    """``--debug`` may stand anywhere, but after ``lab`` it is JupyterLab's."""
    if "--debug" not in words or "lab" in words[: words.index("--debug")]:
        return list(words)
    return ["--debug", *(word for word in words if word != "--debug")]


def _complain(error: Exception, debug: bool) -> None:
    """Say in one line what went wrong, after the traceback where that was asked for."""
    if debug:
        logging.getLogger(__name__).error("here", exc_info=error)
    known = isinstance(error, (MicrostreamError, typer.TyperException))
    kind = "" if known else f"unexpected {type(error).__name__}: "
    hint = "" if known or debug else " (--debug shows where)"
    message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
    typer.echo(f"error: {kind}{' '.join(message.split())}{hint}", err=True)
