"""Drift from the training: both faces agree, limits hold on the training, shifts are noticed."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.bundle import ModelBundle
from microstream_lab.drift import DriftWatch, drift_from_signals, drift_window
from microstream_lab.engine import Engine
from microstream_lab.errors import BundleMismatchError
from microstream_lab.market.simulate import simulate_market
from microstream_lab.models.drift import DriftWindow, learn_drift, stability_index
from microstream_lab.schema import iter_bars
from microstream_lab.training import train_bundle


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return train_bundle(simulate_market("2024-02-01", 3000, seed=1).bars, n_jobs=1)


@pytest.fixture(scope="module", params=["liquidity", "seed"])
def either(request: pytest.FixtureRequest, bundle: ModelBundle) -> ModelBundle:
    """The default recipe, and the plain one with a Gaussian HMM."""
    if request.param == "liquidity":
        return bundle
    return train_bundle(simulate_market("2024-02-01", 3000, seed=1).bars, "seed", n_starts=1)


def test_stability_index_is_that_of_a_plain_loop() -> None:
    counts, shares = [30, 0, 70], [0.2, 0.3, 0.5]
    found = [(n + 0.5) / 101.5 for n in counts]
    expected = sum((q - p) * math.log(q / p) for q, p in zip(found, shares, strict=True))
    assert stability_index(np.array([counts]), np.array([shares]))[0] == pytest.approx(expected)


def test_one_signal_at_a_time_and_all_at_once_agree_through_holes(either: ModelBundle) -> None:
    bars = simulate_market("2024-03-01", 1400, seed=2).bars
    bars = bars.drop(bars.index[[300, 301, 700]])
    engine, watch = Engine(either), DriftWatch(either)
    reports = [watch.update(engine.update(bar)) for bar in iter_bars(bars)]
    told = [report for report in reports if report is not None]
    batch = drift_from_signals(either, either.signals(bars))
    assert either.drift is not None
    assert len(batch) == len(told) > either.drift.window
    assert [report.open_time for report in told] == batch.index.as_unit("us").asi8.tolist()
    assert [report.n_bars for report in told] == batch["n_bars"].tolist()
    assert [report.alarms for report in told] == batch["alarms"].tolist()
    for name in either.drift.names:
        live = [report.features[name] for report in told]
        np.testing.assert_allclose(live, batch[name], atol=1e-9)
    np.testing.assert_allclose([report.regimes for report in told], batch["regimes"], atol=1e-9)
    np.testing.assert_allclose([r.shortfall for r in told], batch["shortfall"], atol=1e-9)


def test_psi_of_a_window_is_that_of_its_rows_alone(bundle: ModelBundle) -> None:
    bars = simulate_market("2024-03-01", 1400, seed=2).bars
    signals = bundle.signals(bars)
    reference = bundle.drift
    assert reference is not None
    rows = signals[signals["regime"] >= 0].iloc[-reference.window :]
    last = drift_from_signals(bundle, signals).iloc[-1]
    for name, edges, shares in zip(reference.names, reference.edges, reference.shares, strict=True):
        counts = np.histogram(rows[name], [-np.inf, *np.nextafter(edges, -np.inf), np.inf])[0]
        assert last[name] == pytest.approx(stability_index(counts[None], shares[None])[0], abs=1e-9)


def test_filling_is_the_same_as_updating(bundle: ModelBundle) -> None:
    bars = simulate_market("2024-03-01", 900, seed=2).bars
    engine, one, filled = Engine(bundle), DriftWatch(bundle), DriftWatch(bundle)
    for bar in iter_bars(bars):
        one.update(engine.update(bar))
    filled.fill(bundle.signals(bars[:500]))
    filled.fill(bundle.signals(bars))
    mine, other = (watch.report("sim", "SIMUSDT") for watch in (one, filled))
    assert (mine.n_bars, mine.open_time, mine.alarms) == (
        other.n_bars,
        other.open_time,
        other.alarms,
    )
    assert mine.features == pytest.approx(other.features, abs=1e-9)


def test_the_training_itself_is_no_drift(either: ModelBundle) -> None:
    bars = simulate_market("2024-02-01", 3000, seed=1).bars
    drift = drift_from_signals(either, either.signals(bars))
    assert either.drift is not None
    by_half = drift.iloc[either.drift.window - 1 :: either.drift.window // 2]
    assert len(by_half) >= 6
    assert by_half["alarms"].map(len).max() == 0


def test_a_market_of_another_kind_is_noticed_once_the_window_is_full(bundle: ModelBundle) -> None:
    """Ranges and moves ten times as wide, as on no day of the training."""
    calm = simulate_market("2024-03-01", 1600, seed=2).bars
    wild = calm.copy()
    first = calm["open"].iloc[0]
    for name in ("open", "high", "low", "close"):
        wild[name] = first * (calm[name] / first) ** 10
    drift = drift_from_signals(bundle, bundle.signals(wild))
    full = drift[drift["n_bars"] == drift["n_bars"].max()]
    assert drift["alarms"].iloc[: len(drift) - len(full)].map(len).max() == 0
    assert "range" in full["alarms"].iloc[-1]
    assert "likelihood" in full["alarms"].iloc[-1]


def test_what_is_remembered_does_not_grow(bundle: ModelBundle) -> None:
    assert bundle.drift is not None
    window, rng = DriftWindow(bundle.drift), np.random.default_rng(0)
    size = len(bundle.drift.names)
    sizes = []
    for _ in range(3):
        for _ in range(bundle.drift.window):
            window.add(rng.normal(size=size), 1, 0.0)
        sizes.append(len(pickle.dumps(window)))
    assert sizes[0] == sizes[1] == sizes[2]
    assert window.n_rows == bundle.drift.window


def test_signals_out_of_order_or_without_a_regime_change_nothing(bundle: ModelBundle) -> None:
    bars = simulate_market("2024-03-01", 300, seed=2).bars
    engine, watch = Engine(bundle), DriftWatch(bundle)
    signals = [engine.update(bar) for bar in iter_bars(bars)]
    assert watch.update(signals[0]) is None  # warming up, no regime
    assert watch.update(signals[-1]) is not None
    assert watch.update(signals[-1]) is None
    assert watch.update(signals[-2]) is None
    assert watch.report("sim", "SIMUSDT").n_bars == 1


def test_a_training_too_short_for_windows_of_its_own_raises_no_alarm() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 1))
    few = learn_drift(("x",), rows, np.zeros(7, np.int8), np.zeros(7), 1, 1440)
    assert few.window == 1
    assert json.dumps(few.describe())


def test_a_bundle_without_a_reference_is_refused_and_its_card_says_so(bundle: ModelBundle) -> None:
    old = replace(bundle, drift=None)
    assert old.describe()["drift"] is None
    with pytest.raises(BundleMismatchError, match="found nothing to tell drift by"):
        DriftWatch(old)
    with pytest.raises(BundleMismatchError, match="found nothing to tell drift by"):
        drift_from_signals(old, pd.DataFrame())
    assert json.dumps(bundle.describe()["drift"], allow_nan=False)


def test_the_clock_is_not_watched_and_a_window_is_a_day(bundle: ModelBundle) -> None:
    assert bundle.drift is not None
    assert "time_of_week" in bundle.features
    assert "time_of_week" not in bundle.drift.names
    assert [drift_window(interval) for interval in ("1m", "1h", "1s")] == [1440, 96, 10_000]
    assert train_bundle(make_bars(800), "seed", n_starts=1).drift is not None
