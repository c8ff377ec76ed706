"""Where the notebooks are, by path or by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from microstream_lab.errors import RunError
from microstream_lab.settings import Settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["NotebookSource", "find_notebook", "notebooks_folder", "read_notebook", "read_source"]

_NOTEBOOKS: Final = Path(__file__).resolve().parents[2] / "notebooks"


class CellSource(NamedTuple):
    """What an author wrote into a cell."""

    source: str
    metadata: dict[str, Any]


class NotebookSource(NamedTuple):
    """What an author wrote into a notebook."""

    cells: list[CellSource]


def find_notebook(notebook: Path | str, settings: Settings) -> Path:
    """The file of a notebook given as a path, or by the name of one of the user's or the project's.

    Raises
    ------
    RunError
        If there is no such file, naming the notebooks there are.
    """
    path = Path(notebook).expanduser()
    folder = notebooks_folder(settings)
    named = [f / n for f in (folder, _NOTEBOOKS) for n in (path.name, f"{path.name}.ipynb")]
    for candidate in (path, *named):
        if candidate.suffix == ".ipynb" and candidate.is_file():
            return candidate.resolve()
    files = [*folder.glob("*.ipynb"), *_NOTEBOOKS.glob("*.ipynb")]
    there = ", ".join(sorted({each.stem for each in files})) or "none"
    raise RunError(f"notebook {notebook}: not found; in {folder}: {there}")


def notebooks_folder(settings: Settings) -> Path:
    """``notebooks/`` of the home folder, else of the project."""
    own = settings.path("notebooks")
    return own if own.is_dir() else _NOTEBOOKS


def read_notebook(path: Path) -> NotebookNode:
    """A notebook file as nbformat 4; raises :class:`RunError` if it is none."""
    import nbformat

    try:
        notebook: NotebookNode = nbformat.read(path, 4)
    except (ValueError, OSError) as error:
        raise RunError(f"{path}: found no readable notebook: {error}") from error
    return notebook


def read_source(path: Path) -> NotebookSource:
    """The cells of a notebook without nbformat, which takes seconds to import.

    Raises :class:`RunError` if the file is no notebook of format 4.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return NotebookSource([CellSource("".join(c["source"]), c["metadata"]) for c in cells])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise RunError(f"{path}: found no readable notebook: {error!r}") from error
