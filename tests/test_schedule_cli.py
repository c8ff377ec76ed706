"""``microstream schedule`` and ``runs`` as typed, and what docs/scheduling.md shows of them."""

from __future__ import annotations

import re
import tomllib
import webbrowser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from schedules import DAY, at, write_notebook

from microstream_lab.cli import app, main
from microstream_lab.research.run_folder import folder_of, write_record
from microstream_lab.schedule.locks import JobLock
from microstream_lab.schedule.reading import parse_schedule
from microstream_lab.schedule.requests import pending
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scheduling.md").read_text(encoding="utf-8")
TEXT = """
[jobs.nightly]
notebook = "nightly"
cron = "30 2 * * *"
time_zone = "Europe/Berlin"
symbols = ["BTCUSDT", "ETHUSDT"]
parameters.start = "{day-1}"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(microstream_home=tmp_path / "home", microstream_offline=True)
    write_notebook(settings)
    return settings


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    monkeypatch.setenv("MICROSTREAM_HOME", str(settings.microstream_home))

    def run(*words: str) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as left:
            main(words)
        return (left.value.code, *capsys.readouterr())

    return run


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_dry_run_prints_the_next_ten_runs_and_starts_none(run: Any, settings: Settings) -> None:
    settings.path("schedule.toml").write_text(TEXT)
    code, out, err = run("schedule", "--dry-run")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.split() == ["when", "UTC", "job", "notebook", "parameters"]
    assert len(lines) == 10
    for number, line in enumerate(lines):
        symbol = ("BTCUSDT", "ETHUSDT")[number % 2]
        assert re.match(r"\w{3} \d{4}-\d\d-\d\d 02:30 CES?T +\d\d-\d\d 0[01]:30 ", line)
        assert f"nightly.{symbol}  nightly   symbol={symbol}, start=" in line
    first = datetime.fromisoformat(lines[0].split()[1]).replace(tzinfo=UTC)
    assert timedelta() <= first - datetime.now(UTC) + timedelta(days=1) < timedelta(days=3)
    assert not settings.runs_path.exists()
    assert not settings.store_path.exists()


def test_a_schedule_that_cannot_be_used_ends_with_1_and_its_line(
    run: Any, settings: Settings
) -> None:
    assert "docs/scheduling.md" in run("schedule", "--dry-run")[2]
    path = settings.path("schedule.toml")
    path.write_text(TEXT.replace("Europe/Berlin", "Mars/Olympus"))
    code, out, err = run("schedule")
    assert (code, out) == (1, "")
    assert f"{path}, line 5: found jobs.nightly.time_zone = 'Mars/Olympus'" in err


def test_a_job_that_another_scheduler_has_is_asked_for(run: Any, settings: Settings) -> None:
    settings.path("schedule.toml").write_text(TEXT)
    lock = JobLock("nightly", settings)
    lock.acquire()
    code, out, _ = run("schedule", "run", "nightly", "--symbol", "ethusdt", "--reason", "new")
    lock.release()
    assert code == 0
    assert "job nightly is held by PID" in out
    assert [(each.name, each.reason) for each in pending(settings)] == [("nightly.ETHUSDT", "new")]


@pytest.fixture
def nights(settings: Settings) -> list[Run]:
    """Three nights in the store and on disk, the second failed."""
    store = Store(settings.store_path)
    runs = []
    for night in range(3):
        run_id = f"r{night}"
        report = f"data/runs/{run_id}/report.html"
        runs.append(
            Run(
                *(run_id, "nightly", at("2022-05-01") + night * DAY),
                "failed" if night == 1 else "done",
                {"seed": night, "symbol": "BTCUSDT"},
                at("2022-05-01") + night * DAY + 1,
                {"eta_squared": 0.25 * (night + 1)},
                report=report,
                job="nightly",
            )
        )
        folder_of(run_id, settings).mkdir(parents=True)
        settings.path(report).touch()
        write_record(runs[-1], folder_of(run_id, settings))
    store.write_schedule(runs, {})
    return runs


def test_a_report_and_the_page_of_all_runs_are_opened(
    run: Any, nights: list[Run], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: not opened.append(uri))
    assert run("runs", "open", "r1")[:2] == (0, f"{settings.path(nights[1].report or '')}\n")
    assert run("runs", "open", "--index")[0] == 0
    home = settings.microstream_home
    assert opened == [
        *((home / "data" / "runs" / "r1" / "report.html").as_uri(),),
        *((home / "data" / "runs" / "index.html").as_uri(),),
    ]
    assert 'href="r1/report.html"' in (settings.runs_path / "index.html").read_text()


def test_a_report_that_is_gone_is_not_opened(
    run: Any, nights: list[Run], settings: Settings
) -> None:
    settings.path(nights[2].report or "").unlink()
    code, _, err = run("runs", "open")
    assert code == 1
    assert "run r2: found no report" in err


def test_two_runs_are_compared_in_parameters_and_key_figures(run: Any, nights: list[Run]) -> None:
    _, out, _ = run("runs", "diff", "r0", "last")
    assert out.startswith("r0 (done) -> r2 (done)\nparameters:\n")
    assert "symbol" not in out
    assert re.search(r"seed +0 +2 +\+2\n", out)
    assert re.search(r"variance explained \(eta²\) +0.25 +0.75 +\+0.5\n", out)
    assert run("runs", "diff", "r2")[1].splitlines()[1:] == [
        "parameters: the same",
        "key figures: the same",
    ]


def test_runs_are_listed_by_job_and_status(run: Any, nights: list[Run]) -> None:
    def listed(*words: str) -> list[str]:
        return [line.split()[0] for line in run("runs", "list", *words)[1].splitlines()[1:]]

    assert listed("--status", "failed") == ["r1"]
    assert listed("--job", "nightly") == ["r2", "r1", "r0"]
    assert listed("--job", "weekly") == []


def test_old_runs_are_deleted_when_asked_and_their_rows_stay(
    run: Any, nights: list[Run], settings: Settings
) -> None:
    assert run("runs", "prune")[0] == 2
    assert run("runs", "prune", "--keep", "1", "--dry-run")[1] == (
        "r0\nr1\n2 runs would be deleted\n"
    )
    assert run("runs", "prune", "--keep", "1")[1] == "r0\nr1\n2 runs deleted\n"
    assert [path.name for path in settings.runs_path.glob("r*")] == ["r2"]
    assert len(Store(settings.store_path).runs()) == 3


def test_the_schedule_in_the_docs_can_be_run_with_the_notebooks_there_are() -> None:
    (text,) = examples("toml")
    read = parse_schedule(text, "docs/scheduling.md", Settings(microstream_home=ROOT))
    names = [task.name for task in read.tasks]
    assert names == ["nightly.BTCUSDT", "nightly.ETHUSDT", "weekly"]
    assert set(tomllib.loads(text)) == {"jobs", "keep", "parallel"}


def test_every_command_in_the_docs_is_one() -> None:
    shell = [line.split("#")[0] for text in examples("sh") for line in text.splitlines()]
    others = re.findall(r"bin/(microstream schedule.*)", "".join(examples("(?:ini|crontab)")))
    commands = [line.replace('"', "").split() for line in [*shell, *others] if line.strip()]
    assert len(commands) >= 13
    for _, group, *words in commands:
        known = app.registered_groups
        (found,) = (each.typer_instance for each in known if each.name == group)
        assert found is not None
        names = {command.name or command.callback.__name__ for command in found.registered_commands}
        assert words == [] or words[0].startswith("-") or words[0] in names
