"""``microstream monitor``: the live notebook as a dashboard without code."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import Interval, Market, Symbol, load_settings

if TYPE_CHECKING:
    from microstream_lab.settings import Settings

__all__ = ["monitor"]

_NOTEBOOK = "04_live_monitor"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _known_source(name: str | None) -> str | None:
    """Refuse a source that there is not."""
    from microstream_lab.live.sources import SOURCES

    if name is not None and name not in SOURCES:
        raise typer.BadParameter(f"found {name!r}, expected one of {' '.join(SOURCES)}")
    return name


def monitor(
    context: typer.Context,
    symbol: Symbol = None,
    interval: Interval = None,
    market: Market = None,
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than the default open it to others.")
    ] = "localhost",
    token: Annotated[
        str | None, typer.Option(help="What visitors have to know; a new one unless given.")
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Let anybody in.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=_known_source,
            help="auto, binance, local, replay, store or bus (Kafka).",
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, but open no browser.")
    ] = False,
) -> None:
    """Serve the live monitor as a page without code, to this machine only.

    Further options are handed to Voila.

    Example: microstream monitor --symbol ETHUSDT
    """
    from microstream_lab.prepare import prepare

    settings = load_settings()
    prepare(settings, progress=True)  # the simulated market stands in where there is no other
    if no_token and host not in _LOOPBACK:
        raise typer.BadParameter(f"found {host}, expected a token for others", param_hint="--host")
    word = "" if no_token else (token or secrets.token_urlsafe(16))
    named = {"SYMBOL": symbol, "INTERVAL": interval, "MARKET": market, "LIVE_SOURCE": source}
    os.environ.update({name: value for name, value in named.items() if value})
    checked = load_settings()
    typer.echo(f"http://{host}:{port}/" + (f"?token={word}" if word else ""))
    sys.stdout.flush()
    os.environ["MICROSTREAM_HOME"] = str(settings.microstream_home)
    command = voila_command(checked, host, port, word, no_browser, context.args)
    os.execv(command[0], command)


def voila_command(
    settings: Settings, host: str, port: int, token: str, no_browser: bool, extra: list[str]
) -> list[str]:
    """The command line of Voila for the live notebook."""
    from microstream_lab.research.notebooks import find_notebook

    notebook: Path = find_notebook(_NOTEBOOK, settings)
    options = {
        "--Voila.ip": host,
        "--port": str(port),
        "--theme": "light",
        "--strip_sources": "True",
        "--Voila.token": token,
        "--VoilaExecutor.timeout": "-1",
    }
    own = [f"{name}={value}" for name, value in options.items()]
    browser = ["--no-browser"] if no_browser else []
    return [sys.executable, "-m", "voila", str(notebook), *own, *browser, *extra]
