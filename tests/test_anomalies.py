"""Injected anomalies, their rivals and their scoring, against independent oracles."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import make_bars
from sklearn.metrics import average_precision_score

from microstream_lab.engine import Engine
from microstream_lab.errors import DataError, SettingsError
from microstream_lab.features import features_from_bars
from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.reference import ScoreReference
from microstream_lab.recipe import make_detector
from microstream_lab.research.anomalies import anomaly_table, standings
from microstream_lab.research.anomaly_rivals import (
    SURPRISES,
    HalfSpaceTrees,
    RobustZ,
    contestants,
)
from microstream_lab.research.detection import (
    AFTERMATH,
    alarms_at,
    average_precision,
    judged_bars,
)
from microstream_lab.research.half_space import half_space_scores
from microstream_lab.research.injections import KINDS, STRENGTHS, inject
from microstream_lab.schema import BAR_VALUES, iter_bars, require_bars
from microstream_lab.store import Store
from microstream_lab.training import train_bundle

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return make_bars(4000, seed=3)


class TestInjections:
    @EVERY_KIND
    @pytest.mark.parametrize("strength", STRENGTHS)
    def test_bars_stay_valid_and_others_untouched(
        self, bars: pd.DataFrame, kind: str, strength: str
    ) -> None:
        before = bars.copy()
        injected = inject(bars, kind, strength, 12, seed=4)
        pd.testing.assert_frame_equal(bars, before)
        after, outside = require_bars(injected.bars), injected.events < 0
        pd.testing.assert_frame_equal(after[outside], bars[outside])
        bodies = after[["open", "close"]]
        assert (after["low"] <= bodies.min(axis=1) + 1e-9).all()
        assert (after["high"] >= bodies.max(axis=1) - 1e-9).all()
        assert (after["low"] > 0).all()
        assert (after[list(BAR_VALUES)] >= 0).all(axis=None)
        assert (after["taker_buy_base"] <= after["volume"] + 1e-9).all()
        assert (after["taker_buy_quote"] <= after["quote_volume"] * (1 + 1e-9)).all()
        assert (after.dtypes == bars.dtypes).all()

    @EVERY_KIND
    def test_a_seed_repeats_and_another_does_not(self, bars: pd.DataFrame, kind: str) -> None:
        one, two, other = (inject(bars, kind, seed=seed) for seed in (1, 1, 2))
        pd.testing.assert_frame_equal(one.bars, two.bars)
        np.testing.assert_array_equal(one.events, two.events)
        assert (one.events != other.events).any()

    @EVERY_KIND
    def test_every_part_of_the_series_has_one_event(self, bars: pd.DataFrame, kind: str) -> None:
        injected = inject(bars, kind, n_events=10)
        starts = [np.flatnonzero(injected.events == number)[0] for number in range(10)]
        assert injected.n_events == 10
        assert [start // 400 for start in starts] == list(range(10))

    def test_each_kind_is_what_its_name_says(self, bars: pd.DataFrame) -> None:
        ranges = np.log(bars["high"] / bars["low"])

        def hit(kind: str) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
            injected = inject(bars, kind, "severe", 12, seed=4)
            rows = injected.events >= 0
            return injected.bars[rows], bars[rows], injected.events[rows]

        crash, calm, number = hit("flash crash")
        for event in range(12):
            own = number == event
            usual = ranges.rolling(60).mean().shift().loc[crash.index[own][0]]
            fall = np.log(crash["open"][own].iloc[0] / crash["low"][own].min())
            assert fall > 12 * usual
            assert crash["close"][own].iloc[-1] == pytest.approx(calm["close"][own].iloc[-1])
        assert (crash["volume"] > 5 * calm["volume"]).all()
        void, calm, _ = hit("liquidity void")
        assert (void["volume"] < 0.1 * calm["volume"]).all()
        assert (void["high"] - void["low"]).sum() > 1.5 * (calm["high"] - calm["low"]).sum()
        print_, calm, _ = hit("fat finger")
        pd.testing.assert_series_equal(print_["volume"], calm["volume"])
        pd.testing.assert_series_equal(print_["close"], calm["close"])
        assert ((print_["high"] > calm["high"]) != (print_["low"] < calm["low"])).all()
        stall, _, number = hit("stalled feed")
        assert (stall[["volume", "trades", "quote_volume"]] == 0).all(axis=None)
        assert (stall["high"] == stall["low"]).all()
        assert (np.bincount(number) >= 7).all()

    def test_unknown_kinds_and_crowded_series_are_refused(self, bars: pd.DataFrame) -> None:
        with pytest.raises(SettingsError, match="found 'earthquake'"):
            inject(bars, "earthquake")
        with pytest.raises(DataError, match="for 100 events"):
            inject(bars, "fat finger", n_events=100)

    def test_no_event_is_near_a_missing_bar(self, bars: pd.DataFrame) -> None:
        holed = bars.drop(bars.index[500:1500:100])
        injected = inject(holed, "stalled feed", n_events=3)
        starts = np.flatnonzero(np.diff(injected.events, prepend=-1) > 0)
        times = holed.index.as_unit("us").asi8
        assert len(starts) == 3
        assert all(times[s + 24] - times[s - 60] == 84 * 60_000_000 for s in starts)


class TestScoring:
    def test_average_precision_is_scikit_learns_ties_included(self) -> None:
        rng = np.random.default_rng(0)
        events = np.full(500, -1)
        events[::25] = np.arange(20)
        scores = np.round(rng.normal(size=500) + (events >= 0), 1)
        found = average_precision(scores, events)
        assert found.value == pytest.approx(average_precision_score(events >= 0, scores))
        assert found.low < found.value < found.high

    def test_a_detector_that_never_decides_gets_the_base_rate(self) -> None:
        events = np.full(1000, -1)
        events[:100] = np.arange(100)
        assert average_precision(np.zeros(1000), events).value == pytest.approx(0.1)
        assert alarms_at(np.zeros(1000), events, 5).detected == 0

    def test_alarms_are_counted_by_event_and_delays_from_its_first_bar(self) -> None:
        events = np.full(100, -1)
        events[10:15], events[50:55], events[80:85] = 0, 1, 2
        scores = np.zeros(100)
        scores[[3, 12, 13, 50]] = 0.5, 0.9, 0.9, 0.7
        assert alarms_at(scores, events, 0) == (2 / 3, 1.0)
        scores[4] = 0.8
        assert alarms_at(scores, events, 0) == (1 / 3, 2.0)
        assert alarms_at(scores, events, 1) == (2 / 3, 1.0)

    def test_the_aftermath_counts_neither_way(self) -> None:
        events = np.full(40, -1)
        events[5:8] = 0
        judged = judged_bars(events)
        np.testing.assert_array_equal(np.flatnonzero(~judged), np.arange(8, 8 + AFTERMATH))


class TestRivals:
    def test_robust_z_is_its_formula_and_causal(self, bars: pd.DataFrame) -> None:
        scores = RobustZ(window=30).scores(bars)
        t, volume = 200, bars["volume"].to_numpy()
        medians = np.array([np.median(volume[s - 30 : s]) for s in range(t - 30, t + 1)])
        deviations = np.abs(volume[t - 30 : t + 1] - medians)
        volume_z = deviations[-1] / (1.4826 * np.median(deviations[:-1]))
        assert scores[t] >= volume_z * (1 - 1e-12)
        loud = bars.copy()
        loud.loc[loud.index[t], "volume"] = 1e6
        deviation = (1e6 - medians[-1]) / (1.4826 * np.median(deviations[:-1]))
        assert RobustZ(window=30).scores(loud)[t] == pytest.approx(deviation)
        for rival in (RobustZ(window=30), RobustZ.fit(bars[:1000], logs=True)):
            np.testing.assert_array_equal(rival.scores(bars[:300]), rival.scores(bars)[:300])

    def test_half_space_trees_equal_a_plain_walk_down_each_tree(self) -> None:
        rows = np.random.default_rng(0).normal(size=(120, 2))
        ranges = rows.min(axis=0), rows.max(axis=0)
        options = {"n_trees": 3, "depth": 4, "window": 40, "seed": 5}
        scores = half_space_scores(rows, *ranges, **options)
        assert np.isnan(scores[:40]).all()
        np.testing.assert_allclose(scores[40:], plain_half_space(rows, *ranges, **options)[40:])

    def test_half_space_trees_find_a_row_where_nothing_was(self) -> None:
        rows = np.random.default_rng(0).normal(size=(600, 3))
        rows[550] = 8.0
        scores = half_space_scores(rows, np.full(3, -4.0), np.full(3, 4.0))
        assert np.nanargmax(scores) == 550

    def test_half_space_scores_are_causal_and_bars_without_features_have_none(
        self, bars: pd.DataFrame
    ) -> None:
        trees = HalfSpaceTrees.fit(bars[:2000], features="seed")
        scores = trees.scores(bars)
        np.testing.assert_array_equal(trees.scores(bars[:3000]), scores[:3000])
        assert np.isnan(scores[:19]).all()

    def test_contestants_can_be_sent_to_another_process(self) -> None:
        for name, trainer in contestants().items():
            assert callable(pickle.loads(pickle.dumps(trainer))), name


def plain_half_space(rows, low, high, n_trees, depth, window, seed):  # type: ignore[no-untyped-def]
    """The paper's algorithm, a recursion over boxes."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(0, rows.shape[1], (n_trees, 2 ** (depth + 1) - 1))
    totals = np.zeros(len(rows))
    for tree in range(n_trees):
        middle = rng.random(rows.shape[1])
        reach = 2 * np.maximum(middle, 1 - middle)
        box = np.array([low + (high - low) * (middle + way * reach) for way in (-1, 1)])
        for t in range(window, len(rows)):
            begin = t // window * window
            known = rows[begin - window : begin]
            totals[t] -= mass_at(rows[t], known, box, sides[tree], depth, 0.1 * window)
    return totals / n_trees


