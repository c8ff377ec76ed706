"""A JupyterLab on a free loopback port, and a Chromium that may talk to nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from workbench import (
    CHROMIUM_FLAGS,
    ROOT,
    TOKEN,
    Lab,
    Visitor,
    free_port,
    lab_environment,
    opened_page,
    wait_until_up,
)


def missing(what: str) -> None:
    """Skip, saying what is missing; where CI is set that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI may not skip the browser tests")
    pytest.skip(what)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; nothing slow is started where it or its driver is absent."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("no chromium on the PATH")
    if find_spec("playwright") is None:
        missing("no playwright, expected the extra 'browser'")
    return str(path)


@pytest.fixture(scope="session")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """`microstream lab` as a user starts it, but without opening a browser."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")  # JupyterLab saves what it ran
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("microstream")), "lab", "--no-browser"),
        *(f"--port={port}", f"--IdentityProvider.token={TOKEN}"),
        "--LabApp.expose_app_in_browser=True",
    ]
    url = f"http://127.0.0.1:{port}"
    log = home / "lab.log"
    with log.open("wb") as sink:
        server = subprocess.Popen(
            command, cwd=home, env=lab_environment(home), stdout=sink, stderr=sink
        )
        try:
            wait_until_up(url, server, log)
            yield Lab(url, home)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """One Chromium for all pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser: Any) -> Iterator[Visitor]:
    """A page of its own for a test."""
    with opened_page(browser) as visitor:
        yield visitor
