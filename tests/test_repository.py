"""What the repository must not hold, read off the files git knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from microstream_lab.research.conventions import broken_conventions

ROOT = Path(__file__).resolve().parents[1]
MAX_BYTES = 400_000
LARGE_ALLOWED = re.compile(r"docs/img/.*|requirements(-ci)?\.lock")
DATA_FILES = re.compile(r".*\.(duckdb|wal|db|sqlite|parquet|joblib|pkl|zip|gz|csv)|\.env")
# Letters in brackets, so that this file does not find itself.
ADDRESSES = re.compile(
    r"py[p]i\.org|pythonh[o]sted|registry\.np[m]js|rep[o]1?\.mav[e]n|deb\.debi[a]n\.org"
)
MACHINE_PATHS = re.compile(r"/(?:ho[m]e|Us[e]rs)/[A-Za-z]\w*/|/r[o]ot/|/w[o]rk/")


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return []
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


FILES = tracked_files()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.skipif(not FILES, reason="not a git checkout: nothing is tracked")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_of_text() -> Iterator[tuple[str, str]]:
    """Every line of every text file, with its place."""
    for path in FILES:
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        yield from ((f"{relative(path)}:{number}", line) for number, line in enumerate(lines, 1))


def found(pattern: re.Pattern[str]) -> list[str]:
    return [f"{place}: {m[0]}" for place, line in lines_of_text() if (m := pattern.search(line))]


def test_no_file_names_a_package_registry() -> None:
    assert found(ADDRESSES) == []


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    # The checker of notebooks is tested with such paths.
    allowed = "tests/test_conventions.py:"
    assert [line for line in found(MACHINE_PATHS) if not line.startswith(allowed)] == []


def test_patterns_find_what_they_are_for() -> None:
    assert ADDRESSES.search("https://py" + "pi.org/simple")
    assert MACHINE_PATHS.search("in /ho" + "me/ann/lab")
    assert MACHINE_PATHS.search("in /ro" + "ot/lab")


def test_no_data_models_or_secrets_are_committed() -> None:
    assert [relative(path) for path in FILES if DATA_FILES.fullmatch(path.name)] == []
    assert [
        relative(path) for path in FILES if relative(path).startswith(("data/", "models/"))
    ] == []


def test_no_large_file_is_committed() -> None:
    large = {relative(path) for path in FILES if path.stat().st_size > MAX_BYTES}
    assert {name for name in large if not LARGE_ALLOWED.fullmatch(name)} == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_keeps_the_conventions(path: Path) -> None:
    assert broken_conventions(nbformat.read(path, as_version=4)) == []
