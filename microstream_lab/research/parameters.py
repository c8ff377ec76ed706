"""What a notebook may be told: the typed parameters of its cell tagged ``parameters``.

Invariant: a notebook is never started with a parameter it does not know or a value of another
type than its author wrote down; papermill alone would warn and run with the default.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from microstream_lab.errors import ParameterError

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from microstream_lab.research.notebooks import NotebookSource

__all__ = ["Parameter", "find", "notebook_parameters", "parse_text", "validated"]

_SCALARS: Final[dict[str, type]] = {"str": str, "int": int, "float": float, "bool": bool}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    ``kind`` is ``str``, ``int``, ``float``, ``bool``, ``date`` (a string such as 2022-05-01),
    ``list[<one of these>]`` or ``any``; ``optional`` tells whether None is a value.
    """

    name: str
    kind: str
    default: Any
    optional: bool
    comment: str

    @property
    def expected(self) -> str:
        """The values it takes, in words."""
        return f"{self.kind} or None" if self.optional and self.kind != "any" else self.kind

    def accept(self, value: object) -> Any:
        """`value` as the notebook shall get it.

        Raises
        ------
        ParameterError
            If it is of another type.
        """
        if value is None and self.optional:
            return None
        try:
            return _as_kind(self.kind, value)
        except ValueError:
            found = f"{value!r} ({type(value).__name__})"
            raise ParameterError(
                f"parameter {self.name}: found {found}, expected {self.expected}"
            ) from None


def notebook_parameters(
    notebook: NotebookNode | NotebookSource, where: str = "notebook"
) -> dict[str, Parameter]:
    """The parameters of a notebook by name, in the order of its parameters cell.

    The cell holds one assignment of a literal per line, with a comment saying what it means and,
    where the literal alone does not tell the type, an annotation::

        symbol = "SIMUSDT"  # the series to train on
        start: str | None = None  # first day, UTC; None for all there is

    Raises
    ------
    ParameterError
        If there is no such cell, or it holds anything but assignments of literals.
    """
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1:
        found = f"{len(tagged)} cells tagged 'parameters'"
        raise ParameterError(f"{where}: found {found}, expected exactly one")
    try:
        tree = ast.parse(tagged[0].source)
    except SyntaxError as error:
        raise ParameterError(
            f"{where}: parameters cell, line {error.lineno}: {error.msg}"
        ) from error
    comments = _comments(tagged[0].source)
    parameters = (_parameter(node, comments, where) for node in tree.body if not _is_text(node))
    return {parameter.name: parameter for parameter in parameters}


def validated(
    values: Mapping[str, object], parameters: Mapping[str, Parameter], where: str = "notebook"
) -> dict[str, Any]:
    """`values` as the notebook shall get them, each of the type its parameter has.

    Integers do for floats, dates for date strings; booleans are nothing but booleans.

    Raises
    ------
    ParameterError
        At an unknown name, with the known ones and the one probably meant, or an ill-typed value.
    """
    return {name: find(name, parameters, where).accept(value) for name, value in values.items()}


def find(name: str, parameters: Mapping[str, Parameter], where: str = "notebook") -> Parameter:
    """The parameter of that name.

    Raises
    ------
    ParameterError
        If there is none, with those there are and the one probably meant.
    """
    if name in parameters:
        return parameters[name]
    close = get_close_matches(name, parameters, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    known = ", ".join(parameters) or "none"
    raise ParameterError(f"{where}: found parameter {name!r}, expected one of: {known}{hint}")


def parse_text(parameter: Parameter, text: str) -> Any:
    """A value typed on a command line, as the parameter's type; lists are separated by commas.

    Raises
    ------
    ParameterError
        If the text does not read as such a value.
    """
    if parameter.optional and text.lower() in ("none", ""):
        return None
    try:
        return parameter.accept(_from_text(parameter.kind, text))
    except ValueError:
        expected = parameter.expected
        raise ParameterError(
            f"parameter {parameter.name}: found {text!r}, expected {expected}"
        ) from None


def _from_text(kind: str, text: str) -> object:
    if kind.startswith("list["):
        return [_from_text(_item(kind), part.strip()) for part in text.split(",") if part.strip()]
    if kind == "bool":
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ValueError(text)
        return text.lower() in _TRUE
    if kind == "any":
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text
    return _SCALARS[kind](text) if kind in ("int", "float") else text


def _as_kind(kind: str, value: object) -> Any:
    if kind.startswith("list["):
        if not isinstance(value, (list, tuple)):
            raise ValueError(kind)
        return [_as_kind(_item(kind), item) for item in value]
    if kind == "any":
        return value
    if isinstance(value, date) and kind in ("str", "date"):
        return value.isoformat()
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value) is not _SCALARS["str" if kind == "date" else kind]:
        raise ValueError(kind)
    if kind == "date":
        datetime.fromisoformat(str(value))
    return value


def _item(kind: str) -> str:
    return kind.removeprefix("list[").removesuffix("]")


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _comments(source: str) -> dict[int, str]:
    """Comments by the line they stand on."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _parameter(node: ast.stmt, comments: Mapping[int, str], where: str) -> Parameter:
    target, annotation, value = _assignment(node, where)
    try:
        default = ast.literal_eval(value)
    except ValueError:
        found = ast.unparse(value)
        raise ParameterError(
            f"{where}: parameter {target}: found {found}, expected a literal"
        ) from None
    kind, optional = _kind_of(default), default is None
    if annotation is not None:
        kind, optional = _annotated(annotation, kind, f"{where}: parameter {target}")
    comment = comments.get(node.end_lineno or node.lineno, "")
    return Parameter(target, kind, default, optional or default is None, comment)


def _assignment(node: ast.stmt, where: str) -> tuple[str, ast.expr | None, ast.expr]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        return node.target.id, node.annotation, node.value
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, None, node.value
    raise ParameterError(
        f"{where}: parameters cell, line {node.lineno}: found {ast.unparse(node)!r}, "
        "expected assignments of literals only"
    )


def _annotated(annotation: ast.expr, inferred: str, where: str) -> tuple[str, bool]:
    """Kind and optionality of an annotation such as ``str | None`` or ``list[float]``."""
    parts = [part.strip() for part in ast.unparse(annotation).split("|")]
    kinds = [part for part in parts if part != "None"]
    if len(kinds) != 1 or _item(kinds[0]) not in _SCALARS:
        found = ast.unparse(annotation)
        raise ParameterError(
            f"{where}: found the annotation {found}, expected one of {' '.join(_SCALARS)}, "
            "a list of one of them, or that with '| None'"
        )
    is_date = inferred == "date" and kinds == ["str"]
    return "date" if is_date else kinds[0], "None" in parts


def _kind_of(default: object) -> str:
    """The kind a default speaks for: an ISO date string stands for dates, None for anything."""
    if isinstance(default, (list, tuple)):
        kinds = {_kind_of(item) for item in default}
        return f"list[{kinds.pop()}]" if len(kinds) == 1 else "list[any]"
    if isinstance(default, str) and default[:4].isdigit() and len(default) >= len("2022-05-01"):
        return "date" if _reads_as_date(default) else "str"
    name = type(default).__name__
    return name if name in _SCALARS else "any"


def _reads_as_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