def mass_at(row, known, box, sides, depth, least):  # type: ignore[no-untyped-def]
    """Mass times two to the depth at the node where `row` ends."""
    node, box = 0, box.copy()
    for level in range(depth + 1):
        if level == depth or len(known) <= least:
            return len(known) * 2.0**level
        side = sides[node]
        split = box[:, side].mean()
        right = row[side] >= split
        known = known[(known[:, side] >= split) == right]
        box[int(not right), side] = split
        node = 2 * node + 1 + int(right)
    raise AssertionError("unreachable")


class TestReference:
    def test_quantile_is_the_share_of_the_reference_that_scored_no_higher(self) -> None:
        scores = np.random.default_rng(0).normal(size=5000)
        reference = ScoreReference.of(scores)
        asked = np.linspace(-3, 3, 301)
        share = (scores <= asked[:, None]).mean(axis=1)
        np.testing.assert_allclose(reference.quantiles(asked), share, atol=1e-3)
        assert (np.diff(reference.quantiles(np.sort(asked))) >= 0).all()

    def test_one_score_gives_what_it_gives_among_many(self) -> None:
        rng = np.random.default_rng(0)
        scores = np.round(rng.normal(size=900), 2)  # ties
        reference = ScoreReference.of(scores)
        asked = np.concatenate([scores, rng.normal(size=500), [-99.0, 99.0, np.nan, scores.max()]])
        one_by_one = [reference.quantile(float(score)) for score in asked]
        np.testing.assert_array_equal(one_by_one, reference.quantiles(asked))
        many, again = np.resize(asked, 5000), np.resize(one_by_one, 5000)  # by buckets
        np.testing.assert_array_equal(again, reference.quantiles(many))

    def test_many_scores_beside_a_reference_of_one_value(self) -> None:
        reference = ScoreReference.of(np.full(10, 0.5))
        asked = np.resize([0.4, 0.5, 0.6], 6000)
        one_by_one = [reference.quantile(x) for x in asked[:3]]
        np.testing.assert_array_equal(reference.quantiles(asked), np.resize(one_by_one, 6000))

    def test_beyond_the_reference_is_nought_or_one(self) -> None:
        reference = ScoreReference.of(np.array([1.0, 2.0, 3.0]))
        assert [reference.quantile(x) for x in (0.0, 3.0, 9.0)] == [0.0, 1.0, 1.0]

    def test_a_reference_that_is_not_known_gives_no_quantile(self) -> None:
        unknown = ScoreReference(np.empty(0))
        assert np.isnan(unknown.quantile(0.5))
        assert np.isnan(unknown.quantiles(np.array([0.5, 0.6]))).all()


