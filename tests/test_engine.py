"""A bar becomes the same signal live and in history, and knows nothing of later bars."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
from factories import make_bars, make_states
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.bundle import ModelBundle
from microstream_lab.engine import Engine
from microstream_lab.errors import BundleMismatchError, DataError, FitError, SettingsError
from microstream_lab.models.levels import LevelModel
from microstream_lab.outcomes import forward_log_volatility
from microstream_lab.schema import iter_bars
from microstream_lab.training import bars_hash, train_bundle


@pytest.fixture(scope="module", params=["seed", "liquidity"])
def bundle(request: pytest.FixtureRequest) -> ModelBundle:
    return train_bundle(make_bars(2500, seed=1), request.param, n_starts=3)


@pytest.fixture(scope="module")
def seed_bundle() -> ModelBundle:
    return train_bundle(make_bars(2500, seed=1), "seed", n_starts=3)


def holed(n: int = 400, seed: int = 2) -> pd.DataFrame:
    """Bars with a hole the filter predicts through and one after which it starts anew."""
    bars = make_bars(n, seed)
    keep = np.ones(n, bool)
    keep[50] = False
    keep[150:190] = False
    return bars[keep]


def streamed(bundle: ModelBundle, bars: pd.DataFrame) -> pd.DataFrame:
    engine = Engine(bundle)
    rows = []
    for bar in iter_bars(bars):
        signal = engine.update(bar)
        probs = {f"p_{k}": p for k, p in enumerate(signal.filtered_probs)}
        rows.append(
            {
                **signal.features,
                "anomaly_score": signal.anomaly_score,
                "is_anomaly": signal.is_anomaly,
                "regime": signal.regime,
                **probs,
                "expected_stress": signal.expected_stress,
                "anomaly_quantile": signal.anomaly_quantile,
            }
        )
    return pd.DataFrame(rows, index=bars.index).astype({"regime": np.int8})


def test_one_at_a_time_equals_history_on_every_bar(bundle: ModelBundle) -> None:
    bars = holed()
    pd.testing.assert_frame_equal(
        streamed(bundle, bars), bundle.signals(bars), check_exact=False, rtol=1e-12, atol=1e-12
    )


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(1, 359), seed=st.integers(0, 30))
def test_appending_bars_never_changes_an_earlier_signal(
    bundle: ModelBundle, cut: int, seed: int
) -> None:
    bars = holed(seed=seed)
    whole = bundle.signals(bars).iloc[:cut]
    pd.testing.assert_frame_equal(bundle.signals(bars.iloc[:cut]), whole, check_exact=True)


def test_signals_have_the_columns_and_ranges_of_the_contract(bundle: ModelBundle) -> None:
    bars = holed(2500, seed=1)
    signals = bundle.signals(bars)
    assert list(signals.columns) == [
        *bundle.features,
        "anomaly_score",
        "is_anomaly",
        "regime",
        "p_0",
        "p_1",
        "p_2",
        "expected_stress",
        "anomaly_quantile",
    ]
    assert signals.index.equals(bars.index)
    known = signals["regime"] >= 0
    probs = signals.loc[known, ["p_0", "p_1", "p_2"]]
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert signals.loc[known, "anomaly_score"].between(0, 1).all()
    assert set(signals.loc[known, "regime"]) == {0, 1, 2}


def test_a_bar_with_a_missing_feature_keeps_its_row_without_scores(
    seed_bundle: ModelBundle,
) -> None:
    signals = seed_bundle.signals(holed())
    unknown = signals[seed_bundle.features[2]].isna()
    assert unknown.sum() == 19 + 19 + 19
    assert (signals.loc[unknown, "regime"] == -1).all()
    scores = signals.loc[unknown, ["anomaly_score", "p_0", "p_1", "p_2", "expected_stress"]]
    assert scores.isna().all(axis=None)
    assert not signals.loc[unknown, "is_anomaly"].any()
    assert (signals.loc[~unknown, "regime"] >= 0).all()


@pytest.mark.parametrize(("n_missing", "predicted"), [(1, True), (20, True), (21, False)])
def test_a_hole_of_up_to_a_window_is_predicted_through(
    seed_bundle: ModelBundle, n_missing: int, predicted: bool
) -> None:
    bars = make_bars(400, seed=6)
    holed = bars.drop(bars.index[200 : 200 + n_missing])
    fresh = seed_bundle.signals(holed.iloc[200:])[["p_0", "p_1", "p_2"]].dropna()
    after = seed_bundle.signals(holed)[["p_0", "p_1", "p_2"]].loc[fresh.index]
    assert np.allclose(after.iloc[1], fresh.iloc[1], atol=1e-12, rtol=0) != predicted


def test_regimes_follow_the_market_that_made_the_bars(seed_bundle: ModelBundle) -> None:
    signals = seed_bundle.signals(make_bars(3000, seed=7))
    known = signals["regime"] >= 0
    assert (signals["regime"][known] == make_states(3000, 7)[known]).mean() > 0.85
    assert (np.diff(seed_bundle.stress_by_regime) > 0).all()


@pytest.mark.parametrize("n_regimes", [2, 4])
def test_any_number_of_regimes_works(n_regimes: int) -> None:
    bundle = train_bundle(make_bars(1500), n_regimes=n_regimes, n_starts=2)
    signals = bundle.signals(make_bars(300, seed=3))
    assert [c for c in signals if c.startswith("p_")] == [f"p_{k}" for k in range(n_regimes)]
    assert signals["regime"].max() < n_regimes == bundle.n_regimes


def test_bars_of_another_interval_are_refused(bundle: ModelBundle) -> None:
    five = make_bars(50, interval="5m")
    with pytest.raises(BundleMismatchError, match="found bars of 5m, expected 1m"):
        bundle.signals(five)
    with pytest.raises(BundleMismatchError, match="found bars of 5m"):
        Engine(bundle).update(next(iter_bars(five)))


def test_a_bar_that_came_already_is_refused_and_changes_nothing(bundle: ModelBundle) -> None:
    bars = list(iter_bars(make_bars(60, seed=4)))
    engine, twin = Engine(bundle), Engine(bundle)
    for bar in bars[:50]:
        engine.update(bar)
        twin.update(bar)
    with pytest.raises(DataError, match="later than"):
        engine.update(bars[49])
    assert repr(engine.update(bars[50])) == repr(twin.update(bars[50]))


def test_an_engine_goes_on_from_its_snapshot_as_if_it_had_never_stopped(
    bundle: ModelBundle,
) -> None:
    bars = list(iter_bars(holed()))
    engine = Engine(bundle)
    for bar in bars[:160]:
        engine.update(bar)
    snapshot = engine.snapshot()
    assert len(snapshot) < 5000
    resumed = Engine.resume(bundle, snapshot)
    for bar in bars[160:]:
        assert repr(resumed.update(bar)) == repr(engine.update(bar))


def test_a_snapshot_of_another_bundle_is_refused(bundle: ModelBundle) -> None:
    snapshot = Engine(bundle).snapshot()
    other = dataclasses.replace(bundle, bundle_id="spot-BTCUSDT-1m-other")
    with pytest.raises(BundleMismatchError, match="expected spot-BTCUSDT-1m-other"):
        Engine.resume(other, snapshot)


def test_history_in_parts_on_threads_equals_history_in_one(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = holed(700)
    whole = bundle.signals(bars)
    monkeypatch.setattr("microstream_lab.threads.PART_ROWS", 64)
    monkeypatch.setattr("microstream_lab.threads.cpu_count", lambda: 3)
    pd.testing.assert_frame_equal(bundle.signals(bars), whole, check_exact=True)


def test_smoothed_signals_know_later_bars_and_say_so_in_their_names(bundle: ModelBundle) -> None:
    bars = holed(600)
    smoothed = bundle.smoothed_signals(bars)
    assert list(smoothed.columns) == ["p_0_smoothed", "p_1_smoothed", "p_2_smoothed"]
    known = bundle.signals(bars)["regime"] >= 0
    assert smoothed[known].sum(axis=1).round(9).eq(1).all()
    earlier = bundle.smoothed_signals(bars.iloc[:-20])
    assert not smoothed.iloc[:-20].equals(earlier)


class TestTraining:
    def test_same_bars_and_options_give_the_same_bundle(self, bundle: ModelBundle) -> None:
        again = train_bundle(make_bars(2500, seed=1), bundle.feature_set, n_starts=3)
        assert again.bundle_id == bundle.bundle_id
        pd.testing.assert_frame_equal(
            again.signals(holed()), bundle.signals(holed()), check_exact=True
        )

    def test_every_option_and_every_bar_shows_in_the_id(self, seed_bundle: ModelBundle) -> None:
        bars = make_bars(2500, seed=1)
        spoilt = bars.copy()
        spoilt.loc[spoilt.index[7], "volume"] += 1
        train = partial(train_bundle, feature_set="seed", n_starts=1)
        others = [
            train(bars),
            train(spoilt),
            train(bars, seed=1),
            train(bars, window=10),
            train(bars, contamination=0.1),
            train(bars, feature_set="liquidity"),
            train(bars, feature_set="liquidity", regimes="hmm"),
            train(bars, feature_set="liquidity", regime_shares=(0.6, 0.3, 0.1)),
        ]
        ids = {seed_bundle.bundle_id, *(other.bundle_id for other in others)}
        assert len(ids) == 1 + len(others)
        assert bars_hash(spoilt) != bars_hash(bars)

    def test_the_artifact_tells_range_coverage_and_hash(self) -> None:
        bars = make_bars(1000).drop(index=make_bars(1000).index[100:200])
        trained = train_bundle(bars, n_starts=2)
        card = trained.describe()["training"]
        assert card["start"] == "2024-01-01T00:00:00+00:00"
        assert card["end"] == "2024-01-01T16:40:00+00:00"
        assert (trained.n_bars, trained.coverage) == (900, 0.9)
        assert card["data_hash"] == bars_hash(bars)

    def test_contamination_is_the_share_of_training_bars_flagged(self) -> None:
        bars = make_bars(2000)
        signals = train_bundle(bars, contamination=0.1, n_starts=1).signals(bars)
        known = signals["regime"] >= 0
        assert signals["is_anomaly"][known].mean() == pytest.approx(0.1, abs=0.002)

    def test_stress_rises_with_the_regime_and_is_measured_inside_the_range(self) -> None:
        bars = make_bars(2000, seed=5)
        trained = train_bundle(bars, n_starts=2)
        later = pd.concat([bars, make_bars(500, seed=9, start="2024-01-02T09:20")])
        later.loc[later.index[2000:], "close"] *= 3
        again = train_bundle(later.iloc[:2000], n_starts=2)
        np.testing.assert_array_equal(trained.stress_by_regime, again.stress_by_regime)
        np.testing.assert_array_equal(trained.stress_by_state, again.stress_by_state)

    def test_the_stress_of_a_regime_is_that_of_its_states(self, bundle: ModelBundle) -> None:
        levels = isinstance(bundle.regime_model, LevelModel)
        assert len(bundle.stress_by_state) == (12 if levels else 3)
        half = len(bundle.stress_by_state) // 2
        assert bundle.stress_by_state[-half:].min() > bundle.stress_by_state[:half].max()
        if not levels:
            np.testing.assert_array_equal(bundle.stress_by_state, bundle.stress_by_regime)

    def test_bars_held_in_one_regime_are_still_told_apart_by_their_stress(self) -> None:
        bars = make_bars(2500, seed=1)
        signals = train_bundle(bars).signals(bars)
        certain = signals[signals[["p_0", "p_1", "p_2"]].max(axis=1) > 0.9999]
        within = certain.groupby("regime")["expected_stress"]
        assert (within.std() > 0.01).all()
        outcome = forward_log_volatility(bars, 60)[certain.index]
        assert (certain["expected_stress"] - outcome).mean() == pytest.approx(0, abs=0.02)

    def test_an_older_bundle_expects_of_a_state_what_followed_its_regime(
        self, bundle: ModelBundle
    ) -> None:
        older = {k: v for k, v in bundle.__dict__.items() if k != "stress_by_state"}
        loaded = ModelBundle.__new__(ModelBundle)
        loaded.__setstate__(older)
        signals = loaded.signals(make_bars(1500, seed=3))
        known = signals[["p_0", "p_1", "p_2"]].to_numpy() @ bundle.stress_by_regime
        np.testing.assert_allclose(signals["expected_stress"], known, rtol=1e-12)

    def test_too_few_bars_are_refused(self) -> None:
        with pytest.raises(FitError, match="found 31 bars with all features, expected at least"):
            train_bundle(make_bars(50), "seed")

    def test_bars_never_followed_by_an_hour_without_a_gap_cannot_name_the_regimes(self) -> None:
        bars = make_bars(3000)
        with pytest.raises(FitError, match="found 0 bars that are followed by 60 bars"):
            train_bundle(bars.drop(bars.index[::50]), n_starts=1)

    def test_what_bars_never_define_is_left_out_and_told(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bars = make_bars(1500)
        bars["trades"] = 0
        trained = train_bundle(bars)
        assert "trained without trades_surprise" in caplog.text
        assert "trades_surprise" not in trained.features
        assert (trained.signals(bars)["regime"] >= 0).sum() > 1000

    def test_a_kind_of_regimes_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="found 'jump' with shares None, expected 'levels'"):
            train_bundle(make_bars(1000), regimes="jump")
        with pytest.raises(SettingsError, match="'hmm' without shares"):
            train_bundle(make_bars(1000), "seed", regime_shares=(0.5, 0.4, 0.1))

    def test_the_coming_hour_is_an_hour_at_every_interval(self) -> None:
        assert train_bundle(make_bars(400, interval="5m"), n_starts=1).stress_horizon == 12
        assert train_bundle(make_bars(400), n_starts=1).stress_horizon == 60

    def test_training_leaves_the_bars_alone(self) -> None:
        bars = make_bars(600)
        before = bars.copy(deep=True)
        train_bundle(bars, n_starts=1)
        pd.testing.assert_frame_equal(bars, before)
