"""Tasks on several processes: in order, and a warning of dozens of them told once."""

import logging
from functools import partial

import pytest

from microstream_lab.research.side_by_side import side_by_side


def warned(number: int) -> int:
    logging.getLogger("microstream_lab.training").warning("the same of each series, side by side")
    return number


def test_outcomes_are_in_the_order_of_the_tasks_whatever_the_number_of_processes() -> None:
    tasks = [partial(pow, number, 2) for number in range(7)]
    for jobs in (None, 2):
        assert list(side_by_side(tasks, jobs, False, "squares")) == [n * n for n in range(7)]


def test_what_every_task_warns_of_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert list(side_by_side([partial(warned, n) for n in range(5)], None, False, "w")) == [
            *range(5)
        ]
    assert caplog.messages == ["the same of each series, side by side"]


def test_a_bar_counts_the_tasks(capfd: pytest.CaptureFixture[str]) -> None:
    list(side_by_side([partial(abs, n) for n in range(3)], None, True, "numbers", "number"))
    assert "numbers: 100%" in capfd.readouterr().err
