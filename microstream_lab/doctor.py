"""Is this installation fit to work? One look at everything that goes wrong in practice.

Invariant: looking changes nothing, and nothing beyond this machine is dialled when the settings
forbid it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from microstream_lab.errors import MicrostreamError
from microstream_lab.market.offline import is_loopback
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.registry import Registry
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["Check", "examine"]

LIBRARIES: Final = (
    *("duckdb", "hmmlearn", "ipywidgets", "joblib", "jupyterlab", "numpy", "pandas"),
    *("papermill", "plotly", "scikit-learn", "websockets"),
)
_PYTHONS: Final = ((3, 11), (3, 13))
_PATIENCE_S: Final = 8.0


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and whether one can work with it."""

    name: str
    found: str
    ok: bool = True


def examine(settings: Settings) -> Iterator[Check]:
    """Look at everything, one check after another, so that slow ones can be awaited in view."""
    yield _python()
    yield from map(_library, LIBRARIES)
    yield _home(settings.microstream_home)
    yield _store(settings)
    yield from _models(settings)
    yield _kernel()
    yield _exchange(settings)


def _python() -> Check:
    found, (oldest, newest) = sys.version_info[:2], _PYTHONS
    text = f"{sys.version.split()[0]} ({sys.executable})"
    if oldest <= found <= newest:
        return Check("Python", text)
    return Check("Python", f"{text}, expected 3.{oldest[1]} to 3.{newest[1]}", ok=False)


def _library(name: str) -> Check:
    try:
        return Check(name, version(name))
    except PackageNotFoundError:
        return Check(name, "not installed; make install brings it", ok=False)


def _home(home: Path) -> Check:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    if place.is_dir() and os.access(place, os.W_OK):
        return Check("home", f"{home}" if home.exists() else f"{home} (not there yet)")
    return Check("home", f"{home}: cannot be written to", ok=False)


def _store(settings: Settings) -> Check:
    status = Store(settings.store_path, timeout_s=1.0).status()
    if not status.exists:
        return Check("store", f"{status.path}: none yet; microstream ingest or lab makes it")
    held = f", held by {status.locked_by}" if status.locked_by else ""
    return Check("store", f"{status.summary()}{held}", status.reachable)


def _models(settings: Settings) -> Iterator[Check]:
    registry = Registry(settings.models_path)
    there = registry.list()
    problems = dict.fromkeys(info.problem for info in there if info.problem)
    for problem in problems:
        yield Check("models", problem, ok=False)
    current = [info for info in there if info.is_current]
    if not (current or problems):
        yield Check("models", f"{registry.path}: none yet; microstream train or lab makes one")
    for info in current:
        series = f"{info.market} {info.symbol} {info.interval} {info.version}"
        try:
            registry.verify(info.symbol, info.interval, info.version, info.market)
            yield Check("model", f"{series}: sha256 verified")
        except MicrostreamError as error:
            yield Check("model", f"{series}: {error}", ok=False)


def _kernel(name: str = "python3") -> Check:
    """The kernel of the notebooks must be this Python, not another one of the same name."""
    try:
        argv = KernelSpecManager().get_kernel_spec(name).argv
    except NoSuchKernel:
        return Check("kernel", f"no Jupyter kernel named {name}; make install brings it", ok=False)
    program = Path(argv[0])
    if not program.is_absolute() or program.parent == Path(sys.executable).parent:
        return Check("kernel", f"{name}, this Python")
    return Check("kernel", f"{name} is {program}, expected {sys.executable}", ok=False)


def _exchange(settings: Settings) -> Check:
    url = rest_url(settings, settings.market)
    if settings.microstream_offline and not is_loopback(url):
        return Check("exchange", "offline by setting (MICROSTREAM_OFFLINE)")
    try:
        asyncio.run(asyncio.wait_for(_ping(url, settings), _PATIENCE_S))
    except TimeoutError:
        hint = "to work without it set MICROSTREAM_OFFLINE=1"
        return Check("exchange", f"{url}: no answer within {_PATIENCE_S:g} s; {hint}", ok=False)
    except MicrostreamError as error:
        return Check("exchange", str(error), ok=False)
    return Check("exchange", f"{url}: answers")


async def _ping(url: str, settings: Settings) -> None:
    async with RestClient(url, market=settings.market, settings=settings) as client:
        await client.ping()
