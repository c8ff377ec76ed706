"""tools/install.sh: which Python it takes, and that every failure ends in one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the installer reads, and a lock that asks for nothing to be had."""
    place = tmp_path / "checkout"
    (place / "tools").mkdir(parents=True)
    for name in ("pyproject.toml", "tools/install.sh"):
        shutil.copy(ROOT / name, place / name)
    lock = f"no-such-package-here==1.0 --hash=sha256:{'0' * 64}\n"
    (place / "requirements.lock").write_text(lock)
    (tmp_path / "bin").mkdir()
    return place


def command(folder: Path, name: str, body: str) -> str:
    """Put a shell script in place of a command."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def install(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PYTHON": "", **environment}
    return subprocess.run(
        ["sh", "tools/install.sh", "requirements.lock"],
        cwd=checkout,
        env=clean,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    return line


def test_installer_refuses_a_chosen_python_that_is_too_old(checkout: Path) -> None:
    old = command(checkout, "old", 'test "$1" = --version && echo Python 3.9.2 || exit 1')
    line = only_line(install(checkout, PYTHON=old))
    assert "is Python 3.9.2, expected Python 3.11, 3.12 or 3.13" in line


def test_installer_says_what_it_found_where_no_python_fits(checkout: Path, tmp_path: Path) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python"):
        body = 'test "$1" = --version && echo Python 3.14.0 || exit 1'
        command(tmp_path / "bin", name, body)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    line = only_line(install(checkout, PATH=path))
    assert "found Python 3.14.0, expected Python 3.11, 3.12 or 3.13" in line
    assert not (checkout / ".venv").exists()


def test_installer_passes_over_a_python_that_does_not_fit(checkout: Path, tmp_path: Path) -> None:
    no_venv = 'test "$1" = -m && exit 1;'
    command(tmp_path / "bin", "python3", "exit 1")
    for name in ("python3.11", "python3.12", "python3.13"):
        command(
            tmp_path / "bin",
            name,
            f'touch "{tmp_path}/{name}"; {no_venv} exec "{sys.executable}" "$@"',
        )
    install(checkout, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert [path.name for path in tmp_path.glob("python3.*")] == ["python3.13"]


def test_installer_names_the_missing_ensurepip(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    bare = command(checkout, "bare", f'PYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"')
    line = only_line(install(checkout, PYTHON=bare))
    assert "lacks ensurepip or venv" in line
    assert "python3-venv" in line


def test_failed_download_ends_in_one_line_and_leaves_no_stamp(checkout: Path) -> None:
    line = only_line(install(checkout, PYTHON=sys.executable))
    assert "could not install requirements.lock" in line
    assert "no-such-package-here" in line
    assert not (checkout / ".venv" / "installed-from").exists()
