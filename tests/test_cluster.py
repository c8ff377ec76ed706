"""A sweep on two worker processes of a real dask cluster, one of which is killed on the way."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from factories import make_bars
from sweeps import until, write_notebook

from microstream_lab.errors import RunError
from microstream_lab.research.backtest_trial import BacktestTrial
from microstream_lab.research.cluster import cluster
from microstream_lab.research.notebook_trial import NotebookTrial
from microstream_lab.research.sweep import sweep
from microstream_lab.settings import Settings
from microstream_lab.store import Store

if os.environ.get("CI"):
    import distributed
else:
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")

pytestmark = pytest.mark.dask
FIXED = {"train": "2D", "test": "1D", "n_starts": 1, "exposure": (1.0, 0.0), "n_regimes": 2}


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as local:
        yield local


def workers(local: Any) -> dict[str, int]:
    """Process ids of the workers that answer, by address."""
    with distributed.Client(local.scheduler_address, set_as_default=False) as client:
        return dict(client.run(os.getpid))


def test_walk_forwards_give_the_same_table_though_a_worker_was_killed(two_workers: Any) -> None:
    bars, grid = make_bars(4 * 1440, seed=8), {"seed": [0, 1, 2, 3], "cost_bps": [0.0, 5.0]}
    alone = sweep(bars, grid, FIXED)
    before = workers(two_workers)

    def busy() -> int:
        scheduler = two_workers.scheduler
        (address, *_) = until(
            lambda: [a for a, w in scheduler.workers.items() if w.processing and a in before]
        )
        return before[address]

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(lambda: os.kill(pid := busy(), signal.SIGKILL) or pid)
        with cluster(two_workers.scheduler_address):
            found = sweep(bars, grid, FIXED)
    pd.testing.assert_frame_equal(found, alone)
    until(lambda: len(two_workers.scheduler.workers) == 2)
    assert killed.result() not in workers(two_workers).values()


def test_notebooks_give_the_same_table_though_a_worker_was_killed(
    two_workers: Any, tmp_path: Path
) -> None:
    tables, grid = [], {"x": [1, 2, 3], "mode": ["fail", "work"]}
    for name in ("alone", "cluster"):
        settings = Settings(microstream_home=tmp_path / name, microstream_offline=True)
        write_notebook(settings)
        trial = NotebookTrial("mini", settings, settings.path("points"), 60.0)
        if name == "alone":
            tables.append(sweep(trial, grid))
            continue
        hold = settings.path("hold-3")
        hold.touch()

        def kill_the_worker_of_three(home: Path = settings.microstream_home) -> int:
            pid = int(
                until(lambda: (home / "reached-3").exists() and (home / "reached-3").read_text())
            )
            os.kill(pid, signal.SIGKILL)
            (home / "hold-3").unlink()
            return pid

        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(kill_the_worker_of_three)
            with cluster(two_workers.scheduler_address):
                tables.append(sweep(trial, grid))
        assert killed.result() not in workers(two_workers).values()
    alone, found = (table.drop(columns=["run_id", "error"]) for table in tables)
    pd.testing.assert_frame_equal(found, alone)
    assert [(table["error"] != "").tolist() for table in tables] == [
        [False, False, True, False, False, False]
    ] * 2
    rows = Store(settings.store_path).runs()
    assert sorted(rows["status"]) == ["done"] * 5 + ["failed"] * 2
    assert "its process was killed" in set(rows["error"])


def test_address_where_nobody_answers_is_told_in_one_line() -> None:
    message = r"dask: found no scheduler at tcp://127\.0\.0\.1:9:"
    with pytest.raises(RunError, match=message), cluster("tcp://127.0.0.1:9", timeout_s=0.5):
        pass


def test_cluster_without_workers_is_told_in_one_line() -> None:
    with distributed.LocalCluster(
        n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as empty:
        address = empty.scheduler_address
        with pytest.raises(RunError, match="found no worker"), cluster(address, timeout_s=0.2):
            pass


def test_bars_travel_with_each_task_and_are_on_no_worker_alone() -> None:
    # joblib's dask backend leaves on one worker whatever can be referred to weakly.
    (task,) = BacktestTrial(make_bars(10)).tasks([FIXED])
    for argument in task.arguments[:1]:
        with pytest.raises(TypeError, match="weak reference"):
            weakref.ref(argument)
