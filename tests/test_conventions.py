"""The checker of notebook conventions, on a good notebook broken in one way at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import numpy as np
import plotly.graph_objects as go
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from microstream_lab.research.conventions import broken_conventions

FIGURE = "application/vnd.plotly.v1+json"


def good_notebook() -> NotebookNode:
    opening = "# Regimes\n\n**Question.** Which?\n\n**Inputs.** Bars.\n\n**Outputs.** A table."
    parameters = 'symbol = "SIMUSDT"  # the series\ndays: int | None = None  # None for all'
    cells = [
        new_markdown_cell(opening),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
    ]
    for number in range(7):
        cells += [new_markdown_cell("Next."), new_code_cell(f"%time x = {number}\nx")]
    cells.append(new_markdown_cell("## Conclusion\n\nCalm."))
    notebook = new_notebook(cells=cells)
    for number, cell in enumerate(code_of(notebook), 1):
        cell.execution_count = number
    return notebook


def code_of(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def figure_output(n_points: int) -> NotebookNode:
    data = go.Figure(go.Scatter(y=list(range(n_points)))).to_plotly_json()
    return new_output("display_data", {FIGURE: data})


def source(text: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        code_of(notebook)[3].source = text

    return change


def output(kind: str, **fields: Any) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        code_of(notebook)[3].outputs = [new_output(kind, **fields)]

    return change


def parameters(text: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[1].source = text

    return change


def opening(old: str, new: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[0].source = notebook.cells[0].source.replace(old, new)

    return change


def saved_widgets(notebook: NotebookNode) -> None:
    notebook.metadata["widgets"] = {"state": {}}


def one_cell_run_again(notebook: NotebookNode) -> None:
    code_of(notebook)[3].execution_count = 40


def one_cell_never_run(notebook: NotebookNode) -> None:
    code_of(notebook)[3].execution_count = None


def no_conclusion(notebook: NotebookNode) -> None:
    notebook.cells[-1].source = "Calm."


def text_cells_removed(notebook: NotebookNode) -> None:
    del notebook.cells[4]
    del notebook.cells[5]
    notebook.cells.insert(0, notebook.cells[0])


def too_few_cells(notebook: NotebookNode) -> None:
    del notebook.cells[2:6]
    for number, cell in enumerate(code_of(notebook), 1):
        cell.execution_count = number


def too_many_points(notebook: NotebookNode) -> None:
    code_of(notebook)[3].outputs = [figure_output(501)]


BROKEN = {
    "no title": (opening("# ", ""), "no title"),
    "no question": (opening("Question", "Idea"), "no word of the question"),
    "no inputs": (opening("Inputs", "Bars"), "no word of the input"),
    "no outputs": (opening("Outputs", "Table"), "no word of the output"),
    "no conclusion": (no_conclusion, "conclusion"),
    "three code cells in a row": (text_cells_removed, "three code cells in a row"),
    "too few cells": (too_few_cells, "found 13 cells, expected 15 to 30"),
    "parameter without comment": (parameters("days = 3"), "parameter days: found no comment"),
    "parameter computed": (parameters("days = 3 * 7  # a lot"), "expected a literal"),
    "long cell": (source("x = 1\n" * 11), "found 11 lines, expected at most 10"),
    "function": (source("def f():\n    return 1"), "found FunctionDef"),
    "class": (source("class A:\n    x = 1"), "found ClassDef"),
    "try": (source("try:\n    x = 1\nfinally:\n    x = 2"), "found Try"),
    "path trick": (source("import sys\nsys.path.append('..')"), "trick with paths"),
    "change of folder": (source("%cd .."), "trick with paths"),
    "not Python": (source("x ="), "expected Python"),
    "never executed": (one_cell_never_run, "expected it executed"),
    "executed out of order": (one_cell_run_again, "from top to bottom"),
    "widget state": (saved_widgets, "widget state"),
    "stderr": (output("stream", name="stderr", text="careful"), "stderr"),
    "failed cell": (output("error", ename="KeyError", evalue="x"), "found KeyError"),
    "machine path": (output("stream", text="saved in /home/ann/lab"), "path of this machine"),
    "script from the web": (
        output("display_data", data={"text/html": '<script src="https://x.io/a.js"></script>'}),
        "fetches from the web",
    ),
    "large output": (output("stream", text="x" * 200_001), "bytes of output"),
    "large figure": (too_many_points, "trace of 501 points, expected 500"),
}


def test_good_notebook_breaks_no_convention() -> None:
    notebook = good_notebook()
    nbformat.validate(notebook)
    code_of(notebook)[3].outputs = [figure_output(500)]
    assert broken_conventions(notebook) == []


@pytest.mark.parametrize(("change", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_convention_is_the_only_one_told(
    change: Callable[[NotebookNode], None], expected: str
) -> None:
    notebook = good_notebook()
    change(notebook)
    (sentence,) = broken_conventions(notebook)
    assert expected in sentence


def test_notebook_without_parameters_cell_is_told_so() -> None:
    notebook = good_notebook()
    notebook.cells[1].metadata = {}
    assert any("0 cells tagged 'parameters'" in line for line in broken_conventions(notebook))


def test_array_that_plotly_packs_as_base64_is_counted_too() -> None:
    notebook = good_notebook()
    figure = go.Figure(go.Scatter(y=np.zeros(501))).to_plotly_json()
    assert "bdata" in figure["data"][0]["y"]
    code_of(notebook)[3].outputs = [new_output("display_data", {FIGURE: figure})]
    (sentence,) = broken_conventions(notebook)
    assert "501 points" in sentence


def test_ignored_figure_may_be_larger() -> None:
    notebook = good_notebook()
    cell = code_of(notebook)[3]
    cell.outputs, cell.metadata["tags"] = [figure_output(501)], ["nbval-ignore-output"]
    assert broken_conventions(notebook) == []


def test_parameters_cell_may_be_longer_than_others() -> None:
    notebook = good_notebook()
    notebook.cells[1].source = "\n".join(f"n_{k} = {k}  # number {k}" for k in range(20))
    assert broken_conventions(notebook) == []


def test_empty_notebook_is_told_what_is_missing_and_does_not_fail() -> None:
    assert len(broken_conventions(new_notebook())) >= 3
