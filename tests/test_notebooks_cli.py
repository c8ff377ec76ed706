"""``microstream notebooks``: each breach with its file and cell, and a template that has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from microstream_lab.cli import main
from microstream_lab.research.conventions import broken_conventions

PROJECT = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["notebooks", *words])
        return int(left.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def mine(tmp_path: Path, run: Any) -> Path:
    """A notebook of one's own, in a home folder with notebooks of its own."""
    folder = tmp_path / "home" / "notebooks"
    folder.mkdir(parents=True)
    code, out, _ = run("new", "10_spreads")
    assert (code, out) == (0, f"{folder / '10_spreads.ipynb'}\n")
    return folder / "10_spreads.ipynb"


def test_all_notebooks_of_the_project_keep_the_conventions(run: Any) -> None:
    files = sorted(PROJECT.glob("*.ipynb"))
    assert [path.stem for path in files][-1] == "template"
    assert run("check", str(PROJECT)) == (0, f"{len(files)} notebooks, no convention broken\n", "")


def test_new_notebook_is_the_template_and_overwrites_nothing(mine: Path, run: Any) -> None:
    assert broken_conventions(nbformat.read(mine, 4)) == []
    assert run("check") == (0, "1 notebook, no convention broken\n", "")
    code, _, err = run("new", "10_spreads.ipynb")
    assert code == 1
    assert "10_spreads.ipynb: found a notebook of that name" in err


def test_each_breach_is_told_with_file_and_cell(
    mine: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(mine, 4)
    notebook.cells[3].source = "def f():\n    return 1"
    notebook.cells[3].execution_count = None
    notebook.cells[-2].source = "The end."
    nbformat.write(notebook, mine)
    monkeypatch.chdir(mine.parents[1])
    code, out, err = run("check", "notebooks/10_spreads.ipynb")
    assert out.splitlines() == [
        "notebooks/10_spreads.ipynb: last cells: found no heading with the word conclusion, "
        "expected one to close",
        "notebooks/10_spreads.ipynb: cell 4: found FunctionDef, expected such code in the package",
        "notebooks/10_spreads.ipynb: notebook: found cells without execution count, "
        "expected it executed",
    ]
    assert code == 1
    assert err == (
        "error: 3 breaches of conventions in 1 notebook; docs/notebooks.md tells the reasons\n"
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nothing_such"], "notebook nothing_such: not found"),
        (["empty"], "empty: found no notebook"),
        (["torn.ipynb"], "found no readable notebook"),
    ],
)
def test_path_without_a_notebook_is_told(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], complaint: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.ipynb").write_text("{")
    monkeypatch.chdir(tmp_path)
    code, _, err = run("check", *words)
    assert code == 1
    assert complaint in err
