"""One list of dependencies, told four times: pyproject, two locks, environment.yml. They agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import microstream_lab

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
BASE = [*PROJECT["dependencies"], *EXTRAS["test"]]
LOCKED_FOR = {
    "requirements.lock": [*BASE, *EXTRAS["served"]],
    "requirements-ci.lock": [
        *BASE,
        *(line for extra in ("served", "browser", "dask", "kafka") for line in EXTRAS[extra]),
    ],
}
CONDA_NAMES = {"python-duckdb": "duckdb"}
PYTHONS = ("3.11", "3.12", "3.13")
LOCKS = pytest.mark.parametrize("lock", LOCKED_FOR)


def requirements(lines: list[str]) -> dict[str, Requirement]:
    parsed = map(Requirement, lines)
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def pinned(lock: str) -> dict[str, list[Requirement]]:
    """Every pin of a lock by name; one package may be pinned apart for several Pythons."""
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / lock).read_text("utf-8").splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.rstrip("\\ "))
            pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} is not pinned"
    return specifier.version


def applies(pin: Requirement, python: str) -> bool:
    marks = {"python_version": python, "python_full_version": f"{python}.1"}
    return pin.marker is None or pin.marker.evaluate(marks)


@LOCKS
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_pins_each_dependency_once_within_its_bounds(lock: str, python: str) -> None:
    pins = pinned(lock)
    for name, wanted in requirements(LOCKED_FOR[lock]).items():
        here = [pin for pin in pins.get(name, []) if applies(pin, python)]
        assert len(here) == 1, f"{name}: found {len(here)} pins in {lock} for Python {python}"
        assert wanted.specifier.contains(version_of(here[0])), f"{here[0]}, expected {wanted}"


@LOCKS
def test_every_pin_of_a_lock_carries_a_hash_and_nothing_else(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    entries = re.sub(r"\\\n", "", text).splitlines()
    for entry in (line for line in entries if line.strip() and not line.strip().startswith("#")):
        assert re.search(r"==\S+.*--hash=sha256:[0-9a-f]{64}", entry), entry[:80]


@LOCKS
def test_lock_names_no_index_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    options = {line.split()[0] for line in text.splitlines() if line.lstrip().startswith("-")}
    assert "://" not in text
    assert all(option.startswith("--hash=") for option in options)


def test_ci_lock_holds_every_pin_of_the_users_lock() -> None:
    users, ci = pinned("requirements.lock"), pinned("requirements-ci.lock")
    assert {name: ci.get(name) for name in users} == users


def conda_dependencies() -> tuple[dict[str, Requirement], list[str]]:
    """The conda packages under their pyproject names, and what conda hands to pip."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    found = requirements([line for line in listed if isinstance(line, str)])
    by_pip = [line for group in listed if isinstance(group, dict) for line in group["pip"]]
    return {CONDA_NAMES.get(name, name): wanted for name, wanted in found.items()}, by_pip


def test_environment_has_the_names_and_bounds_of_pyproject() -> None:
    conda, by_pip = conda_dependencies()
    assert conda.pop("python").specifier == SpecifierSet(PROJECT["requires-python"])
    assert not conda.pop("pip").specifier
    expected = {name: wanted.specifier for name, wanted in requirements(BASE).items()}
    assert {name: wanted.specifier for name, wanted in conda.items()} == expected
    assert by_pip == ["--editable ."]


def test_version_is_the_same_in_the_package_and_heads_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(\d[^]]*)\]", changelog, flags=re.MULTILINE)
    assert PROJECT["version"] == microstream_lab.__version__ == versions[0]


def test_files_beside_the_code_are_packaged_with_it() -> None:
    package = ROOT / "microstream_lab"
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["microstream_lab"]
    packaged = {path for each in patterns for path in package.glob(each.replace("/**", "/**/*"))}
    skipped = {".py", ".pyc", ".nbi", ".nbc"}
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix not in skipped}
    assert {str(path.relative_to(package)) for path in files - packaged} == set()


def test_console_script_leads_to_the_command_line() -> None:
    assert PROJECT["scripts"] == {"microstream": "microstream_lab.cli:main"}


def test_installer_takes_exactly_the_pythons_that_pyproject_allows() -> None:
    script = (ROOT / "tools/install.sh").read_text("utf-8")
    low, high = re.findall(r"\((3, \d+)\)", script)
    lower, upper = (bound.replace(", ", ".") for bound in (low, high))
    assert SpecifierSet(f">={lower},<{upper}") == SpecifierSet(PROJECT["requires-python"])
