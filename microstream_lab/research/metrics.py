"""How a notebook hands figures and tables to whoever ran it: through the metadata of an output.

Invariant: nothing of it shows, neither in JupyterLab nor in a report, and nbval, which compares
what outputs show and not their metadata, is not disturbed by a last digit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from microstream_lab.errors import RunError

if TYPE_CHECKING:
    import pandas as pd
    from nbformat import NotebookNode

__all__ = [
    "Metric",
    "is_metrics_output",
    "read_metrics",
    "read_tables",
    "record_metrics",
    "record_table",
]

Metric = float | int | str | bool | None
_KEY: Final = "microstream_metrics"
_TABLES: Final = "microstream_tables"


def record_metrics(metrics: Mapping[str, object]) -> None:
    """Hand figures of this notebook to the run table and the top of the report.

    Parameters
    ----------
    metrics : mapping of str to number, text, bool or None
        Names and values; numpy scalars are welcome, and what is not finite is kept as None. A
        name recorded again is overwritten.

    Raises
    ------
    RunError
        If a value is anything else.
    """
    from IPython.display import display

    # pairs, because a saved notebook sorts the keys of its objects
    plain = [[str(name), _plain(str(name), value)] for name, value in metrics.items()]
    display({"text/plain": ""}, raw=True, metadata={_KEY: plain})


def record_table(name: str, table: pd.DataFrame) -> None:
    """Hand a table of this notebook to whoever ran it: it becomes ``<name>.csv`` beside the report.

    Numbers keep six significant digits.

    Raises
    ------
    RunError
        If the name would not do for a file.
    """
    from IPython.display import display

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise RunError(f"table: found the name {name!r}, expected letters, digits and _")
    text = table.to_csv(float_format="%.6g")
    display({"text/plain": ""}, raw=True, metadata={_TABLES: {name: text}})


def read_tables(notebook: NotebookNode) -> dict[str, str]:
    """All tables an executed notebook has recorded, as CSV by name."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found: dict[str, str] = {}
    for output in outputs:
        found.update(output.get("metadata", {}).get(_TABLES, {}))
    return found


def read_metrics(notebook: NotebookNode) -> dict[str, Metric]:
    """All figures an executed notebook has recorded, later ones winning."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found: dict[str, Metric] = {}
    for output in filter(is_metrics_output, outputs):
        found.update(output.metadata.get(_KEY, []))
    return found


def is_metrics_output(output: Mapping[str, Any]) -> bool:
    """Whether an output carries figures or a table and has nothing to show."""
    return bool({_KEY, _TABLES} & set(output.get("metadata", {})))


def _plain(name: str, value: object) -> Metric:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    expected = "a number, text, bool or None"
    raise RunError(f"metric {name}: found {type(value).__name__}, expected {expected}")
