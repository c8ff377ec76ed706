"""The page of all runs, and what differs between two of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from schedules import DAY, HOUR, at

from microstream_lab.research.run_changes import changes
from microstream_lab.research.run_folder import folder_of, write_record
from microstream_lab.research.run_index import index_path, kind_of, refresh_index, render_index
from microstream_lab.settings import Settings
from microstream_lab.store import Run

START = at("2022-05-01 00:30")


def make_run(night: int, **fields: Any) -> Run:
    run = Run(
        *(f"2022050{night}T003000Z-02_train-{night:06}", "02_train", START + night * DAY, "done"),
        parameters={"symbol": "BTCUSDT", "start": f"2022-04-0{night + 1}", "seed": 0},
        ended_at=START + night * DAY + 42_000_000,
        metrics={"version": f"v000{night}", "eta_squared": 0.4 + night / 100},
        report=f"data/runs/2022050{night}T003000Z-02_train-{night:06}/report.html",
        job="nightly.BTCUSDT",
        scheduled_for=START + night * DAY,
        cause="schedule",
    )
    return replace(run, **fields)


def rows_of(page: str) -> list[str]:
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in body.split("</tr>")[:-1]]


def test_a_line_tells_what_ran_how_it_ended_what_came_out_and_what_changed() -> None:
    page = render_index([make_run(1), make_run(2, parameters={"symbol": "BTCUSDT", "seed": 7})])
    newest, oldest = rows_of(page)
    assert newest.startswith("2022-05-03 00:30 took 42 s 02_train BTCUSDT nightly.BTCUSDT schedule")
    assert "due 2022-05-03 00:30 done bundle version v0002" in newest
    assert "variance explained (eta²) 0.42 +0.01" in newest
    assert newest.endswith("seed 0 → 7 start 2022-04-02 → -")
    assert oldest.endswith("0.41")
    assert f'href="{make_run(2).run_id}/report.html"' in page


def test_failed_and_missed_runs_say_why_and_have_no_dead_links() -> None:
    failed = make_run(1, status="failed", error="In [3]: <b>no</b> bars", attempt=2)
    missed = make_run(2, status="missed", error="3 runs: nobody looked", report=None)
    page = render_index([failed, missed])
    newest, oldest = rows_of(page)
    assert "missed 3 runs: nobody looked" in newest
    assert "took" not in newest
    assert "attempt 2" in oldest
    assert "In [3]: &lt;b&gt;no&lt;/b&gt; bars" in oldest
    assert page.count('href="2022') == 1


def test_figures_are_compared_with_the_last_good_run_of_the_same_kind() -> None:
    other = make_run(3, job="nightly.ETHUSDT", metrics={"eta_squared": 0.1})
    failed = make_run(3, run_id="x", status="failed", metrics={})
    page = render_index([make_run(1), failed, other, make_run(4)])
    assert "0.44 +0.03" in rows_of(page)[0]


def test_runs_are_grouped_by_what_can_be_compared() -> None:
    by_hand = make_run(1, job=None)
    assert [kind_of(run) for run in (make_run(1), by_hand, Run("r", "01_explore", START))] == [
        *("nightly.BTCUSDT", "02_train · BTCUSDT", "01_explore"),
    ]
    page = render_index([make_run(n, status="failed" if n == 2 else "done") for n in range(1, 5)])
    assert page.count("<article>") == 1
    assert "3 done, 1 failed" in page
    assert page.count('class="failed" href="#') == 1


def test_the_page_needs_nothing_but_itself() -> None:
    page = render_index([make_run(1)])
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
    assert "<link" not in page


def test_a_page_without_runs_says_how_to_make_one() -> None:
    assert "microstream train" in render_index([])


def test_the_page_is_written_from_the_records_and_a_run_whose_process_is_gone_failed(
    tmp_path: Path,
) -> None:
    settings = Settings(microstream_home=tmp_path)
    for run in (make_run(1), make_run(2, status="running", ended_at=None)):
        folder = folder_of(run.run_id, settings)
        folder.mkdir(parents=True)
        write_record(run, folder)
    (settings.runs_path / "stray").mkdir()
    refresh_index(settings)
    newest, oldest = rows_of(index_path(settings).read_text())
    assert "failed its process is gone" in newest
    assert " done " in oldest
    assert [p.name for p in settings.runs_path.iterdir() if p.is_file()] == ["index.html"]


def test_a_disk_that_is_full_leaves_the_page_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(microstream_home=tmp_path)
    refresh_index(settings)
    before = index_path(settings).read_text()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        refresh_index(settings)
    assert index_path(settings).read_text() == before
    assert "No space left" in caplog.text


def test_changes_name_both_sides_and_the_difference_of_numbers() -> None:
    before = {"seed": 0, "start": None, "share": 0.5, "gone": True, "levels": [1, 2]}
    after = {"seed": 3, "start": "2022-05-01", "share": 0.5, "levels": [1, 2], "new": 1.25}
    assert changes(before, after) == [
        ("seed", "0", "3", "+3"),
        ("start", "none", "2022-05-01", ""),
        ("gone", "True", "-", ""),
        ("new", "-", "1.25", ""),
    ]
    assert changes({"flag": True}, {"flag": False}) == [("flag", "True", "False", "")]
    assert changes(before, dict(before)) == []


def test_a_run_that_has_not_ended_tells_no_duration() -> None:
    page = render_index([make_run(1, status="running", ended_at=None, started_at=START + HOUR)])
    assert "took" not in rows_of(page)[0]
