"""The tables of an Isolation Forest against scikit-learn's trees, bit for bit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from microstream_lab.models import forest as tables
from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.cells import note_cells_of
from microstream_lab.models.forest import tabulate
from microstream_lab.threads import PART_ROWS, over_rows, parts


def walked(forest: IsolationForest, rows: np.ndarray) -> np.ndarray:
    """Summed depths by walking down every tree."""
    total = np.zeros(len(rows))
    for tree, columns in zip(forest.estimators_, forest.estimators_features_, strict=True):
        leaves = tree.apply(rows[:, columns])
        n = tree.tree_.n_node_samples[leaves]
        total += tree.tree_.compute_node_depths()[leaves] + tables.mean_search_depth(n) - 1.0
    return total


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_features=st.integers(1, 6),
    max_samples=st.sampled_from([2, 17, 256, 700]),
    max_features=st.sampled_from([1.0, 0.5]),
    levels=st.sampled_from([3, 1000]),
)
def test_depths_are_those_of_walking_down_every_tree(
    seed: int, n_features: int, max_samples: int, max_features: float, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.integers(0, levels, (800, n_features)) / levels).astype(np.float32)
    forest = IsolationForest(
        n_estimators=5, max_samples=max_samples, max_features=max_features, random_state=seed
    ).fit(rows)
    strange = np.concatenate([rows, rows[:20] * -3, rows[:20] + 7, np.full((1, n_features), 1e30)])
    known = tabulate(forest)
    depths = walked(forest, strange.astype(np.float32))
    np.testing.assert_array_equal(known.depths(strange.astype(np.float32)), depths)
    cells = note_cells_of(known)
    assert cells is not None or n_features > 2
    if cells is not None:
        columns = strange.T[known.columns].astype(np.float32)
        np.testing.assert_array_equal(cells.depths(columns), depths)


def test_a_row_on_a_cut_goes_where_scikit_learn_sends_it() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    forest = IsolationForest(n_estimators=20, random_state=0).fit(rows)
    cuts = np.concatenate([tree.tree_.threshold for tree in forest.estimators_])
    on = np.repeat(cuts[:, None], 2, axis=1).astype(np.float32)
    either = np.concatenate([np.nextafter(on, -9), on, np.nextafter(on, np.float32(9))])
    known, depths = tabulate(forest), walked(forest, either)
    np.testing.assert_array_equal(known.depths(either), depths)
    cells = note_cells_of(known)
    assert cells is not None
    np.testing.assert_array_equal(cells.depths(np.ascontiguousarray(either.T)), depths)


def test_cells_are_not_noted_where_there_are_too_many() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32)
    assert note_cells_of(tabulate(IsolationForest(random_state=0).fit(rows))) is None


def test_scores_equal_scikit_learns_in_every_bit_on_any_number_of_threads(monkeypatch) -> None:
    rows = np.random.default_rng(1).normal(size=(3000, 3))
    detector = AnomalyDetector(0.05, random_state=3).fit(rows)
    theirs = IsolationForest(contamination=0.05, random_state=3).fit(rows)
    one = detector.score_samples(rows)
    assert detector._cells is None  # nor would they be worth while
    for module in ("threads", "models.anomaly"):
        monkeypatch.setattr(f"microstream_lab.{module}.PART_ROWS", 100)
    monkeypatch.setattr("microstream_lab.threads.cpu_count", lambda: 3)
    np.testing.assert_array_equal(detector.score_samples(rows), one)
    assert detector._cells is not None
    np.testing.assert_array_equal(one, theirs.score_samples(rows))
    np.testing.assert_array_equal(-one > detector.threshold_, theirs.predict(rows) == -1)


def test_sizes_known_to_the_compiler_and_others_give_the_same_bits(monkeypatch) -> None:
    rows = np.random.default_rng(2).normal(size=(300, 3)).astype(np.float32)
    known = tabulate(IsolationForest(n_estimators=10, random_state=0).fit(rows))
    general = known.depths(rows)
    monkeypatch.setattr(tables, "_MANY", 1)
    np.testing.assert_array_equal(known.depths(rows), general)


def test_tables_are_neither_saved_nor_kept_after_another_fit() -> None:
    rng = np.random.default_rng(0)
    detector = AnomalyDetector(n_estimators=10, random_state=0).fit(rng.normal(size=(300, 2)))
    before = detector.anomaly_score([[0.0, 0.0]])
    again = pickle.loads(pickle.dumps(detector))
    assert again._tables is None
    np.testing.assert_array_equal(again.anomaly_score([[0.0, 0.0]]), before)
    detector.fit(rng.normal(5, 1, size=(300, 2)))
    assert detector.anomaly_score([[0.0, 0.0]]) > before


@pytest.mark.parametrize("n_rows", [0, 1, PART_ROWS, 3 * PART_ROWS + 1])
def test_parts_cover_every_row_once(n_rows: int) -> None:
    covered = np.zeros(n_rows, int)
    for part in parts(n_rows):
        assert part.stop - part.start <= PART_ROWS
        covered[part] += 1
    assert (covered == 1).all()


def test_a_failing_part_fails_the_whole(monkeypatch) -> None:
    monkeypatch.setattr("microstream_lab.threads.cpu_count", lambda: 2)

    def task(part: slice) -> None:
        if part.start:
            raise RuntimeError("second part")

    with pytest.raises(RuntimeError, match="second part"):
        over_rows(PART_ROWS + 1, task)
