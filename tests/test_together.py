"""Two schedulers, their trainings and a live session in one home, through kills."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from schedules import write_training
from test_schedule_processes import Home, gone, until

from microstream_lab.live.session import LiveSession
from microstream_lab.market.simulate import simulate_market
from microstream_lab.registry import Registry
from microstream_lab.schedule.requests import request_run
from microstream_lab.training import train_bundle

pytestmark = pytest.mark.slow

SERIES = ("SIMUSDT", "1m", "sim")
SCHEDULE = """
[jobs.{name}]
notebook = "train"
cron = "0 0 29 2 *"
retries = 3
retry_after = "1s"
"""
WORK_BEFORE_A_KILL_S = (2.0,)
"""CPU time of the kernel, which is amid its fit; tests/test_challenge.py kills at other moments."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Bars, a current bundle and two schedules for the same series."""
    home = Home(tmp_path / "home")
    write_training(home.settings)
    bars = simulate_market("2024-02-01", 3 * 1440, seed=5).bars
    home.store.write_bars(bars)
    registry = Registry(home.settings.models_path)
    registry.promote(*SERIES[:2], registry.save(train_bundle(bars[:1440], n_jobs=1)), "sim")
    for name in ("mine", "yours"):
        home.settings.path(f"{name}.toml").write_text(SCHEDULE.format(name=name))
    yield home
    for process in home.started:
        process.kill()
        process.communicate()


def start(home: Home, name: str) -> subprocess.Popen[str]:
    request_run(home.settings, name, "a test")
    return home.start("--file", str(home.settings.path(f"{name}.toml")))


def kernel_cpu_s(scheduler: subprocess.Popen[str]) -> float:
    """CPU time of the busiest process below a scheduler."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(scheduler.pid).children(recursive=True)
    return max(map(_cpu_s, family), default=0.0)


def _cpu_s(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0.0


def kill_amid_work(scheduler: subprocess.Popen[str], work_s: float) -> None:
    """Kill a scheduler with all below it, once its kernel has worked so long."""
    until(lambda: kernel_cpu_s(scheduler) > work_s)
    family = psutil.Process(scheduler.pid).children(recursive=True)
    for process in (scheduler, *family):
        with contextlib.suppress(psutil.Error):
            process.kill()
    until(lambda: gone(family))


def check(registry: Registry) -> None:
    """No torn pointer, and whatever has a version's name is whole."""
    assert registry.current(*SERIES) is not None
    for info in registry.list():
        assert info.problem == ""
        registry.verify(info.symbol, info.interval, info.version, info.market)


def test_kills_leave_no_lock_error_no_torn_pointer_and_no_half_bundle(home: Home) -> None:
    registry = Registry(home.settings.models_path)
    with LiveSession(
        *("SIMUSDT", "1m", "local"), window=100, speed=120.0, market="sim", settings=home.settings
    ) as session:
        yours = start(home, "yours")
        for amid_s in WORK_BEFORE_A_KILL_S:
            kill_amid_work(start(home, "mine"), amid_s)
            check(registry)
        mine = start(home, "mine")
        until(lambda: {"mine", "yours"} <= set(home.store.runs(status="done")["job"]), 180)
        session.wait(bars=session.status().bars + 1, timeout_s=60)
        status, log = session.status(), session.picture().log
    for scheduler in (mine, yours):
        scheduler.send_signal(signal.SIGTERM)
        assert scheduler.communicate()[1] == ""
        assert scheduler.returncode == 0
    check(registry)
    assert (status.phase, status.error) == ("live", "")
    assert [entry.text for entry in log if entry.kind == "error"] == []
    rows = home.store.runs()
    done = rows[rows["status"] == "done"]
    assert set(done["metrics"].map(lambda figures: figures["decision"])) <= {
        *("promote", "hold", "reject"),
    }
    others = rows[rows["status"] != "done"]
    assert set(others["status"]) == {"failed"}
    assert all("its process is gone" in error for error in others["error"])
    assert len(others) == len(WORK_BEFORE_A_KILL_S)
