"""The sizes a reader can hold in mind; all else of style is left to ruff and mypy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "microstream_lab"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_MODULE_LINES = 320
MAX_FUNCTION_LINES = 40


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    yield from (node for node in ast.walk(tree) if isinstance(node, kinds))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function below its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if not body:
        return 0
    return (function.end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_and_its_functions_can_be_held_in_mind(path: Path) -> None:
    source = path.read_text("utf-8")
    assert source.count("\n") <= MAX_MODULE_LINES, "two rooms in one?"
    sizes = {function.name: body_lines(function) for function in functions(ast.parse(source))}
    assert {name: n for name, n in sizes.items() if n > MAX_FUNCTION_LINES} == {}


def test_docstring_and_signature_do_not_count_as_body() -> None:
    (function,) = functions(
        ast.parse('def f(\n    a,\n):\n    """Doc.\n\n    More.\n    """\n    return a\n')
    )
    assert body_lines(function) == 1
