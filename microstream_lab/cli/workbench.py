"""``microstream lab`` and ``microstream doctor``: the workbench itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import load_settings

if TYPE_CHECKING:
    from microstream_lab.settings import Settings

__all__ = ["doctor", "lab"]

_CALM = {
    "--LabApp.check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
    "--LabApp.news_url": "None",
    "--LabApp.extension_manager": "readonly",
    "--LabApp.app_settings_dir": str(Path(__file__).parent / "lab_settings"),
    # Containers run as root, and the server answers this machine only, and only with its token.
    "--ServerApp.allow_root": str(getattr(os, "geteuid", lambda: 1)() == 0),
}
"""Nothing is fetched from elsewhere, and nobody asked for news; options of the user win."""


def lab(
    context: typer.Context,
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Prepare, but do not open JupyterLab.")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Start the server and print its address.")
    ] = False,
) -> None:
    """Prepare the built-in simulated market once, then open JupyterLab on the notebooks.

    Further options are handed to JupyterLab.

    Example: microstream lab --no-browser --port 8890
    """
    from microstream_lab.prepare import SAMPLE, prepare

    settings = load_settings()
    done = prepare(settings, progress=True)
    if done.new_bars or done.promoted:
        series = f"{SAMPLE.symbol} {SAMPLE.interval}, simulated"
        typer.echo(f"ready: {done.new_bars:,} bars of {series}; bundle {done.promoted or 'kept'}")
    if not prepare_only:
        extra = [*context.args, *(["--no-browser"] if no_browser else [])]
        _become(jupyter_command(settings, extra), settings)


def jupyter_command(settings: Settings, extra: list[str]) -> list[str]:
    """The command line of JupyterLab, opened on the notebooks, reports and data within reach."""
    from microstream_lab.research.notebooks import notebooks_folder

    notebooks = notebooks_folder(settings)
    options = {
        **_CALM,
        "--ServerApp.root_dir": str(notebooks.parent),
        "--LabApp.default_url": f"/lab/tree/{notebooks.name}",
    }
    named = {word.split("=")[0] for word in extra}
    own = [f"{name}={value}" for name, value in options.items() if name not in named]
    return [sys.executable, "-m", "jupyterlab", *own, *extra]


def doctor() -> None:
    """Look at everything that goes wrong in practice; ends with 1 if something is broken.

    Example: microstream doctor
    """
    from microstream_lab.doctor import examine

    broken = 0
    for check in examine(load_settings()):
        mark = "ok" if check.ok else "BROKEN"
        typer.echo(f"{mark:<7} {check.name:<13} {check.found}")
        broken += not check.ok
    if broken:
        typer.echo(f"error: {broken} broken", err=True)
        raise typer.Exit(1)


def _become(command: list[str], settings: Settings) -> None:
    """Replace this process, so that Ctrl-C and signals are JupyterLab's own."""
    os.environ["MICROSTREAM_HOME"] = str(settings.microstream_home)
    sys.stdout.flush()
    os.execv(command[0], command)