class TestDetector:
    def test_sentinels_tell_what_is_beyond_training_from_its_extreme(self) -> None:
        rows = np.random.default_rng(0).normal(size=(5000, 3))
        rows[:, 2] = 0.0
        edge, beyond = rows[[rows[:, 0].argmax()]], rows[[rows[:, 0].argmax()]] + [[3.0, 0, 0]]
        plain = AnomalyDetector(random_state=0).fit(rows)
        watched = AnomalyDetector(random_state=0, sentinels=0.15).fit(rows)
        assert plain.anomaly_score(edge) == plain.anomaly_score(beyond)
        assert watched.anomaly_score(edge) < watched.anomaly_score(beyond)

    def test_threshold_and_quantiles_are_those_of_the_training_rows_alone(self) -> None:
        rows = np.random.default_rng(0).normal(size=(5000, 3))
        detector = AnomalyDetector(0.05, random_state=0, sentinels=0.15).fit(rows)
        assert (detector.anomaly_score(rows) > detector.threshold_).mean() == pytest.approx(0.05)
        quantiles = detector.anomaly_quantile(rows)
        assert quantiles.mean() == pytest.approx(0.5, abs=2e-3)
        again = AnomalyDetector(0.05, random_state=0, sentinels=0.15).fit(rows)
        np.testing.assert_array_equal(again.anomaly_quantile(rows), quantiles)

    def test_one_of_before_there_were_quantiles_still_scores(self) -> None:
        rows = np.random.default_rng(0).normal(size=(500, 2))
        detector = AnomalyDetector(random_state=0).fit(rows)
        state = detector.__getstate__()
        del state["sentinels"], state["reference_"]
        old = AnomalyDetector.__new__(AnomalyDetector)
        old.__setstate__(state)
        np.testing.assert_array_equal(old.anomaly_score(rows), detector.anomaly_score(rows))
        assert np.isnan(old.anomaly_quantile(rows)).all()

    def test_default_detector_looks_at_surprises_alone(self, bars: pd.DataFrame) -> None:
        names = features_from_bars(bars, "liquidity").columns
        detector = make_detector(list(names), {"contamination": 0.05, "seed": 0})
        assert tuple(names[list(detector.columns or ())]) == SURPRISES

    def test_signals_tell_the_quantile_in_both_faces(self, bars: pd.DataFrame) -> None:
        bundle = train_bundle(bars[:2500], n_starts=1)
        signals, engine = bundle.signals(bars), Engine(bundle)
        live = [engine.update(bar).anomaly_quantile for bar in iter_bars(bars)]
        np.testing.assert_array_equal(np.isnan(live), signals["anomaly_score"].isna())
        np.testing.assert_allclose(live, signals["anomaly_quantile"], rtol=0, atol=1e-12)
        trained = signals["anomaly_quantile"][:2500].dropna()
        assert trained.quantile([0.25, 0.95]).tolist() == pytest.approx([0.25, 0.95], abs=2e-3)

    def test_the_store_keeps_signals_and_takes_the_quantile_for_no_feature(
        self, bars: pd.DataFrame, tmp_path: Path
    ) -> None:
        bundle = train_bundle(bars[:2500], "seed", n_starts=1)
        store, signals = Store(tmp_path / "store.duckdb"), bundle.signals(bars[:300])
        series = {"symbol": "BTCUSDT", "interval": "1m"}
        store.write_signals(signals, bundle.bundle_id, **series)
        engine = Engine(bundle)
        again = store.write_signals([engine.update(bar) for bar in iter_bars(bars[:300])])
        assert again.unchanged == 300
        kept = store.signals(**series)
        assert set(signals.columns) - set(kept.columns) == {"anomaly_quantile"}


class TestStudy:
    def test_the_default_beats_the_rolling_z_on_every_kind(self, bars: pd.DataFrame) -> None:
        rivals = {name: contestants()[name] for name in ("default", "robust z")}
        table = anomaly_table(bars, bars.index[2500], rivals, n_events=10, strengths=["severe"])
        wide = standings(table)
        assert list(wide.columns) == ["default", "robust z"]
        assert list(wide.index.get_level_values("kind")) == list(KINDS)
        assert (wide["default"] > wide["robust z"]).all()
        assert (
            table[["precision", "detected, 1 a day"]]
            .apply(lambda x: x.between(0, 1))
            .all(axis=None)
        )

    def test_same_seed_same_table(self, bars: pd.DataFrame) -> None:
        fit = partial(HalfSpaceTrees.fit, features="seed")
        tables = [
            anomaly_table(bars, "2024-01-02 18:00", {"trees": fit}, n_events=8, strengths=["mild"])
            for _ in range(2)
        ]
        pd.testing.assert_frame_equal(*tables)
