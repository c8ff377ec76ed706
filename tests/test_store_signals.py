from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from factories import make_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.errors import DataError, StoreError
from microstream_lab.schema import Signal, as_micros
from microstream_lab.store import Store, WriteCounts

SERIES = {"symbol": "BTCUSDT", "interval": "1m"}


def make_signals(n: int = 50, n_regimes: int = 3, warm_up: int = 5, seed: int = 0) -> pd.DataFrame:
    """A frame laid out as a bundle makes it, its first rows without features."""
    rng = np.random.default_rng(seed)
    index = pd.DatetimeIndex(make_bars(n).index, name="open_time")
    probs = rng.dirichlet(np.ones(n_regimes), size=n)
    frame = pd.DataFrame(
        {
            "log_return": rng.normal(size=n),
            'a "quoted" one': rng.normal(size=n),
            "it's": rng.normal(size=n),
            "anomaly_score": rng.uniform(size=n),
            "is_anomaly": rng.random(n) < 0.1,
            "regime": probs.argmax(axis=1).astype(np.int8),
            **{f"p_{k}": probs[:, k] for k in range(n_regimes)},
            "expected_stress": rng.normal(size=n),
        },
        index=index,
    )
    frame.loc[index[:warm_up], frame.dtypes == np.float64] = np.nan
    frame.loc[index[:warm_up], "is_anomaly"] = False
    frame.loc[index[:warm_up], "regime"] = -1
    return frame


def as_records(signals: pd.DataFrame, bundle_id: str, revision: int = 0) -> list[Signal]:
    features = list(signals.columns[: list(signals.columns).index("anomaly_score")])
    probs = [name for name in signals.columns if name.startswith("p_")]
    return [
        Signal(
            "BTCUSDT",
            "1m",
            as_micros(time),
            bundle_id,
            {name: float(row[name]) for name in features},
            float(row["anomaly_score"]),
            bool(row["is_anomaly"]),
            int(row["regime"]),
            tuple(float(row[name]) for name in probs),
            float(row["expected_stress"]),
            revision,
        )
        for time, row in signals.iterrows()
    ]


@pytest.mark.parametrize("n_regimes", [2, 3, 12])
def test_signals_come_back_as_they_were_written(store: Store, n_regimes: int) -> None:
    signals = make_signals(n_regimes=n_regimes)
    assert store.write_signals(signals, "b1", **SERIES) == WriteCounts(rows=50, new=50)
    back = store.signals("BTCUSDT", "1m")
    pd.testing.assert_frame_equal(
        back.drop(columns=["bundle_id", "revision"]), signals, check_freq=False
    )
    assert set(back["bundle_id"]) == {"b1"}
    assert set(back["revision"]) == {0}


def test_records_and_frames_are_stored_alike(store: Store) -> None:
    signals = make_signals()
    store.write_signals(as_records(signals, "b1"))
    assert store.write_signals(signals, "b1", **SERIES).unchanged == 50
    back = store.signals("BTCUSDT", "1m").drop(columns=["bundle_id", "revision"])
    pd.testing.assert_frame_equal(back, signals, check_freq=False)


def test_signals_can_be_asked_with_sql(store: Store) -> None:
    signals = make_signals()
    store.write_signals(signals, "b1", **SERIES)
    answer = store.sql("SELECT avg(p[1]) AS p, avg(features['log_return']) AS r FROM signals")
    assert answer["p"][0] == pytest.approx(signals["p_0"].mean(), rel=1e-12)
    assert answer["r"][0] == pytest.approx(signals["log_return"].mean(), rel=1e-12)
    row = store.sql("SELECT features FROM signals ORDER BY open_time DESC LIMIT 1")["features"][0]
    assert list(row) == list(signals.columns[:3])


def test_a_recomputed_signal_stands_beside_the_one_that_was_live(store: Store) -> None:
    live, anew = make_signals(), make_signals()
    anew.loc[anew.index[40], "anomaly_score"] += 0.01
    store.write_signals(live, "b1", **SERIES)
    for _ in range(2):
        counts = store.write_signals(anew, "b1", **SERIES)
    assert counts == WriteCounts(rows=50, unchanged=50)
    first = store.signals("BTCUSDT", "1m", which="first")
    latest = store.signals("BTCUSDT", "1m")
    assert first["anomaly_score"].iloc[40] == live["anomaly_score"].iloc[40]
    assert latest["anomaly_score"].iloc[40] == anew["anomaly_score"].iloc[40]
    assert latest["revision"].tolist() == [int(row == 40) for row in range(50)]
    assert store.sql("SELECT count(*) AS n FROM signals")["n"][0] == 51


