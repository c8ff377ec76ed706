"""One compiled call a bar, beside the parts it stands for, one after another."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from math import nan

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.bundle import ModelBundle
from microstream_lab.engine import Engine
from microstream_lab.errors import DataError
from microstream_lab.features import (
    FEATURE_SETS,
    FEATURES,
    Feature,
    FeatureState,
    Range,
    register,
)
from microstream_lab.features.row import FeatureRow
from microstream_lab.features.stepping import advance
from microstream_lab.schema import Bar, contiguous_runs, iter_bars
from microstream_lab.stepper import Stepper
from microstream_lab.training import DEFAULT_FEATURE_SET, train_bundle

COMPILED = sorted(name for name in FEATURES if FEATURES[name]().form())


@pytest.fixture(scope="module", params=sorted({"seed", DEFAULT_FEATURE_SET}))
def bundle(request: pytest.FixtureRequest) -> ModelBundle:
    return train_bundle(make_bars(3000, seed=1), request.param, n_starts=1)


class Own(Feature):
    """A user's own: half the last bar's volume, forgotten at a gap."""

    name = "own_volume"
    unit = "base"
    warm_up = 1
    _last = nan

    def batch(self, bars: pd.DataFrame) -> np.ndarray:
        return (bars["volume"] / 2).shift().to_numpy()

    def update(self, bar: Bar) -> float:
        told, self._last = self._last, bar.volume / 2
        return told


@pytest.fixture
def own() -> Iterator[str]:
    register(Own)
    yield Own.name
    del FEATURES[Own.name]


def holed(n: int = 400, seed: int = 2) -> pd.DataFrame:
    """Bars with holes, a halt of half an hour, and prices that stood still."""
    bars = make_bars(n, seed)
    halt = bars.index[250:285]
    bars.loc[halt, ["volume", "quote_volume", "trades"]] = 0
    bars.loc[halt, ["open", "high", "low", "close"]] = bars.loc[halt[0], "close"]
    keep = np.ones(n, bool)
    keep[[30, 120]] = False
    keep[150:190] = False
    return bars[keep]


def rows_of(names: list[str] | tuple[str, ...], bars: list[Bar]) -> np.ndarray:
    """Features as the compiled loop tells them, those without a form beside it."""
    features, steps = FeatureRow(names, 20, bars[0].interval), [0] * len(bars)
    rows = np.full((len(bars), len(names)), nan)
    for number, bar in enumerate(bars):
        steps[number] = features.steps_to(bar)
        features.update_plain(bar, steps[number], rows[number])
        prices = bar.open_time, bar.open, bar.high, bar.low, bar.close
        numbers = (*prices, bar.volume, bar.quote_volume, float(bar.trades))
        advance(numbers, steps[number], features.forms, features.memory, rows[number])
    return rows


def plain_rows(names: list[str] | tuple[str, ...], bars: list[Bar]) -> np.ndarray:
    state = FeatureState(names)
    return np.array([list(state.update(bar).values()) for bar in bars])


def test_every_feature_of_the_named_sets_has_a_compiled_form() -> None:
    assert {name for names in FEATURE_SETS.values() for name in names} <= set(COMPILED)


@pytest.mark.parametrize("interval", ["1s", "1m", "1h"])
def test_compiled_forms_equal_the_features_own_updates_in_every_bit(interval: str) -> None:
    bars = list(iter_bars(make_bars(200, interval=interval)))
    bars = [bar for number, bar in enumerate(bars) if number not in {70, 140, 141, 142}]
    np.testing.assert_array_equal(rows_of(COMPILED, bars), plain_rows(COMPILED, bars))


def test_compiled_forms_equal_them_through_holes_halts_and_what_was_not_counted() -> None:
    bars = holed()
    bars["trades"] = bars["trades"].astype(float)
    bars.loc[bars.index[200:203], ["volume", "quote_volume", "trades"]] = nan
    records = list(iter_bars(bars))
    np.testing.assert_array_equal(rows_of(COMPILED, records), plain_rows(COMPILED, records))


def test_a_feature_without_a_form_is_updated_beside_the_others(own: str) -> None:
    names, bars = ("range", own, "mean_range_60", "roll_spread"), list(iter_bars(holed()))
    np.testing.assert_array_equal(rows_of(names, bars), plain_rows(names, bars))


def test_a_form_is_not_inherited_by_a_feature_that_may_be_another() -> None:
    class Tenfold(Range):
        def update(self, bar: Bar) -> float:
            return 10 * super().update(bar)

    assert Range().form() is not None
    assert Tenfold().form() is None


def test_one_call_equals_the_parts_one_after_another(bundle: ModelBundle) -> None:
    bars, state = holed(), FeatureState(bundle.features)
    tracker, twin = (bundle.regime_model.tracker(40) for _ in range(2))
    models = bundle.scaler, bundle.detector, tracker, bundle.stress_by_state
    features = FeatureRow(bundle.features, bundle.window, bundle.interval)
    stepper, n_unknown = Stepper(features, *models), 0
    for bar in iter_bars(bars):
        steps = state.steps_since_last(bar)
        row = np.array([list(state.update(bar).values())])
        told, regime = stepper.update(bar, features.steps_to(bar))
        scaled = bundle.scaler.transform(row)
        known = twin.track(scaled, np.array([steps]))
        n = len(bundle.features)
        np.testing.assert_array_equal(told[:n], row[0])
        np.testing.assert_allclose(told[n:-3], known.probs[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(told[-3], known.states[0] @ bundle.stress_by_state, rtol=1e-9)
        assert regime == known.regimes[0]
        if np.isnan(scaled).any():
            n_unknown += 1
            assert np.isnan(told[-1])
        else:
            assert told[-1] == bundle.detector.anomaly_score(scaled)[0]
    assert 0 < n_unknown < len(bars) - 100
    np.testing.assert_allclose(tracker.state, twin.state, rtol=1e-9, atol=1e-12)


def test_an_engine_with_a_feature_of_the_users_own_tells_what_history_tells(own: str) -> None:
    mixed = train_bundle(make_bars(2000, seed=1), ("log_return", own, "range"), n_starts=1)
    bars = holed()
    engine, told = Engine(mixed), mixed.signals(bars)
    for number, bar in enumerate(iter_bars(bars)):
        if number == 130:
            engine = Engine.resume(mixed, engine.snapshot())
        signal = engine.update(bar)
        assert signal.features[own] == pytest.approx(told[own].iloc[number], rel=0, nan_ok=True)
        assert signal.anomaly_score == pytest.approx(
            told["anomaly_score"].iloc[number], rel=1e-12, nan_ok=True
        )
        assert signal.regime == told["regime"].iloc[number]
    after_gaps = [run.start for run in contiguous_runs(bars)]
    assert told[own].iloc[after_gaps].isna().all()


def test_whole_numbers_in_a_bar_are_as_good_as_floats(bundle: ModelBundle) -> None:
    bar = next(iter_bars(make_bars(1)))
    whole = Bar(bar.symbol, "1m", bar.open_time, 100, 102, 99, 101, 7, 700, 12, 3, 300)
    same = Bar(bar.symbol, "1m", bar.open_time, 100.0, 102.0, 99.0, 101.0, 7.0, 700.0, 12, 3.0, 300)
    assert repr(Engine(bundle).update(whole)) == repr(Engine(bundle).update(same))


def test_what_an_engine_remembers_stays_small(bundle: ModelBundle) -> None:
    engine = Engine(bundle)
    for bar in iter_bars(make_bars(300)):
        engine.update(bar)
    assert len(pickle.dumps(engine.snapshot())) < 4000


def test_memory_of_features_that_remembered_something_else_is_refused() -> None:
    row = FeatureRow(("relative_volume",), 20, "1m")
    with pytest.raises(DataError, match="features snapshot"):
        row.restore(FeatureRow(("relative_volume",), 30, "1m").snapshot())
    assert not row.memory.any()
