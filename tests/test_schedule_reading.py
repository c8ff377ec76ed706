"""schedule.toml: nothing in it is ignored, and errors say where."""

from __future__ import annotations

from pathlib import Path

import pytest
from schedules import at, write_notebook, write_training

from microstream_lab.errors import DataError, RunError
from microstream_lab.schedule.jobs import Schedule, resolved
from microstream_lab.schedule.reading import parse_schedule, read_schedule
from microstream_lab.settings import Settings

GOOD = """\
parallel = 2

[keep]
runs = 30
days = 90.5

[jobs.nightly]
notebook = "nightly"
cron = "30 2 * * *"
time_zone = "Europe/Berlin"
timeout = "30m"
retries = 1
retry_after = 90
catch_up = "none"
symbols = ["BTCUSDT", "ETHUSDT"]

[jobs.nightly.parameters]
start = "{day-30}"
mode = "quick"

[jobs.hourly]
notebook = "nightly"
cron = "0 * * * *"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(microstream_home=tmp_path / "home", microstream_offline=True)
    write_notebook(settings)
    return settings


def parse(text: str, settings: Settings) -> Schedule:
    return parse_schedule(text, "schedule.toml", settings)


def test_a_schedule_is_read_as_it_is_written(settings: Settings) -> None:
    schedule = parse(GOOD, settings)
    nightly, hourly = schedule.jobs
    assert (schedule.parallel, schedule.keep.runs, schedule.keep.days) == (2, 30, 90.5)
    assert (nightly.name, nightly.cron, str(nightly.zone)) == (
        *("nightly", "30 2 * * *", "Europe/Berlin"),
    )
    assert (nightly.timeout_s, nightly.retries, nightly.retry_after_s) == (1800, 1, 90)
    assert nightly.catch_up == "none"
    assert [task.name for task in schedule.tasks] == [
        *("nightly.BTCUSDT", "nightly.ETHUSDT", "hourly"),
    ]
    assert (hourly.catch_up, hourly.retries, str(hourly.zone)) == ("latest", 2, "UTC")


def test_days_in_parameters_are_those_of_the_moment_in_utc(settings: Settings) -> None:
    task = parse(GOOD, settings).tasks[0]
    due = at("2022-03-01 00:30")
    assert task.parameters(due) == {"symbol": "BTCUSDT", "start": "2022-01-30", "mode": "quick"}
    assert resolved(["{day}", "{ day + 1 }", 3], due) == ["2022-03-01", "2022-03-02", 3]


@pytest.mark.parametrize(
    ("old", "new", "line", "complaint"),
    [
        ('cron = "30 2', 'cron = "61 2', 9, "jobs.nightly.cron = '61 2 * * *', expected"),
        ("Europe/Berlin", "Europe/Berlim", 10, "jobs.nightly.time_zone = 'Europe/Berlim'"),
        ('timeout = "30m"', 'timeout = "soon"', 11, "a text such as '90s', '30m'"),
        ('timeout = "30m"', "timeout = 0", 11, "jobs.nightly.timeout = 0"),
        ("retries = 1", "retries = -1", 12, "jobs.nightly.retries = -1"),
        ("retries = 1", 'retries = "1"', 12, "jobs.nightly.retries = '1'"),
        ('"none"', '"all"', 14, "'latest' or 'none'"),
        ('"ETHUSDT"', '"eth"', 15, "symbols such as BTCUSDT"),
        ('"ETHUSDT"', '"BTCUSDT"', 15, "each symbol once"),
        ('start = "{day-30}"', 'start = "{dya}"', 18, "found {dya}, expected {day}"),
        ('start = "{day-30}"', "strat = 1", 18, "did you mean start?"),
        ('mode = "quick"', "mode = 3", 19, "parameter mode: found 3 (int), expected str"),
        ('mode = "quick"', 'symbol = "BTCUSDT"', 19, "beside symbols, expected one of them"),
        ('notebook = "nightly"', 'notebook = "nihgtly"', 8, "notebook nihgtly: not found"),
        ("retries = 1", "retry = 1", 12, "unknown key jobs.nightly.retry, expected one of"),
        ("retries = 1", "retry = 1", 12, "did you mean retries?"),
        ('cron = "0 * * * *"', "", 21, "found no jobs.hourly.cron"),
        ("[jobs.hourly]", '[jobs."Hourly run"]', 21, "found a job named 'Hourly run'"),
        ("[jobs.hourly]", "[job.hourly]", 21, "an unknown key job, expected one of"),
        ("parallel = 2", "parallel = 0", 1, "parallel = 0"),
        ("runs = 30", "run = 30", 4, "an unknown key keep.run, expected one of: runs, days"),
        ("retries = 1", "retries = = 1", 12, "expected TOML"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    settings: Settings, old: str, new: str, line: int, complaint: str
) -> None:
    with pytest.raises(DataError) as raised:
        parse(GOOD.replace(old, new, 1), settings)
    assert str(raised.value).startswith(f"schedule.toml, line {line}: found ")
    assert complaint in str(raised.value)


def test_a_schedule_without_jobs_is_refused(settings: Settings) -> None:
    with pytest.raises(DataError, match=r"schedule\.toml: found no jobs, expected one"):
        parse("", settings)


def test_symbols_need_a_notebook_that_takes_one(settings: Settings) -> None:
    path = write_notebook(settings, name="plain")
    path.write_text(path.read_text().replace("symbol = ", "sybmol = "))
    text = '[jobs.a]\nnotebook = "plain"\ncron = "0 0 * * *"\nsymbols = ["BTCUSDT"]\n'
    with pytest.raises(DataError, match="found parameter 'symbol'"):
        parse(text, settings)


def test_a_file_that_is_not_there_is_told_by_name(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.toml: found no such file, expected jobs"):
        read_schedule(tmp_path / "none.toml", settings)


def test_one_job_is_picked_out_and_a_missing_one_names_those_there_are(settings: Settings) -> None:
    schedule = parse(GOOD, settings)
    assert [task.name for task in schedule.only("nightly", "ETHUSDT").tasks] == ["nightly.ETHUSDT"]
    with pytest.raises(RunError, match="which has: nightly, hourly"):
        schedule.only("weekly")
    with pytest.raises(RunError, match="found no symbol XRPUSDT, it has: BTCUSDT, ETHUSDT"):
        schedule.only("nightly", "XRPUSDT")


def test_a_job_that_answers_drift_knows_its_series_from_notebook_and_parameters(
    settings: Settings,
) -> None:
    write_training(settings)
    text = GOOD.replace('notebook = "nightly"', 'notebook = "train"', 1)
    text = text.replace('mode = "quick"', 'market = "um"').replace("retries = 1", 'on_drift = "6h"')
    nightly = parse(text, settings).jobs[0]
    assert nightly.on_drift_s == 6 * 3600
    assert [task.series for task in nightly.tasks] == [
        ("um", "BTCUSDT", "1m"),
        ("um", "ETHUSDT", "1m"),
    ]


def test_a_notebook_without_a_series_cannot_answer_drift(settings: Settings) -> None:
    text = GOOD.replace("retries = 1", 'on_drift = "6h"')
    with pytest.raises(DataError, match=r"on_drift.*expected parameters market, symbol and inter"):
        parse(text, settings)