@pytest.mark.parametrize("column", ["log_return", "p_1", "expected_stress", "anomaly_score"])
def test_the_last_digits_do_not_make_a_new_signal_but_others_do(store: Store, column: str) -> None:
    signals = make_signals()
    store.write_signals(signals, "b1", **SERIES)
    nearly, other = signals.copy(), signals.copy()
    nearly[column] *= 1 + 1e-12
    other[column] += 1e-6
    assert store.write_signals(nearly, "b1", **SERIES).new == 0
    assert store.write_signals(other, "b1", **SERIES).new == 45


def test_a_signal_of_a_repaired_bar_keeps_its_revision_and_late_duplicates_are_dropped(
    store: Store,
) -> None:
    live, repaired = make_signals(seed=1, warm_up=0), make_signals(seed=2, warm_up=0)
    store.write_signals(as_records(live, "b1"))
    store.write_signals(as_records(repaired, "b1", revision=1))
    assert store.write_signals(as_records(live, "b1")).new == 0
    assert store.write_signals(as_records(repaired, "b1", revision=1)).new == 0
    back = store.signals("BTCUSDT", "1m")
    assert set(back["revision"]) == {1}
    np.testing.assert_array_equal(back["anomaly_score"], repaired["anomaly_score"])


def test_bundles_stand_side_by_side_and_the_last_to_write_is_shown(store: Store) -> None:
    store.write_signals(make_signals(50, 3), "b1", **SERIES)
    store.write_signals(make_signals(20, 2, seed=3), "b2", **SERIES)
    both = store.signals("BTCUSDT", "1m")
    assert both.index.is_unique
    assert both["bundle_id"].tolist() == ["b2"] * 20 + ["b1"] * 30
    assert both["p_2"].iloc[:20].isna().all()
    assert store.signals("BTCUSDT", "1m", bundle_id="b1")["bundle_id"].tolist() == ["b1"] * 50
    only = store.signals("BTCUSDT", "1m", bundle_id="b2")
    assert "p_2" not in only.columns


def test_signals_of_nothing_are_an_empty_frame(store: Store) -> None:
    store.write_signals(make_signals(), "b1", **SERIES)
    empty = store.signals("BTCUSDT", "1m", start="2030-01-01")
    assert empty.empty
    assert empty.index.name == "open_time"
    assert empty["regime"].dtype == np.int8
    assert store.write_signals([]) == WriteCounts()
    assert store.write_signals(make_signals().iloc[:0], "b1", **SERIES) == WriteCounts()


def test_a_signals_frame_without_its_bundle_or_columns_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="expected bundle_id, symbol and interval"):
        store.write_signals(make_signals())
    for name in ("anomaly_score", "regime", "p_1"):
        with pytest.raises(DataError, match="no column"):
            store.write_signals(make_signals().drop(columns=name), "b1", **SERIES)
    with pytest.raises(DataError, match="unsorted or doubled"):
        store.write_signals(make_signals().iloc[::-1], "b1", **SERIES)
    with pytest.raises(DataError, match="an index of int64"):
        store.write_signals(make_signals().reset_index(drop=True), "b1", **SERIES)
    assert not store.path.exists() or store.sql("SELECT * FROM signals").empty


@dataclass(frozen=True)
class Step:
    bundle: str
    first: int
    seed: int


@settings(max_examples=6, deadline=None)
@given(
    steps=st.lists(
        st.builds(Step, st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 2)),
        min_size=1,
        max_size=5,
    )
)
def test_what_was_first_stays_first_and_what_is_shown_was_written_last(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    store = Store(tmp_path_factory.mktemp("signals") / "store.duckdb")
    first: dict[int, float] = {}
    seen: dict[tuple[str, int], list[float]] = {}
    for step in steps:
        signals = make_signals(10, warm_up=0, seed=step.seed).iloc[step.first :]
        store.write_signals(signals, step.bundle, **SERIES)
        for row, score in enumerate(signals["anomaly_score"], start=step.first):
            first.setdefault(row, score)
            scores = seen.setdefault((step.bundle, row), [])
            if score not in scores:
                scores.append(score)
    shown = store.signals("BTCUSDT", "1m", which="first")["anomaly_score"]
    np.testing.assert_array_equal(shown, [first[row] for row in sorted(first)])
    for bundle in {step.bundle for step in steps}:
        latest = store.signals("BTCUSDT", "1m", bundle_id=bundle)["anomaly_score"]
        expected = [scores[-1] for (name, _), scores in sorted(seen.items()) if name == bundle]
        np.testing.assert_array_equal(latest, expected)
