"""What the scheduler makes of requests: none is lost before its run has begun, none storms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from schedules import HOUR, MINUTE, Bench, at, make_job, write_notebook
from test_store_drift import report

from microstream_lab.schedule.requests import pending, request_run, request_training
from microstream_lab.settings import Settings

NOON = at("2022-01-03 12:00")
SERIES = {"market": "um", "interval": "1m"}


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(Settings(microstream_home=tmp_path))


def opened(tmp_path: Path, notebook: Path, **options: Any) -> Bench:
    bench = Bench(tmp_path, make_job(notebook, **options), now=NOON)
    bench.scheduler.open()
    return bench


def test_a_request_outlives_a_scheduler_that_is_killed_before_the_run_has_begun(
    tmp_path: Path, notebook: Path
) -> None:
    bench = opened(tmp_path, notebook, symbols=("AAAUSDT", "BBBUSDT"))
    request_run(bench.settings, "nightly", "new data")
    (first,) = bench.step_at(NOON)
    assert first.order.job == "nightly.AAAUSDT"
    assert len(pending(bench.settings)) == 1  # the other symbol still waits
    first.end()
    bench.restart(NOON + MINUTE)
    (again,) = bench.step_at(NOON + 2 * MINUTE)
    again.end()
    (second,) = bench.step_at(NOON + 3 * MINUTE)
    assert [again.order.job, second.order.job] == ["nightly.AAAUSDT", "nightly.BBBUSDT"]
    assert pending(bench.settings) == []


def test_a_drift_alarm_is_answered_by_the_job_that_says_so_and_has_the_series(
    tmp_path: Path, notebook: Path
) -> None:
    symbols = ("BTCUSDT", "ETHUSDT")
    bench = opened(tmp_path, notebook, symbols=symbols, parameters=SERIES, on_drift_s=3600.0)
    request_training(bench.settings, report(market="um", symbol="ETHUSDT"))
    request_training(bench.settings, report(market="spot", symbol="ETHUSDT"))
    (worker,) = bench.step_at(NOON)
    assert worker.order.job == "nightly.ETHUSDT"
    assert worker.order.cause == "request: drift, unlike any day of the training: range 0.50"
    worker.end()
    assert bench.step_at(NOON + MINUTE) == []
    assert [each.series for each in pending(bench.settings)] == [("spot", "ETHUSDT", "1m")]


def test_a_job_that_does_not_say_so_leaves_alarms_alone(tmp_path: Path, notebook: Path) -> None:
    bench = opened(tmp_path, notebook, parameters={"symbol": "BTCUSDT", **SERIES})
    request_training(bench.settings, report(market="um"))
    for minute in range(3):
        assert bench.step_at(NOON + minute * MINUTE) == []
    assert len(pending(bench.settings)) == 1
    assert bench.told == [
        "um BTCUSDT 1m: drift, unlike any day of the training: range 0.50; "
        "no job here says on_drift for it"
    ]


def test_alarms_that_come_again_and_again_start_no_more_runs_than_the_job_allows(
    tmp_path: Path, notebook: Path
) -> None:
    series = {"symbol": "BTCUSDT", **SERIES}
    bench = opened(tmp_path, notebook, parameters=series, on_drift_s=6 * 3600.0)
    started = []
    for minute in range(0, 11 * 60, 10):
        request_training(bench.settings, report(market="um"))
        for worker in bench.step_at(NOON + minute * MINUTE):
            worker.end()
            started.append(minute)
        if minute == 60:
            bench.restart(NOON + HOUR)  # the pause is known from the run table
    assert started == [0, 6 * 60]
