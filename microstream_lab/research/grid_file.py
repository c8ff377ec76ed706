"""A sweep written down: which notebook, over which values of its parameters.

Invariant: a file that says something nobody would heed is refused, with what it could have said.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from microstream_lab.errors import RunError
from microstream_lab.research.sweep import points_of

__all__ = ["GridFile", "read_grid"]


class GridFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of a grid file.

    ``grid`` holds a list of values a parameter, ``fixed`` parameters that all runs share;
    ``compare`` is the figure to order runs by, the highest first unless ``lower_is_better``;
    ``jobs`` runs go at once; ``timeout_s`` bounds each.
    """

    grid: dict[str, list[Any]]
    fixed: dict[str, Any] = {}
    notebook: str = "03_backtest"
    compare: str | None = None
    lower_is_better: bool = False
    jobs: int = 1
    timeout_s: float = 3600.0


def read_grid(path: Path) -> GridFile:
    """Read a grid file.

    Raises
    ------
    RunError
        If there is none, it is no TOML, or it says what no grid says.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: found no readable grid file: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{path}: found no TOML: {error}") from error
    try:
        grid = msgspec.convert(values, GridFile)
    except msgspec.ValidationError as error:
        known = ", ".join(GridFile.__struct_fields__)
        raise RunError(f"{path}: {error}; a grid file says: {known}") from error
    _check(grid, path)
    return grid


def _check(grid: GridFile, path: Path) -> None:
    if not grid.grid:
        raise RunError(f"{path}: found an empty grid, expected at least one list of values")
    points_of(grid.grid)
    for name, values in grid.grid.items():
        if name in grid.fixed:
            raise RunError(f"{path}: found {name} in grid and in fixed, expected it in one of them")
        twice = [value for number, value in enumerate(values) if value in values[:number]]
        if twice:
            raise RunError(f"{path}: {name}: found {twice[0]!r} twice, expected each value once")
    if grid.jobs < 1 or grid.timeout_s < 1:
        found = f"jobs {grid.jobs}, timeout_s {grid.timeout_s:g}"
        raise RunError(f"{path}: found {found}, expected 1 or more of each")
