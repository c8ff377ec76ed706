"""From a drift alarm to the gate: session, request, scheduler, training and verdict, all real."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from schedules import write_training

from microstream_lab.bundle import ModelBundle
from microstream_lab.live.session import LiveSession
from microstream_lab.market.simulate import simulate_market
from microstream_lab.models.drift import Reading
from microstream_lab.registry import Registry
from microstream_lab.schedule.reading import parse_schedule
from microstream_lab.schedule.requests import pending
from microstream_lab.schedule.scheduler import Scheduler
from microstream_lab.settings import Settings
from microstream_lab.store import Store
from microstream_lab.training import train_bundle

pytestmark = pytest.mark.slow

SERIES = ("SIMUSDT", "1m", "sim")
PATIENCE_S = 120.0
SCHEDULE = """
[jobs.nightly]
notebook = "train"
cron = "0 0 29 2 *"
on_drift = "6h"
symbols = ["SIMUSDT"]
parameters = { market = "sim", end = "2024-02-04" }
"""


def touchy(bundle: ModelBundle) -> ModelBundle:
    """The bundle, alarmed by any bars at all."""
    assert bundle.drift is not None
    limits = Reading(np.full(len(bundle.drift.names), -1.0), np.inf, np.inf)
    return dataclasses.replace(
        bundle, drift=dataclasses.replace(bundle.drift, limits=limits, window=50)
    )


def until(holds: Callable[[], object]) -> None:
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_an_alarm_of_a_session_has_the_scheduler_train_and_the_gate_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DRIFT_REQUESTS_TRAINING", "true")
    settings = Settings.load()
    store, registry = Store(settings.store_path), Registry(settings.models_path)
    bars = simulate_market("2024-02-01", 3 * 1440 + 200, seed=5).bars
    store.write_bars(bars)
    write_training(settings)
    champion = registry.save(touchy(train_bundle(bars.iloc[:1440], n_starts=1)))
    registry.promote("SIMUSDT", "1m", champion, "sim")
    with LiveSession(
        *("SIMUSDT", "1m", "local"),
        store=False,
        window=100,
        market="sim",
        settings=settings,
        speed=60.0,
    ):
        until(lambda: pending(settings))
    (request,) = pending(settings)
    assert request.series == ("sim", "SIMUSDT", "1m")

    scheduler = Scheduler(parse_schedule(SCHEDULE, "schedule.toml", settings), settings, store)
    stop = threading.Event()
    scheduler.open()
    thread = threading.Thread(target=scheduler.run, args=(stop, 0.1))
    thread.start()
    try:
        until(lambda: set(store.runs()["status"]) & {"done", "failed"})
    finally:
        stop.set()
        thread.join()
    (run,) = store.runs().to_dict("records")
    assert (run["job"], run["status"]) == ("nightly.SIMUSDT", "done")
    assert run["cause"] == f"request: {request.reason}"
    figures = run["metrics"]
    assert figures["champion"] == champion
    assert figures["decision"] in ("promote", "hold", "reject")
    assert registry.current(*SERIES) == (figures["version"] if figures["promoted"] else champion)
    assert registry.card("SIMUSDT", "1m", figures["version"], "sim")["gate"]["reasons"]
    assert pending(settings) == []
