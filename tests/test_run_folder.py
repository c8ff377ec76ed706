"""The folder of a run: alive or not, read back as it was written, kept as far as it got."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from schedules import at, write_notebook

from microstream_lab.errors import RunError
from microstream_lab.research.run_folder import (
    finish_folder,
    folder_of,
    is_alive,
    read_record,
    running,
    write_record,
)
from microstream_lab.research.runs import settle
from microstream_lab.settings import Settings
from microstream_lab.store import Run

NOON = at("2022-01-03 12:00")
RUN = Run(
    *("r-1", "nightly", NOON, "running", {"symbol": "BTCUSDT", "levels": [1.5, 2.0]}),
    job="nightly.BTCUSDT",
    scheduled_for=NOON - 1_000_000,
    attempt=2,
    cause="schedule",
    report="data/runs/r-1/report.html",
)


class Table:
    def __init__(self) -> None:
        self.rows: list[Run] = []

    def write_run(self, run: Run) -> None:
        self.rows.append(run)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(microstream_home=tmp_path)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    ended = replace(RUN, status="done", ended_at=NOON + 1_234_567, metrics={"version": "v0001"})
    for run in (RUN, ended):
        write_record(run, tmp_path)
        assert read_record(tmp_path) == run
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run_id": "r"}', '{"started_at": "noon"}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert read_record(tmp_path) is None


def test_a_run_is_alive_while_its_process_is_at_it_and_no_longer(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    with running(tmp_path):
        assert is_alive(tmp_path)
    assert not is_alive(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_a_lock_file_and_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from microstream_lab.research.run_folder import running\n"
        "with running(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert is_alive(tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / "run.lock").exists()
    assert not is_alive(tmp_path)


def test_a_run_that_ended_but_was_not_written_down_is_taken_at_its_word(settings: Settings) -> None:
    folder = folder_of("r-1", settings)
    folder.mkdir(parents=True)
    done = replace(RUN, status="done", ended_at=NOON)
    write_record(done, folder)
    table = Table()
    assert settle(RUN, settings, table, "gone", NOON) == done
    assert table.rows == [done]


def test_a_run_that_never_got_a_folder_failed(settings: Settings) -> None:
    table = Table()
    ended = settle(RUN, settings, table, "gone", NOON - 5)
    assert table.rows == [ended]
    assert (ended.status, ended.error, ended.ended_at) == ("failed", "gone", NOON)


@pytest.mark.parametrize("content", [None, "", "not json", '{"cells": 3}', '{"cells": []}'])
def test_a_failed_run_is_kept_whatever_is_left_of_its_notebook(
    settings: Settings, content: str | None
) -> None:
    folder = folder_of("r-1", settings)
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "nightly.running.ipynb").write_text(content)
    table = Table()
    settle(RUN, settings, table, "gone", NOON)
    assert [run.status for run in table.rows] == ["failed"]
    record = read_record(folder)
    assert record is not None
    assert record.error == "gone"
    if content is not None:
        assert (folder / "nightly.failed.ipynb").read_text() == content


def test_a_done_run_whose_report_cannot_be_made_is_not_passed_over(
    settings: Settings, tmp_path: Path
) -> None:
    source = write_notebook(settings)
    (tmp_path / "nightly.running.ipynb").write_text("not json")
    with pytest.raises(RunError, match="no readable notebook"):
        finish_folder(replace(RUN, status="done"), tmp_path, source)
