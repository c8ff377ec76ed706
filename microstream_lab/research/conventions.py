"""What a notebook of this project looks like, and which of its conventions a notebook breaks.

Invariant: a notebook is only read, never run or changed, and every sentence returned names the
cell, counted from 1, and what was expected.
"""

from __future__ import annotations

import ast
import json
import math
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from microstream_lab.errors import ParameterError
from microstream_lab.research.parameters import notebook_parameters

__all__ = ["MAX_OUTPUT_BYTES", "broken_conventions", "broken_in_outputs", "broken_in_source"]

MAX_OUTPUT_BYTES: Final = 200_000
_CELLS: Final = range(15, 31)
_MAX_LINES: Final = 10
_MAX_POINTS: Final = 500
_FIGURE: Final = "application/vnd.plotly.v1+json"
_PACKAGE_CODE: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try, ast.TryStar)
_PATH_TRICKS: Final = re.compile(r"\bsys\.path\b|\bos\.chdir\b|^\s*%cd\b|__file__", re.MULTILINE)
_MACHINE_PATH: Final = re.compile(
    r"(?:^|[\s'\"(=])(?:/(?:home|private|root|tmp|Users|var)/|[A-Z]:\\)"
)
_FETCHED: Final = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(?:https?:)?//")


def broken_conventions(notebook: NotebookNode) -> list[str]:
    """One sentence for each convention that `notebook` breaks; an empty list is a good notebook.

    The conventions are those of :func:`broken_in_source` and :func:`broken_in_outputs`.
    """
    return broken_in_source(notebook) + broken_in_outputs(notebook)


def broken_in_source(notebook: NotebookNode) -> list[str]:
    """What its author wrote against the conventions.

    The first cell is text with a title, the question, the inputs and the outputs, the last heading
    is the conclusion; 15 to 30 cells, never three of code without text between; a code cell has at
    most ten lines and holds no function, class, ``try`` or tricks with paths; exactly one cell is
    tagged ``parameters``, typed literals with a comment each, as many lines as it needs.
    """
    return [
        *_opening(notebook.cells),
        *_length_and_rhythm(notebook.cells),
        *_conclusion(notebook.cells),
        *_parameters(notebook),
        *(broken for number, cell in _code(notebook) for broken in _code_cell(number, cell)),
    ]


def broken_in_outputs(notebook: NotebookNode) -> list[str]:
    """What its last run left against the conventions.

    Executed from top to bottom; outputs under 200 kB together, without errors, stderr, paths of a
    machine or anything a browser would have to fetch; figures of at most 500 points a trace
    (those of cells tagged ``nbval-ignore-output`` aside); no saved widget state.
    """
    outputs = [(number, cell, out) for number, cell in _code(notebook) for out in cell.outputs]
    return [
        *_execution(notebook),
        *_size([out for _, _, out in outputs]),
        *(broken for number, _, out in outputs for broken in _output(number, out)),
        *(broken for number, cell, out in outputs for broken in _figure(number, cell, out)),
    ]


def _code(notebook: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """Code cells with their number, counted from 1 over all cells."""
    return [(n, cell) for n, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]


def _opening(cells: Sequence[NotebookNode]) -> Iterator[str]:
    text = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    if not text.startswith("# "):
        yield "cell 1: found no title, expected text that starts with '# '"
    for word in ("question", "input", "output"):
        if word not in text.lower():
            yield f"cell 1: found no word of the {word}, expected title, question, inputs, outputs"


def _length_and_rhythm(cells: Sequence[NotebookNode]) -> Iterator[str]:
    if len(cells) not in _CELLS:
        yield f"notebook: found {len(cells)} cells, expected {_CELLS.start} to {_CELLS.stop - 1}"
    kinds = [cell.cell_type for cell in cells]
    for number, three in enumerate(zip(kinds, kinds[1:], kinds[2:], strict=False), 1):
        if set(three) == {"code"}:
            yield f"cell {number + 2}: found three code cells in a row, expected text between"


def _conclusion(cells: Sequence[NotebookNode]) -> Iterator[str]:
    texts = [cell.source for cell in cells[-3:] if cell.cell_type == "markdown"]
    if not any(re.search(r"^#+ .*conclusion", text, re.I | re.M) for text in texts):
        yield "last cells: found no heading with the word conclusion, expected one to close"


def _parameters(notebook: NotebookNode) -> Iterator[str]:
    try:
        parameters = notebook_parameters(notebook)
    except ParameterError as error:
        yield str(error)
        return
    for parameter in parameters.values():
        if not parameter.comment:
            yield f"parameter {parameter.name}: found no comment, expected one on its line"


def _code_cell(number: int, cell: NotebookNode) -> Iterator[str]:
    source = cell.source
    n_lines = len(source.strip().splitlines())
    if n_lines > _MAX_LINES and "parameters" not in cell.metadata.get("tags", []):
        yield f"cell {number}: found {n_lines} lines, expected at most {_MAX_LINES}"
    if _PATH_TRICKS.search(source):
        yield f"cell {number}: found a trick with paths, expected none"
    try:
        tree = ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError as error:
        yield f"cell {number}: found {error.msg} in line {error.lineno}, expected Python"
        return
    kinds = {type(node).__name__ for node in ast.walk(tree) if isinstance(node, _PACKAGE_CODE)}
    for kind in sorted(kinds):
        yield f"cell {number}: found {kind}, expected such code in the package"


def _execution(notebook: NotebookNode) -> Iterator[str]:
    counts = [cell.execution_count for _, cell in _code(notebook) if cell.source.strip()]
    if None in counts:
        yield "notebook: found cells without execution count, expected it executed"
    elif any(later - earlier != 1 for earlier, later in pairwise([0, *counts])):
        yield f"notebook: found execution counts {counts}, expected one run from top to bottom"
    if "widgets" in notebook.metadata:
        yield "notebook: found saved widget state, expected none"


def _size(outputs: Sequence[NotebookNode]) -> Iterator[str]:
    n_bytes = len(json.dumps(outputs, ensure_ascii=False).encode())
    if n_bytes > MAX_OUTPUT_BYTES:
        yield f"notebook: found {n_bytes:,} bytes of output, expected at most {MAX_OUTPUT_BYTES:,}"


def _output(number: int, output: NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"cell {number}: found {output.ename}, expected it to run"
    if output.get("name") == "stderr":
        yield f"cell {number}: found output on stderr, expected none"
    for text in _texts(output):
        if _MACHINE_PATH.search(text):
            yield f"cell {number}: found a path of this machine in the output, expected none"
        if _FETCHED.search(text):
            yield f"cell {number}: found output that fetches from the web, expected none"


def _texts(output: NotebookNode) -> list[str]:
    data = output.get("data", {})
    texts = [output.get("text", ""), *output.get("traceback", []), *data.values()]
    return [text for text in texts if isinstance(text, str)]


def _figure(number: int, cell: NotebookNode, output: NotebookNode) -> Iterator[str]:
    if "nbval-ignore-output" in cell.metadata.get("tags", []):
        return
    figure = output.get("data", {}).get(_FIGURE, {})
    for trace in figure.get("data", []):
        n_points = max(map(_length, trace.values()), default=0)
        if n_points > _MAX_POINTS:
            yield f"cell {number}: found a trace of {n_points} points, expected {_MAX_POINTS}"


def _length(value: Any) -> int:
    """Number of values in an array as plotly writes it: a list, or base64 with its dtype."""
    if isinstance(value, Mapping) and "bdata" in value:
        return len(b64decode(value["bdata"])) // np.dtype(value["dtype"]).itemsize
    return math.prod(np.shape(value)) if isinstance(value, list) else 0
