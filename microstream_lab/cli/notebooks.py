"""``microstream notebooks``: start one of your own, and see which conventions one breaks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import load_settings
from microstream_lab.errors import RunError

if TYPE_CHECKING:
    from microstream_lab.settings import Settings

__all__ = ["app"]

app = typer.Typer(help="Notebooks of your own: new, check.")


@app.command(short_help="Start a notebook from the template.")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as 10_spreads.")],
) -> None:
    """Start a notebook from the template, which keeps the conventions and tells them.

    Example: microstream notebooks new 10_spreads
    """
    from microstream_lab.research.notebooks import find_notebook, notebooks_folder

    settings = load_settings()
    target = notebooks_folder(settings) / f"{Path(name).name.removesuffix('.ipynb')}.ipynb"
    if target.exists():
        raise RunError(f"{target}: found a notebook of that name, expected none")
    shutil.copyfile(find_notebook("template", settings), target)
    typer.echo(f"{target}")


@app.command(short_help="Tell which conventions notebooks break.")
def check(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...", help="Files, folders or names; all notebooks if none is given."
        ),
    ] = None,
) -> None:
    """Tell which conventions notebooks break, a line each with file and cell; nothing is run.

    The conventions, with reasons, are in docs/notebooks.md. Exit code 1 if any is broken.

    Example: microstream notebooks check notebooks/10_spreads.ipynb
    """
    from microstream_lab.research.conventions import broken_conventions
    from microstream_lab.research.notebooks import read_notebook

    files = _files(paths or [], load_settings())
    n_broken = 0
    for file in files:
        for sentence in broken_conventions(read_notebook(file)):
            n_broken += 1
            typer.echo(f"{_short(file)}: {sentence}")
    if n_broken:
        told = f"{n_broken} breach{'es' if n_broken > 1 else ''} of conventions"
        raise RunError(f"{told} in {_counted(files)}; docs/notebooks.md tells the reasons")
    typer.echo(f"{_counted(files)}, no convention broken")


def _files(paths: list[str], settings: Settings) -> list[Path]:
    from microstream_lab.research.notebooks import find_notebook, notebooks_folder

    found: list[Path] = []
    for path in paths or [str(notebooks_folder(settings))]:
        if Path(path).is_dir():
            found += sorted(Path(path).glob("*.ipynb"))
        else:
            found.append(find_notebook(path, settings))
    if not found:
        raise RunError(f"{' '.join(paths)}: found no notebook")
    return found


def _counted(files: list[Path]) -> str:
    return f"{len(files)} notebook{'s' if len(files) != 1 else ''}"


def _short(file: Path) -> Path:
    """As the user would type it from where he stands."""
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
