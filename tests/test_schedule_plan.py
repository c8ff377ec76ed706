"""What is due when: restarts, late looks, clocks that jump, failures that are tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedules import DAY, HOUR, MINUTE, SECOND, at

from microstream_lab.schedule.jobs import Job
from microstream_lab.schedule.plan import TaskPlan, upcoming

MONDAY = at("2022-01-03 00:00")


def make_plan(since: int = MONDAY, **options: Any) -> TaskPlan:
    job = Job("nightly", Path("n.ipynb"), **{"cron": "0 0 * * *", **options})
    return TaskPlan(job.tasks[0], since)


def started(plan: TaskPlan, now: int) -> int | None:
    """The moment of the run that starts now, which ends well at once."""
    start = plan.take()
    if start is not None:
        plan.ended(True, now)
    return None if start is None else start.scheduled_for


def test_a_moment_runs_once_when_it_has_come() -> None:
    plan = make_plan()
    assert plan.update(MONDAY + DAY - 1) == []
    assert plan.take() is None
    assert plan.update(MONDAY + DAY + SECOND) == []
    assert started(plan, MONDAY + DAY + SECOND) == MONDAY + DAY
    plan.update(MONDAY + DAY + HOUR)
    assert plan.take() is None


def test_after_downtime_the_latest_moment_is_made_up_for_and_the_others_are_missed() -> None:
    plan = make_plan()
    (missed,) = plan.update(MONDAY + 5 * DAY + HOUR)
    assert (missed.count, missed.first, missed.last) == (4, MONDAY + DAY, MONDAY + 4 * DAY)
    start = plan.take()
    assert start is not None
    assert (start.scheduled_for, start.cause) == (MONDAY + 5 * DAY, "catch-up, 60 min late")


def test_without_catch_up_all_moments_of_the_downtime_are_missed() -> None:
    plan = make_plan(catch_up="none")
    (missed,) = plan.update(MONDAY + 5 * DAY + HOUR)
    assert (missed.count, missed.last) == (5, MONDAY + 5 * DAY)
    assert plan.take() is None


def test_a_look_that_is_a_minute_late_is_on_time_even_without_catch_up() -> None:
    plan = make_plan(catch_up="none")
    assert plan.update(MONDAY + DAY + MINUTE) == []
    assert started(plan, MONDAY + DAY + MINUTE) == MONDAY + DAY


def test_a_clock_that_steps_back_runs_no_moment_again() -> None:
    plan = make_plan(cron="0 * * * *")
    plan.update(MONDAY + HOUR)
    assert started(plan, MONDAY + HOUR) == MONDAY + HOUR
    plan.update(MONDAY + HOUR - 10 * MINUTE)
    plan.update(MONDAY + HOUR)
    assert plan.take() is None
    plan.update(MONDAY + 2 * HOUR)
    assert started(plan, MONDAY + 2 * HOUR) == MONDAY + 2 * HOUR


def test_a_clock_that_was_a_year_ahead_and_is_set_right_goes_on_with_the_next_day() -> None:
    plan = make_plan()
    plan.update(MONDAY + 365 * DAY + HOUR)
    assert started(plan, MONDAY + 365 * DAY + HOUR) == MONDAY + 365 * DAY
    for day in (1, 2, 3):
        plan.update(MONDAY + day * DAY)
        assert started(plan, MONDAY + day * DAY) == MONDAY + day * DAY


def test_the_night_the_clocks_go_back_has_one_run_at_half_past_two() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    evening = at("2022-10-29 20:00")
    plan = make_plan(evening, cron="30 2 * * *", zone=berlin)
    moments = []
    for now in range(evening, evening + 12 * HOUR, MINUTE):
        plan.update(now)
        moments.append(started(plan, now))
    assert [m for m in moments if m] == [at("2022-10-30 00:30")]


def test_a_failed_run_is_tried_again_after_pauses_that_double() -> None:
    plan = make_plan(retries=3, retry_after_s=60)
    now = MONDAY + DAY
    plan.update(now)
    pauses = []
    for _attempt in range(4):
        start = plan.take()
        assert start is not None
        assert start.scheduled_for == MONDAY + DAY
        again = plan.ended(False, now)
        if again is not None:
            pauses.append((again - now) // SECOND)
            plan.update(again - 1)
            assert plan.take() is None
            plan.update(now := again)
    assert pauses == [60, 120, 240]
    assert plan.idle


def test_pauses_end_at_an_hour_and_at_what_the_job_asks_for() -> None:
    for retry_after_s, longest in ((1000, 3600), (7200, 7200)):
        plan = make_plan(retries=9, retry_after_s=retry_after_s)
        plan.update(now := MONDAY + DAY)
        for _attempt in range(4):
            plan.take()
            again = plan.ended(False, now)
            assert again is not None
            assert again - now <= longest * SECOND
            plan.bring_retry(now := again)
        assert again - now == 0


def test_a_clock_that_steps_back_does_not_keep_a_retry_waiting_for_long() -> None:
    plan = make_plan(retries=1, retry_after_s=60)
    plan.update(now := MONDAY + DAY + HOUR)
    plan.take()
    plan.ended(False, now)
    back = now - 23 * HOUR
    plan.update(back)
    plan.update(back + HOUR)
    assert plan.take() is not None


def test_a_retry_gives_way_to_the_next_moment() -> None:
    plan = make_plan(cron="* * * * *", retries=5, retry_after_s=90)
    plan.update(MONDAY + MINUTE)
    plan.take()
    assert plan.ended(False, MONDAY + MINUTE) is not None
    plan.update(MONDAY + 2 * MINUTE)
    start = plan.take()
    assert start is not None
    assert (start.scheduled_for, start.attempt) == (MONDAY + 2 * MINUTE, 1)
    plan.ended(True, MONDAY + 2 * MINUTE)
    assert plan.idle


def test_moments_that_come_while_a_run_goes_on_wait_and_only_the_latest_is_run() -> None:
    plan = make_plan(cron="* * * * *")
    plan.update(MONDAY + MINUTE)
    assert plan.take() is not None
    told = []
    for minute in (2, 3, 4):
        told += plan.update(MONDAY + minute * MINUTE)
        assert plan.take() is None
    assert [missed.last for missed in told] == [MONDAY + 2 * MINUTE, MONDAY + 3 * MINUTE]
    plan.ended(True, MONDAY + 4 * MINUTE)
    assert started(plan, MONDAY + 4 * MINUTE) == MONDAY + 4 * MINUTE


def test_what_waits_is_not_counted_as_dealt_with() -> None:
    plan = make_plan()
    plan.update(MONDAY + DAY)
    assert plan.accounted_until == MONDAY + DAY - 1
    plan.take()
    assert plan.accounted_until == MONDAY + DAY


def test_a_run_that_is_asked_for_starts_at_once_and_is_of_no_moment() -> None:
    plan = make_plan()
    plan.ask("drift of range")
    plan.ask("drift of spread")
    start = plan.take()
    assert start is not None
    assert (start.scheduled_for, start.cause) == (None, "request: drift of range")
    plan.ended(True, MONDAY)
    assert plan.take() is None


@given(
    st.lists(st.integers(-3 * HOUR, 9 * HOUR), min_size=1, max_size=60),
    st.sampled_from(["latest", "none"]),
)
def test_whatever_the_clock_does_no_moment_runs_twice_and_none_gets_lost(
    jumps: list[int], catch_up: str
) -> None:
    plan = make_plan(cron="0 */2 * * *", catch_up=catch_up)
    now, highest = MONDAY, MONDAY
    ran: list[int] = []
    missed: set[int] = set()
    for jump in jumps:
        now += jump
        highest = max(highest, now)
        for each in plan.update(now):
            missed |= set(range(each.first, each.last + 1, 2 * HOUR))
        if (moment := started(plan, now)) is not None:
            ran.append(moment)
    assert len(set(ran)) == len(ran)
    due = set(range(MONDAY + 2 * HOUR, highest + 1, 2 * HOUR))
    assert due <= set(ran) | missed


def test_the_next_runs_of_several_jobs_come_in_order() -> None:
    jobs = [
        Job("daily", Path("n.ipynb"), "0 6 * * *"),
        Job("often", Path("n.ipynb"), "0 */4 * * *"),
    ]
    found = upcoming([task for job in jobs for task in job.tasks], MONDAY, 5)
    assert [((m - MONDAY) // HOUR, task.name) for m, task in found] == [
        *((4, "often"), (6, "daily"), (8, "often"), (12, "often"), (16, "often")),
    ]


@pytest.mark.parametrize("lateness", [0, 89 * SECOND])
def test_a_punctual_run_says_that_the_schedule_caused_it(lateness: int) -> None:
    plan = make_plan()
    plan.update(MONDAY + DAY + lateness)
    start = plan.take()
    assert start is not None
    assert start.cause == "schedule"
