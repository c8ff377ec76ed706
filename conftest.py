"""nbval runs each notebook in a prepared home folder of its own, offline, never in the user's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest

_OFFERED = "MICROSTREAM_PREPARED_HOME"
"""Where the workers of pytest-xdist find the home that was prepared once for all of them."""


def _runs_notebooks(config: pytest.Config) -> bool:
    return bool(config.getoption("nbval", False) or config.getoption("nbval_lax", False))


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    if not _runs_notebooks(session.config) or _is_worker(session.config):
        return
    from microstream_lab.prepare import prepare
    from microstream_lab.settings import Settings

    top = mkdtemp(prefix="microstream-")
    os.environ[_OFFERED] = os.environ["MICROSTREAM_HOME"] = str(Path(top, "prepared"))
    os.environ["MICROSTREAM_OFFLINE"] = "1"
    prepare(Settings.load())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the kernel of a notebook starts, give it a copy of the prepared home."""
    if item.path.suffix != ".ipynb" or _OFFERED not in os.environ:
        return
    prepared = Path(os.environ[_OFFERED])
    home = prepared.with_name(item.path.stem)
    if not home.exists():
        shutil.copytree(prepared, home)
    os.environ["MICROSTREAM_HOME"] = str(home)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _OFFERED in os.environ and not _is_worker(config):
        shutil.rmtree(Path(os.environ.pop(_OFFERED)).parent, ignore_errors=True)
