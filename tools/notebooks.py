"""Run the notebooks anew and keep their outputs, which nbval compares with from then on.

Usage: ``python tools/notebooks.py [NOTEBOOK ...]``, all of ``notebooks/`` unless some are named.
Each runs offline in a prepared home of its own, never in the user's, and replaces the old one only
if it ran to its end and keeps the conventions.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from microstream_lab.errors import MicrostreamError
from microstream_lab.prepare import prepare
from microstream_lab.research.conventions import broken_conventions
from microstream_lab.research.execute import execute
from microstream_lab.settings import Settings

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
TIMEOUT_S = 600
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main(names: list[str]) -> int:
    """Refresh the notebooks; not zero if any of them is not as it should be."""
    notebooks = [Path(name).resolve() for name in names] or sorted(FOLDER.glob("*.ipynb"))
    with TemporaryDirectory(prefix="microstream-") as scratch:
        prepared = Path(scratch, "prepared")
        os.environ["MICROSTREAM_OFFLINE"] = "1"
        prepare(settings_in(prepared))
        failures = [line for path in notebooks for line in refresh(path, prepared)]
    print(*failures, f"{len(notebooks)} notebooks, {len(failures)} complaints", sep="\n")
    return 1 if failures else 0


def settings_in(home: Path) -> Settings:
    """The settings with `home` as the home folder."""
    os.environ["MICROSTREAM_HOME"] = str(home)
    return Settings.load()


def refresh(path: Path, prepared: Path) -> list[str]:
    """Run one notebook in a copy of `prepared`; what speaks against keeping its new outputs."""
    print(f"running {path.name} ...", flush=True)
    home = prepared.with_name(path.stem)
    shutil.copytree(prepared, home)
    try:
        output = home / path.name
        notebook = execute(path, output, {}, settings=settings_in(home), timeout_s=TIMEOUT_S)
    except MicrostreamError as error:
        return [f"{path.name}: {error}"]
    tidy(notebook)
    broken = [f"{path.name}: {line}" for line in broken_conventions(notebook)]
    if not broken:
        path.write_text(nbformat.writes(notebook) + "\n", "utf-8")
    return broken


def tidy(notebook: NotebookNode) -> None:
    """Drop what changes from run to run or from machine to machine and says nothing."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
