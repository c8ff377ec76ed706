"""The scheduler under a clock set by hand: what it starts, writes and makes of ruins."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from schedules import DAY, HOUR, MINUTE, SECOND, Bench, at, make_job, write_notebook

from microstream_lab.errors import JobLockedError
from microstream_lab.research.run_folder import folder_of, running, write_record
from microstream_lab.schedule.jobs import Keep
from microstream_lab.schedule.requests import request_run
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store

MIDNIGHT = at("2022-01-04 00:00")
NOON = MIDNIGHT - 12 * HOUR


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(Settings(microstream_home=tmp_path))


@pytest.fixture
def bench(tmp_path: Path, notebook: Path) -> Iterator[Bench]:
    """One job, due at midnight, and a scheduler opened at noon."""
    bench = Bench(tmp_path, make_job(notebook), now=NOON)
    bench.scheduler.open()
    yield bench
    bench.scheduler._release()


def test_a_due_run_is_started_with_its_parameters_and_written_down(
    tmp_path: Path, notebook: Path
) -> None:
    job = make_job(notebook, symbols=("BTCUSDT",), parameters={"start": "{day-3}"}, timeout_s=5.0)
    bench = Bench(tmp_path, job, now=NOON)
    bench.scheduler.open()
    assert bench.step_at(MIDNIGHT - 1) == []
    (worker,) = bench.step_at(MIDNIGHT + SECOND)
    order = worker.order
    assert (order.notebook, order.timeout_s, order.attempt) == (str(notebook), 5.0, 1)
    assert order.parameters == {"symbol": "BTCUSDT", "start": "2022-01-01"}
    assert (order.job, order.scheduled_for) == ("nightly.BTCUSDT", MIDNIGHT)
    (row,) = bench.store.open_runs()
    assert (row.run_id, row.job, row.scheduled_for) == (order.run_id, order.job, MIDNIGHT)
    worker.end(version="v0001")
    bench.step_at(MIDNIGHT + MINUTE)
    (row,) = bench.store.runs().itertuples()
    assert (row.status, row.metrics, row.cause) == ("done", {"version": "v0001"}, "schedule")
    assert not bench.scheduler.busy


def test_symbols_of_a_job_run_one_after_another_and_jobs_side_by_side(
    tmp_path: Path, notebook: Path
) -> None:
    two = make_job(notebook, symbols=("AAAUSDT", "BBBUSDT"))
    bench = Bench(tmp_path, two, make_job(notebook, name="other"), now=NOON, parallel=3)
    bench.scheduler.open()
    first, other = bench.step_at(MIDNIGHT)
    assert [first.order.job, other.order.job] == ["nightly.AAAUSDT", "other"]
    assert bench.step_at(MIDNIGHT + MINUTE) == []
    first.end()
    (second,) = bench.step_at(MIDNIGHT + 10 * MINUTE)
    assert second.order.job == "nightly.BBBUSDT"
    assert second.order.scheduled_for == MIDNIGHT


def test_no_more_runs_than_allowed_go_on_at_a_time(tmp_path: Path, notebook: Path) -> None:
    jobs = [make_job(notebook, name=name) for name in ("a", "b", "c")]
    bench = Bench(tmp_path, *jobs, now=NOON, parallel=1)
    bench.scheduler.open()
    for name in ("a", "b", "c"):
        (worker,) = bench.step_at(MIDNIGHT + HOUR)
        assert worker.order.job == name
        worker.end()
    assert bench.step_at(MIDNIGHT + HOUR) == []
    assert [row[0] for row in bench.rows()] == ["done"] * 3


def test_a_failed_run_is_tried_again_and_every_attempt_has_a_row(bench: Bench) -> None:
    now = MIDNIGHT
    for pause in (60, 120, 0):
        (worker,) = bench.step_at(now)
        worker.end("failed", "In [3]: no luck")
        assert bench.step_at(now + SECOND) == []
        now += (1 + pause) * SECOND
    assert bench.step_at(now + DAY - HOUR) == []
    runs = bench.store.runs()
    assert runs["attempt"].tolist() == [3, 2, 1]
    assert set(runs["status"]) == {"failed"}
    assert set(runs["scheduled_for"].map(lambda due: due.isoformat())) == {
        "2022-01-04T00:00:00+00:00"
    }
    assert any("tried again at 00:01:01 UTC" in line for line in bench.told)


def test_a_worker_that_is_killed_leaves_a_failed_row_and_the_partial_notebook(
    bench: Bench, notebook: Path
) -> None:
    (worker,) = bench.step_at(MIDNIGHT)
    worker.folder.mkdir(parents=True)
    partial = worker.folder / "nightly.running.ipynb"
    partial.write_text(notebook.read_text())
    worker.vanish(-9)
    bench.step_at(MIDNIGHT + MINUTE)
    (row,) = bench.store.runs(status="failed").itertuples()
    assert row.error == "its process was killed by signal 9"
    assert (worker.folder / "nightly.failed.ipynb").read_text() == notebook.read_text()
    assert "its process was killed" in (worker.folder / "report.html").read_text()
    assert "its process was killed" in (worker.folder.parent / "index.html").read_text()


def test_a_worker_that_outlives_its_limit_is_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (worker,) = bench.step_at(MIDNIGHT)
    later = time.monotonic() + 3600 + 61
    monkeypatch.setattr("microstream_lab.schedule.scheduler.time.monotonic", lambda: later)
    bench.step_at(MIDNIGHT + 2 * HOUR)
    assert worker.killed
    bench.step_at(MIDNIGHT + 2 * HOUR + SECOND)
    (row,) = bench.store.runs(status="failed").itertuples()
    assert row.error == "did not end at its limit of 3600 s, and was killed"


def test_a_process_that_cannot_be_started_is_a_failed_run(bench: Bench) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError("out of memory")

    bench.scheduler._launch = refuse
    bench.step_at(MIDNIGHT)
    (row,) = bench.store.runs().itertuples()
    assert (row.status, row.error) == ("failed", "no process could be started: out of memory")


def test_a_scheduler_that_was_killed_leaves_nothing_running_and_tries_again(
    bench: Bench, notebook: Path
) -> None:
    (worker,) = bench.step_at(MIDNIGHT)
    worker.folder.mkdir(parents=True)
    (worker.folder / "nightly.running.ipynb").write_text(notebook.read_text())
    bench.restart(MIDNIGHT + 5 * MINUTE)
    (row,) = bench.store.runs().itertuples()
    assert (row.status, row.error) == (
        "failed",
        "its process is gone: killed, or the machine went down",
    )
    assert (worker.folder / "nightly.failed.ipynb").exists()
    (again,) = bench.step_at(MIDNIGHT + 7 * MINUTE)
    assert (again.order.scheduled_for, again.order.attempt) == (MIDNIGHT, 2)


def test_a_run_that_outlives_its_scheduler_is_waited_for_and_not_started_again(
    bench: Bench,
) -> None:
    (worker,) = bench.step_at(MIDNIGHT)
    worker.folder.mkdir(parents=True)
    with running(worker.folder):
        bench.restart(MIDNIGHT + MINUTE)
        assert bench.step_at(MIDNIGHT + 2 * MINUTE) == []
        assert [row[0] for row in bench.rows()] == ["running"]
        worker.end()
    assert bench.step_at(MIDNIGHT + 3 * MINUTE) == []
    assert [row[0] for row in bench.rows()] == ["done"]


def test_downtime_is_accounted_for_and_the_latest_moment_made_up_for(bench: Bench) -> None:
    bench.restart(MIDNIGHT + 3 * DAY + HOUR)
    (worker,) = bench.step_at(MIDNIGHT + 3 * DAY + HOUR)
    assert worker.order.scheduled_for == MIDNIGHT + 3 * DAY
    missed = bench.store.runs(status="missed").iloc[0]
    assert missed["metrics"] == {"missed": 3}
    assert missed["error"].startswith("3 runs, 2022-01-04 00:00 to 2022-01-06 00:00 UTC: nobody")
    worker.end()
    bench.restart(MIDNIGHT + 3 * DAY + 2 * HOUR)
    assert bench.step_at(MIDNIGHT + 3 * DAY + 2 * HOUR) == []
    assert len(bench.rows()) == 2


def test_a_moment_that_still_waited_when_the_scheduler_died_is_not_lost(
    tmp_path: Path, notebook: Path
) -> None:
    jobs = [make_job(notebook, name=name) for name in ("a", "b")]
    bench = Bench(tmp_path, *jobs, now=NOON, parallel=1)
    bench.scheduler.open()
    (first,) = bench.step_at(MIDNIGHT)
    first.end()
    bench.restart(MIDNIGHT + 10 * MINUTE)
    (second,) = bench.step_at(MIDNIGHT + 10 * MINUTE)
    assert (second.order.job, second.order.scheduled_for) == ("b", MIDNIGHT)


def test_a_new_job_owes_nothing_from_before_it_was_there(tmp_path: Path, notebook: Path) -> None:
    bench = Bench(tmp_path, make_job(notebook), now=NOON + 40 * DAY)
    bench.scheduler.open()
    assert bench.step_at(NOON + 40 * DAY + HOUR) == []


def test_a_second_scheduler_is_refused_with_who_holds_the_job(bench: Bench) -> None:
    with pytest.raises(JobLockedError, match=f"job nightly: held by PID {os.getpid()} ") as raised:
        bench.another().open()
    assert raised.value.job == "nightly"
    (worker,) = bench.step_at(MIDNIGHT)
    worker.end()


def test_a_refused_scheduler_holds_none_of_its_jobs(
    bench: Bench, tmp_path: Path, notebook: Path
) -> None:
    free, taken = make_job(notebook, name="free"), make_job(notebook)
    refused = Bench(tmp_path, free, taken, now=NOON)
    with pytest.raises(JobLockedError):
        refused.scheduler.open()
    other = Bench(tmp_path, free, now=NOON)
    other.scheduler.open()
    other.scheduler.close()


def test_a_busy_store_delays_rows_and_loses_none(bench: Bench) -> None:
    with bench.store._file.writing():
        (worker,) = bench.step_at(MIDNIGHT)
        worker.end()
        bench.step_at(MIDNIGHT + MINUTE)
    bench.step_at(MIDNIGHT + 2 * MINUTE)
    assert [row[0] for row in bench.rows()] == ["done"]


def test_a_late_row_of_the_start_never_overwrites_the_end(bench: Bench) -> None:
    """The store is busy as the run starts, and free when its worker writes the end itself."""
    with bench.store._file.writing():
        (worker,) = bench.step_at(MIDNIGHT)
    worker.end()
    run = Run(worker.order.run_id, "nightly", MIDNIGHT, "done", job="nightly", ended_at=MIDNIGHT)
    bench.store.write_run(run)
    bench.scheduler._ledger.flush()
    assert [row[0] for row in bench.rows()] == ["done"]


def test_a_run_that_left_a_record_and_no_row_gets_its_row_at_the_next_start(bench: Bench) -> None:
    run = Run("20220103T110000Z-x-1", "x", NOON - HOUR, "done", ended_at=NOON, job="nightly")
    folder = folder_of(run.run_id, bench.settings)
    folder.mkdir(parents=True)
    write_record(run, folder)
    bench.restart(NOON + MINUTE)
    assert bench.store.runs()["run_id"].tolist() == [run.run_id]


def test_runs_of_jobs_that_somebody_else_looks_after_are_left_to_him(
    bench: Bench, tmp_path: Path, notebook: Path
) -> None:
    (worker,) = bench.step_at(MIDNIGHT)  # its process has not made its folder yet
    other = Bench(tmp_path, make_job(notebook, name="other"), now=MIDNIGHT)
    other.scheduler.open()
    assert [row[0] for row in bench.rows()] == ["running"]
    other.scheduler.close()
    worker.end()


def test_a_request_starts_a_run_within_a_look_and_keeps_its_reason(bench: Bench) -> None:
    path = request_run(bench.settings, "nightly", "drift of log_range: 0.31")
    (worker,) = bench.step_at(NOON + MINUTE)
    assert worker.order.scheduled_for is None
    assert not path.exists()
    worker.end()
    assert bench.step_at(NOON + 2 * MINUTE) == []
    assert bench.rows()[0][:2] == ("done", "request: drift of log_range: 0.31")


def test_a_request_while_a_run_goes_on_is_kept_until_it_has_ended(bench: Bench) -> None:
    (worker,) = bench.step_at(MIDNIGHT)
    request_run(bench.settings, "nightly", "drift")
    assert bench.step_at(MIDNIGHT + MINUTE) == []
    worker.end()
    (asked,) = bench.step_at(MIDNIGHT + 2 * MINUTE)
    assert asked.order.cause == "request: drift"


def test_a_request_for_one_symbol_runs_that_one(tmp_path: Path, notebook: Path) -> None:
    job = make_job(notebook, symbols=("AAAUSDT", "BBBUSDT"))
    bench = Bench(tmp_path, job, now=NOON)
    request_run(bench.settings, "nightly", "drift", "BBBUSDT")
    bench.scheduler.open()
    (worker,) = bench.step_at(NOON)
    assert worker.order.job == "nightly.BBBUSDT"
    worker.end()
    assert bench.step_at(NOON + MINUTE) == []


def test_the_end_of_the_scheduler_ends_its_runs_and_writes_them_down(bench: Bench) -> None:
    (worker,) = bench.step_at(MIDNIGHT)
    stop = threading.Event()
    stop.set()
    bench.scheduler.run(stop)
    assert worker.told_to_stop
    (row,) = bench.store.runs().itertuples()
    assert (row.status, row.error) == ("failed", "interrupted")
    again = bench.another()
    again.open()  # the locks are free
    again.close()


def test_a_disk_that_takes_nothing_does_not_end_the_scheduler(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    (worker,) = bench.step_at(MIDNIGHT)
    worker.vanish(1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        patch.setattr(Path, "mkdir", full)
        patch.setattr("microstream_lab.schedule.ledger.Ledger.flush", lambda _self: False)
        bench.step_at(MIDNIGHT + MINUTE)
    (again,) = bench.step_at(MIDNIGHT + 10 * MINUTE)
    again.end()
    bench.step_at(MIDNIGHT + 11 * MINUTE)
    assert [row[0] for row in bench.rows()] == ["failed", "done"]


def test_disk_use_stays_bounded_over_many_nights(tmp_path: Path, notebook: Path) -> None:
    bench = Bench(tmp_path, make_job(notebook), now=NOON, keep=Keep(runs=5))
    bench.scheduler.open()
    for night in range(9):
        (worker,) = bench.step_at(MIDNIGHT + night * DAY)
        worker.end()
        bench.step_at(MIDNIGHT + night * DAY + MINUTE)
    assert len(list(bench.settings.runs_path.glob("*/run.json"))) == 5
    runs = bench.store.runs()
    assert len(runs) == 9
    assert runs["report"].notna().sum() == 0  # these workers wrote none; the rows stay


def test_two_schedulers_of_different_jobs_share_a_store(tmp_path: Path, notebook: Path) -> None:
    benches = [Bench(tmp_path, make_job(notebook, name=name), now=NOON) for name in "ab"]
    for bench in benches:
        bench.scheduler.open()
    for bench in benches:
        (worker,) = bench.step_at(MIDNIGHT)
        worker.end()
        bench.step_at(MIDNIGHT + MINUTE)
    store = Store(benches[0].settings.store_path)
    assert sorted(store.runs()["job"]) == ["a", "b"]
    assert set(store.runs()["status"]) == {"done"}
