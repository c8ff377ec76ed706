"""Schedulers and runs as real processes, and what is left when they are stopped or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from schedules import write_notebook

from microstream_lab.schedule.requests import request_run
from microstream_lab.settings import Settings
from microstream_lab.store import Store

WORK = """
import os, pathlib
home = pathlib.Path(os.environ["MICROSTREAM_HOME"])
(home / "reached").touch()
if mode == "hang":
    __import__("time").sleep(600)
if mode == "die":
    os._exit(1)
"""
pytestmark = pytest.mark.slow

SCHEDULE = """
[jobs.nightly]
notebook = "nightly"
cron = "0 0 29 2 *"
retries = 0
parameters.mode = "{mode}"
"""
PATIENCE_S = 60
CLI = "import sys; from microstream_lab.cli import main; main(sys.argv[1:])"


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


class Home:
    """A home folder with a schedule, and the processes started in it."""

    def __init__(self, path: Path) -> None:
        self.settings = Settings(microstream_home=path, microstream_offline=True)
        self.store = Store(self.settings.store_path)
        self.started: list[subprocess.Popen[str]] = []
        write_notebook(self.settings, WORK)

    def job(self, mode: str) -> None:
        text = SCHEDULE.format(mode=mode)
        self.settings.path("schedule.toml").write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "MICROSTREAM_HOME": str(self.settings.microstream_home)}
        process = subprocess.Popen(
            [sys.executable, "-c", CLI, "schedule", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def scheduler_amid_a_run(self) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        """A scheduler whose notebook has reached its cell, and that run's processes."""
        request_run(self.settings, "nightly", "a test")
        process = self.start()
        until(self.settings.path("reached").exists)
        self.settings.path("reached").unlink()
        return process, psutil.Process(process.pid).children(recursive=True)

    def rows(self) -> list[tuple[str, str | None]]:
        runs = self.store.runs()
        return list(zip(runs["status"], runs["error"], strict=True))

    def failed_notebooks(self) -> list[Path]:
        return list(self.settings.runs_path.glob("*/nightly.failed.ipynb"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    for process in home.started:
        process.kill()
        process.communicate()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_a_job_run_by_hand_whose_kernel_dies_ends_with_1_and_keeps_what_there_is(
    home: Home,
) -> None:
    home.job("die")
    process = home.start("run", "nightly", "--reason", "to see")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (1, "")
    assert "nightly: failed: In [3] (import os, pathlib): the kernel died" in out
    assert home.rows() == [("failed", "In [3] (import os, pathlib): the kernel died")]
    assert home.store.runs()["cause"].tolist() == ["request: to see"]
    assert len(home.failed_notebooks()) == 1


def test_sigterm_ends_scheduler_run_and_kernel_and_leaves_a_row(home: Home) -> None:
    home.job("hang")
    process, family = home.scheduler_amid_a_run()
    second = home.start()
    assert second.wait(PATIENCE_S) == 1
    assert f"job nightly: held by PID {process.pid} (" in second.communicate()[1]
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("ended\n")
    until(lambda: gone(family))
    assert home.rows() == [("failed", "interrupted")]
    assert len(home.failed_notebooks()) == 1


def test_a_killed_scheduler_takes_its_run_along_and_the_next_one_accounts_for_it(
    home: Home,
) -> None:
    home.job("hang")
    process, family = home.scheduler_amid_a_run()
    process.kill()
    until(lambda: gone(family))
    assert home.rows() == [("failed", "interrupted")]
    assert len(home.failed_notebooks()) == 1


def test_a_power_cut_leaves_a_run_that_the_next_start_calls_failed(home: Home) -> None:
    home.job("hang")
    process, family = home.scheduler_amid_a_run()
    process.kill()
    for each in family:
        each.kill()
    until(lambda: gone(family))
    assert [status for status, _ in home.rows()] == ["running"]
    following = home.start()
    until(lambda: home.rows()[0][0] == "failed")
    following.send_signal(signal.SIGTERM)
    assert following.wait(PATIENCE_S) == 0
    assert home.rows() == [("failed", "its process is gone: killed, or the machine went down")]
    (partial,) = home.failed_notebooks()
    assert '(home / \\"reached\\").touch()' in partial.read_text()
