"""Moments of cron expressions, where the clocks of a country jump and where they do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from schedules import DAY, HOUR, MINUTE, SECOND, at

from microstream_lab.schedule.times import check_cron, moments_after, next_moment, zone_of

BERLIN = ZoneInfo("Europe/Berlin")
FORWARD, BACK = "2022-03-27", "2022-10-30"


def in_utc(cron: str, after: int, count: int) -> list[str]:
    moments = islice(moments_after(cron, BERLIN, after), count)
    return [f"{datetime.fromtimestamp(m // SECOND, UTC):%d %H:%M}" for m in moments]


def test_a_daily_moment_in_the_hour_that_is_skipped_comes_as_soon_as_it_is_over() -> None:
    found = in_utc("30 2 * * *", at(f"{FORWARD} 00:00", BERLIN), 3)
    assert found == ["27 01:00", "28 00:30", "29 00:30"]


def test_a_daily_moment_in_the_hour_that_comes_twice_comes_once() -> None:
    found = in_utc("30 2 * * *", at(f"{BACK} 00:00", BERLIN), 3)
    assert found == ["30 00:30", "31 01:30", "01 01:30"]


def test_a_scheduler_that_looks_in_the_second_of_the_two_hours_waits_for_the_next_day() -> None:
    second_half_past_two = at(f"{BACK} 00:30") + HOUR
    assert in_utc("30 2 * * *", second_half_past_two, 1) == ["31 01:30"]


def test_what_runs_by_the_hour_keeps_running_by_the_hour() -> None:
    for day in (FORWARD, BACK):
        start = at(f"{day} 00:00", BERLIN)
        moments = list(islice(moments_after("15 * * * *", BERLIN, start), 30))
        assert {later - sooner for sooner, later in pairwise(moments)} == {HOUR}


def test_moments_of_a_whole_year_are_those_of_a_calendar_walked_by_hand() -> None:
    """An oracle without cron: every local day has one 04:10, which no change of clocks touches."""
    day, expected = datetime(2022, 1, 1), []
    while day.year == 2022:
        expected.append(int(day.replace(hour=4, minute=10, tzinfo=BERLIN).timestamp()) * SECOND)
        day += timedelta(days=1)
    moments = moments_after("10 4 * * *", BERLIN, at("2022-01-01 00:00", BERLIN))
    assert list(islice(moments, len(expected))) == expected


def test_the_moment_itself_is_not_after_itself() -> None:
    midnight = at("2022-01-01 00:00")
    assert next_moment("0 0 * * *", UTC, midnight) == midnight + DAY
    assert next_moment("0 0 * * *", UTC, midnight - 1) == midnight
    assert next_moment("* * * * *", UTC, midnight + 1) == midnight + MINUTE


@pytest.mark.parametrize(
    ("cron", "complaint"),
    [
        ("61 * * * *", "found a bad minute"),
        ("* * * *", "expected five fields"),
        ("* * * * * *", "expected five fields"),
        ("@daily", "expected five fields"),
        ("0 0 30 2 *", "found a bad day-of-month"),
        ("", "expected five fields"),
    ],
)
def test_what_is_no_cron_expression_is_refused_in_words(cron: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_cron(cron)


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 6 * * MON-FRI", "0 0 29 2 *", "0 0 1,15 * *"])
def test_what_cron_understands_is_accepted(cron: str) -> None:
    check_cron(cron)


@pytest.mark.parametrize("name", ["Europe/Berlim", "", "../etc/passwd", "Mars"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a time zone such as"):
        zone_of(name)
