"""Drift in a session: told now and then and at once with an alarm, and heard of once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from microstream_lab.bundle import ModelBundle
from microstream_lab.engine import Engine
from microstream_lab.errors import MicrostreamError
from microstream_lab.live.drift_desk import DriftDesk, told
from microstream_lab.live.tidings import Scored
from microstream_lab.market.simulate import simulate_market
from microstream_lab.models.drift import Reading
from microstream_lab.models.drift_report import DriftReport
from microstream_lab.schema import iter_bars
from microstream_lab.training import train_bundle


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return train_bundle(simulate_market("2024-02-01", 1600, seed=1).bars, n_jobs=1)


def scored(bundle: ModelBundle, bars: pd.DataFrame) -> list[Scored]:
    engine = Engine(bundle)
    return [Scored(bar, engine.update(bar)) for bar in iter_bars(bars)]


def wilder(bars: pd.DataFrame, since: int) -> pd.DataFrame:
    """The same bars, their moves ten times as wide from a row on."""
    bars = bars.copy()
    first = bars["close"].iloc[since]
    for name in ("open", "high", "low", "close"):
        column = bars.columns.get_loc(name)
        bars.iloc[since:, column] = first * (bars[name].iloc[since:] / first) ** 10
    return bars


def reports(desk: DriftDesk, each: Sequence[Scored]) -> list[DriftReport]:
    return [report for one in each for report in desk.take([one])]


def with_limit(bundle: ModelBundle, shortfall: float) -> ModelBundle:
    """The bundle, alarmed by nothing but a likelihood so far below the training's."""
    reference = bundle.drift
    assert reference is not None
    limits = Reading(np.full(len(reference.names), np.inf), np.inf, shortfall)
    return replace(bundle, drift=replace(reference, limits=limits))


def test_a_report_comes_every_quarter_of_an_hour_and_at_once_with_an_alarm(
    bundle: ModelBundle,
) -> None:
    heard: list[DriftReport] = []
    desk = DriftDesk(heard.append)
    bars = simulate_market("2024-03-01", 1300, seed=2).bars
    all_scored = scored(bundle, wilder(bars, 900))
    without = with_limit(bundle, np.inf)
    desk.begin(without, bars.iloc[:0], all_scored[:600])
    usual = max(report.shortfall for report in reports(desk, all_scored[600:900]))
    bundle = with_limit(bundle, 1.05 * usual)
    desk.begin(bundle, bars.iloc[:0], all_scored[:600])
    calm = reports(desk, all_scored[600:900])
    assert len(calm) == 20
    assert all(report.alarms == () and report.is_full for report in calm)
    alarming = reports(desk, all_scored[900:])
    first = next(report for report in alarming if report.alarms)
    before = [report for report in alarming if report.open_time < first.open_time]
    minutes = (first.open_time - (before or calm)[-1].open_time) // 60_000_000
    assert 0 < minutes <= 15
    desk.speak()
    desk.speak()
    assert heard == [first]
    assert "unlike any day of the training" in told(first).text


def test_stored_bars_before_the_kept_ones_fill_the_window(bundle: ModelBundle) -> None:
    desk, alone = DriftDesk(), DriftDesk()
    bars = simulate_market("2024-03-01", 900, seed=2).bars
    kept = scored(bundle, bars.iloc[700:])
    desk.begin(bundle, bars.iloc[:700], kept[:150])
    alone.begin(bundle, bars.iloc[:0], kept[:150])
    (filled, *_), (short, *_) = (reports(each, kept[150:]) for each in (desk, alone))
    assert bundle.drift is not None
    assert filled.n_bars == bundle.drift.window > short.n_bars
    assert told(short).n_bars == short.n_bars


def test_a_bundle_without_a_reference_is_not_watched(bundle: ModelBundle) -> None:
    desk = DriftDesk()
    each = scored(bundle, simulate_market("2024-03-01", 300, seed=2).bars)
    assert desk.take(each) == []
    desk.begin(replace(bundle, drift=None), pd.DataFrame(), each)
    assert desk.take(each) == []


def test_a_listener_that_fails_is_told_and_hears_of_the_next(bundle: ModelBundle) -> None:
    calls: list[DriftReport] = []

    def fail(report: DriftReport) -> None:
        calls.append(report)
        raise RuntimeError("on purpose")

    desk = DriftDesk(fail)
    bars = wilder(simulate_market("2024-03-01", 1200, seed=2).bars, 600)
    all_scored = scored(bundle, bars)
    desk.begin(bundle, pd.DataFrame(), all_scored[:600])
    reports(desk, all_scored[600:])
    with pytest.raises(MicrostreamError, match="drift could not be answered: on purpose"):
        desk.speak()
    desk.speak()
    assert len(calls) == 1
