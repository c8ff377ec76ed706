"""Trainings asked for: one a series, whole or not there, taken away once run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_store_drift import report

from microstream_lab.errors import RunError
from microstream_lab.live.requests import pending_requests, request_training, withdraw
from microstream_lab.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(microstream_home=tmp_path / "home")


def test_a_series_is_asked_for_once_until_the_request_is_withdrawn(settings: Settings) -> None:
    assert pending_requests(settings) == []
    assert request_training(settings, report(), at=2)
    assert not request_training(settings, report(5, alarms=("log_return",)), at=3)
    assert request_training(settings, report(symbol="ETHUSDT"), at=1)
    first, second = pending_requests(settings)
    assert (first.symbol, second.symbol, second.at) == ("ETHUSDT", "BTCUSDT", 2)
    assert second.reason == "unlike any day of the training: range 0.50"
    withdraw(settings, second)
    withdraw(settings, second)
    assert [request.symbol for request in pending_requests(settings)] == ["ETHUSDT"]
    assert request_training(settings, report(), at=4)


def test_of_many_at_once_one_is_kept_and_nothing_is_left_beside_it(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda at: request_training(settings, report(), at), range(32)))
    assert asked.count(True) == 1
    assert [path.name for path in settings.requests_path.iterdir()] == ["spot-BTCUSDT-1m.json"]


def test_a_request_that_cannot_be_read_is_told(settings: Settings) -> None:
    request_training(settings, report())
    (settings.requests_path / "spot-BTCUSDT-1m.json").write_text("{}")
    with pytest.raises(RunError, match="expected a request for a training"):
        pending_requests(settings)
