"""The grid file: read strictly, refused with what it could have said."""

from __future__ import annotations

from pathlib import Path

import pytest

from microstream_lab.errors import MicrostreamError
from microstream_lab.research.grid_file import GridFile, read_grid

GOOD = """
notebook = "03_backtest"
compare = "sharpe"
jobs = 2
[grid]
symbol = ["BTCUSDT", "ETHUSDT"]
start = [2022-01-01]
[fixed]
market = "um"
"""


def test_grid_file_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(GOOD)
    found = read_grid(path)
    assert isinstance(found, GridFile)
    assert found.grid["symbol"] == ["BTCUSDT", "ETHUSDT"]
    assert str(found.grid["start"][0]) == "2022-01-01"
    assert (found.fixed, found.jobs, found.lower_is_better) == ({"market": "um"}, 2, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("notebook = ", "found no TOML"),
        ('notebook = "a"', "missing required field `grid`"),
        ("[grid]", "found an empty grid"),
        ("[grid]\nx = 1", r"Expected `array`, got `int` - at `\$\.grid"),
        ("[grid]\nx = []", "expected a list of values"),
        ("[grid]\nx = [1, 2, 1]", "x: found 1 twice"),
        ("[grid]\nx = [1]\n[fixed]\nx = 2", "found x in grid and in fixed"),
        ("symbols = []\n[grid]\nx = [1]", "unknown field `symbols`; a grid file says: grid, fixed"),
        ("jobs = 0\n[grid]\nx = [1]", "found jobs 0"),
    ],
)
def test_grid_file_that_says_something_else_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(MicrostreamError, match=message):
        read_grid(path)


def test_missing_grid_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MicrostreamError, match=r"none\.toml: found no readable grid file"):
        read_grid(tmp_path / "none.toml")
