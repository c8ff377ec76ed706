"""CSV text to typed columns, exactly rounded, with the line of whatever does not fit.

Invariant: reading is vectorised and knows no lines; only when it fails is the text searched again
for the first line at fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from microstream_lab.errors import DataError
from microstream_lab.market.wire import Column, Columns

__all__ = ["Rows", "read_rows"]

_MAX_LINE: Final = 1_000
"""Far more than a header or row takes up."""
_BOM: Final = b"\xef\xbb\xbf"
_NUMBER = re.compile(rb"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_PATTERNS: Final = {
    int: re.compile(rb"[ \t]*-?\d+[ \t]*"),
    float: re.compile(rb"[ \t]*-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*"),
    bool: re.compile(rb"true|True|TRUE|false|False|FALSE"),
    str: re.compile(rb"[^\"\r]*"),
}
_TYPES: Final = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_WORDS: Final = {int: "a whole number", float: "a number", bool: "True or False", str: "plain text"}


class Rows(msgspec.Struct):
    """Columns of a file and where they came from."""

    columns: Columns
    where: str
    first_line: int = 1

    def error(self, row: int, found: str, expected: str) -> DataError:
        """What is wrong with a row, with its line."""
        return DataError(self.where, found, expected, self.first_line + row)


def read_rows(text: bytes, layout: Sequence[Column], where: str) -> Rows:
    """Parse CSV text of `layout`, the last column of which may be missing in aggTrades.

    Accepts a byte order mark, CRLF, and a header whose names are known.

    Raises
    ------
    DataError
        With the first line that is not a row of `layout`.
    """
    body = _plain(text, where)
    first = body[:_MAX_LINE].split(b"\n", 1)[0]
    has_header = not _NUMBER.fullmatch(first.split(b",", 1)[0])
    columns = _columns(first, layout, where, has_header)
    first_line = 2 if has_header else 1
    rows = memoryview(body)[len(first) + 1 if has_header else 0 :]
    if not rows:
        raise DataError(where, "no rows", "at least one", first_line)
    typed = _with_float_times(columns, bytes(rows[:_MAX_LINE]))
    try:
        return Rows(_parse(rows, typed), where, first_line)
    except pa.ArrowInvalid as error:
        raise _first_fault(bytes(rows), typed, where, first_line, str(error)) from error


def _plain(text: bytes, where: str) -> bytes:
    text = text.removeprefix(_BOM).rstrip(b"\r\n")
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
            raise DataError(where, f"byte {text[error.start]:#x}", "UTF-8 text", line) from error
    if not text:
        raise DataError(where, "an empty file", "at least one row", 1)
    return text


def _columns(first: bytes, layout: Sequence[Column], where: str, header: bool) -> Sequence[Column]:
    cells = first.rstrip(b"\r").split(b",")
    optional = len(layout) - 1 if layout[-1].type is bool else len(layout)
    if not optional <= len(cells) <= len(layout):
        expected = f"the {len(layout)} that Binance publishes; docs/data.md tells of other files"
        raise DataError(where, f"{len(cells)} columns", expected, 1)
    for cell, column in zip(cells, layout, strict=False):
        if header and _heading(cell) not in column.headers:
            raise DataError(where, f"a column {_shown(cell)}", column.name, 1)
    return layout[: len(cells)]


def _heading(cell: bytes) -> str:
    return cell.decode(errors="replace").strip(' "').lower().replace(" ", "_")


def _shown(cell: bytes) -> str:
    return repr(cell[:40].decode(errors="replace"))


def _with_float_times(columns: Sequence[Column], start: bytes) -> Sequence[Column]:
    """Times in seconds may carry a fraction; the first row tells."""
    cells = start.split(b"\n", 1)[0].split(b",")
    fractional = any(
        b"." in cell
        for cell, column in zip(cells, columns, strict=False)
        if column.name.endswith("_time")
    )
    if not fractional:
        return columns
    return [
        Column(column.name, float if column.name.endswith("_time") else column.type, column.headers)
        for column in columns
    ]


def _parse(rows: memoryview, columns: Sequence[Column]) -> Columns:
    wanted = [column for column in columns if column.type in _TYPES]
    table = csv.read_csv(
        pa.py_buffer(rows),
        read_options=csv.ReadOptions(
            use_threads=False, column_names=[column.name for column in columns]
        ),
        # Quotes never occur; read as text they cannot swallow the lines that follow.
        parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            include_columns=[column.name for column in wanted],
            column_types={column.name: _TYPES[column.type] for column in wanted},
            null_values=[],
            true_values=["True", "true", "TRUE"],
            false_values=["False", "false", "FALSE"],
        ),
    )
    return {column.name: _writable(table.column(column.name).to_numpy()) for column in wanted}


def _writable(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Arrow lends its memory read-only; a frame's owner may change it."""
    return values if values.flags.writeable else values.copy()


def _first_fault(
    rows: bytes, columns: Sequence[Column], where: str, first_line: int, reason: str
) -> DataError:
    for line, row in enumerate(rows.split(b"\n"), start=first_line):
        cells = row.removesuffix(b"\r").split(b",")
        if _heading(cells[0]) in columns[0].headers:
            return DataError(where, "a second header", "rows only", line)
        if len(cells) != len(columns):
            return DataError(where, f"{len(cells)} columns", f"{len(columns)}", line)
        for cell, column in zip(cells, columns, strict=True):
            if not _fits(cell, column.type):
                expected = f"{_WORDS[column.type]} as {column.name}"
                return DataError(where, _shown(cell), expected, line)
    return DataError(where, f"text that is no table ({reason})", f"{len(columns)} columns")


def _fits(cell: bytes, kind: type) -> bool:
    if not _PATTERNS[kind].fullmatch(cell):
        return False
    return kind is not int or -(2**63) <= int(cell[:100]) < 2**63
