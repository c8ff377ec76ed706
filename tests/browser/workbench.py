"""How the browser tests start a JupyterLab, wait for it and watch what its page asks for."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import retry, retry_if_not_exception_type, stop_after_delay, wait_fixed

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "browser-test"
STARTUP_S = 300  # the first start prepares the simulated market and trains a bundle on it
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Lab:
    """A running JupyterLab: its address and the home folder it works in."""

    url: str
    home: Path

    def notebook(self, name: str) -> str:
        return f"{self.url}/lab/tree/{name}?token={TOKEN}&reset"


@dataclass
class Visitor:
    """A browser page, with what it asked of others than this machine and what it complained of."""

    page: Any
    refused: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lab_environment(home: Path) -> dict[str, str]:
    """An environment in which neither ours nor Jupyter's files of the user are seen or touched."""
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    jupyter = {f"JUPYTER_{name}": str(home / "jupyter" / name.lower()) for name in folders}
    ours = {"MICROSTREAM_HOME": str(home), "MICROSTREAM_OFFLINE": "1"}
    return {**os.environ, **jupyter, **ours, "IPYTHONDIR": str(home / "ipython")}


@retry(
    stop=stop_after_delay(STARTUP_S),
    wait=wait_fixed(0.25),
    retry=retry_if_not_exception_type(RuntimeError),
    reraise=True,
)
def wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    if server.poll() is not None:
        told = log.read_text("utf-8", "replace")[-2_000:]
        raise RuntimeError(f"microstream lab ended with {server.returncode}:\n{told}")
    httpx.get(f"{url}/api/status", params={"token": TOKEN}, timeout=5).raise_for_status()


@contextmanager
def opened_page(browser: Any) -> Iterator[Visitor]:
    """A page in a fresh profile; whatever it asks of the outside is refused and noted."""
    context = browser.new_context(service_workers="block", viewport={"width": 1400, "height": 1000})
    visitor = Visitor(context.new_page())
    context.route("**/*", lambda route: loopback_only(route, visitor))
    visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    try:
        yield visitor
    finally:
        context.close()


def loopback_only(route: Any, visitor: Visitor) -> None:
    if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost", None):
        route.continue_()
    else:
        visitor.refused.append(route.request.url)
        route.abort()
