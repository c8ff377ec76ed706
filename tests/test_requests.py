"""Runs and trainings asked for: one a name, whole or not there, until they are answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_store_drift import report

from microstream_lab.schedule.requests import pending, request_run, request_training, withdraw
from microstream_lab.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(microstream_home=tmp_path / "home")


def test_a_series_is_asked_for_once_in_the_words_of_the_latest_alarm(settings: Settings) -> None:
    assert pending(settings) == []
    request_training(settings, report())
    request_training(settings, report(5, alarms=("log_return",)))
    request_training(settings, report(symbol="ETHUSDT"))
    first, second = pending(settings)
    assert first.series == ("spot", "BTCUSDT", "1m")
    assert first.reason == "drift, unlike any day of the training: log_return 0.12"
    assert second.series == ("spot", "ETHUSDT", "1m")
    withdraw(settings, first)
    withdraw(settings, first)
    assert pending(settings) == [second]


def test_jobs_and_their_symbols_are_no_series(settings: Settings) -> None:
    request_run(settings, "nightly", "new data")
    request_run(settings, "nightly", "new data", "BTCUSDT")
    assert [(each.name, each.series) for each in pending(settings)] == [
        ("nightly", None),
        ("nightly.BTCUSDT", None),
    ]


def test_what_is_asked_for_anew_meanwhile_is_not_withdrawn(settings: Settings) -> None:
    request_run(settings, "nightly", "new data")
    (first,) = pending(settings)
    request_run(settings, "nightly", "newer data")
    withdraw(settings, first)
    assert [each.reason for each in pending(settings)] == ["newer data"]


def test_of_many_at_once_one_is_kept_and_nothing_is_left_beside_it(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: request_training(settings, report()), range(32)))
    (path,) = paths
    assert list(path.parent.iterdir()) == [path]


def test_a_request_that_cannot_be_read_asks_all_the_same(settings: Settings) -> None:
    request_training(settings, report()).write_text("{}")
    (request,) = pending(settings)
    assert (request.name, request.reason) == ("spot.BTCUSDT.1m", "without a reason")
    withdraw(settings, request)
    assert pending(settings) == []
