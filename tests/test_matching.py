"""Names of regimes over a refit: kept where they can be, and an alarm where they cannot."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from factories import make_states
from hypothesis import given
from hypothesis import strategies as st

from microstream_lab.errors import DataError
from microstream_lab.models.matching import match_regimes
from microstream_lab.models.regime import RegimeModel


def probabilities(k: int = 3, n: int = 600, seed: int = 0) -> np.ndarray:
    """Filtered probabilities of a fit that is sure most of the time."""
    rng = np.random.default_rng(seed)
    sharp = 0.9 * np.eye(k)[make_states(n, seed, k=k)]
    return sharp + 0.1 * rng.dirichlet(np.ones(k), n)


@given(order=st.permutations(range(4)), seed=st.integers(0, 50))
def test_a_renumbered_fit_is_matched_back(order: list[int], seed: int) -> None:
    before = probabilities(4, seed=seed)
    match = match_regimes(before, before[:, order])
    assert list(match.permutation) == order
    np.testing.assert_array_equal(before[:, order][:, list(match.order)], before)
    assert (match.cost, match.agreement, match.is_poor) == (0, 1, False)


def test_the_permutation_is_the_best_of_all_that_there_are() -> None:
    before, now = probabilities(seed=1), probabilities(seed=1)[:, [1, 2, 0]]
    now = 0.7 * now + 0.3 * probabilities(seed=2)
    match = match_regimes(before, now)
    costs = {
        order: 0.5 * np.abs(before - now[:, list(order)]).sum(axis=1).mean()
        for order in itertools.permutations(range(3))
    }
    assert match.order == min(costs, key=costs.__getitem__)
    assert match.cost == pytest.approx(min(costs.values()))


def test_a_refit_on_other_rows_keeps_the_names_and_a_renumbered_one_gets_them_back() -> None:
    rng = np.random.default_rng(0)
    states = make_states(3000)
    rows = rng.normal(size=(3000, 1)) * np.array([0.4, 1.0, 2.5])[states, None]
    first, second = (RegimeModel(n_starts=2).fit(part) for part in (rows[:2000], rows[1000:]))
    upside_down = second.reordered((2, 1, 0))
    window = rows[1000:2000]
    before = first.filtered_probs(window)
    assert match_regimes(before, second.filtered_probs(window)).permutation == (0, 1, 2)
    match = match_regimes(before, upside_down.filtered_probs(window))
    assert match.permutation == (2, 1, 0)
    assert not match.is_poor
    named = upside_down.reordered(match.order)
    np.testing.assert_array_equal(named.means_, second.means_)
    np.testing.assert_array_equal(named.transmat_, second.transmat_)
    np.testing.assert_array_equal(named.occupancy_, second.occupancy_)


def test_a_different_fit_raises_the_alarm(caplog: pytest.LogCaptureFixture) -> None:
    before = probabilities(seed=3)
    elsewhere = probabilities(seed=4)
    with caplog.at_level(logging.WARNING):
        match = match_regimes(before, elsewhere)
    assert match.is_poor
    assert "another one than before the refit" in caplog.text


def test_a_lost_crisis_raises_the_alarm_although_nine_bars_in_ten_agree() -> None:
    before = np.repeat([0, 1, 2], [500, 420, 80])
    now = np.concatenate([np.zeros(420, int), np.full(80, 2), np.ones(500, int)])
    match = match_regimes(before, now)
    assert match.agreement > 0.8
    assert match.kept[2] == 0
    assert match.is_poor


def test_a_regime_that_hardly_occurs_in_the_window_is_not_judged() -> None:
    before = np.repeat([0, 1, 2], [500, 495, 5])
    now = np.repeat([0, 1, 2], [500, 498, 2])
    match = match_regimes(before, now)
    assert np.isnan(match.kept[2])
    assert not match.is_poor


def test_the_volatility_order_stands_where_another_is_hardly_nearer() -> None:
    # a bar in a thousand speaks for calling two regimes the other way round
    before = np.tile([0, 1], 500)
    now = np.tile([0, 0, 1, 1], 250)
    now[0], before[2] = 1, 1
    match = match_regimes(before, now)
    assert match.permutation == (0, 1)


def test_labels_and_certain_probabilities_are_the_same_and_unknown_bars_are_left_out() -> None:
    before, now = make_states(400, 1, stay=0.9), make_states(400, 2, stay=0.9)
    of_labels = match_regimes(before, now)
    assert of_labels == match_regimes(np.eye(3)[before], np.eye(3)[now])
    assert of_labels == match_regimes(before, np.eye(3)[now])
    assert of_labels.cost == pytest.approx(1 - of_labels.agreement)
    unused = np.zeros(400, int)
    assert match_regimes(before, unused).kept == pytest.approx(
        match_regimes(np.eye(3)[before], np.eye(3)[unused]).kept
    )
    holed = np.concatenate([now, [-1, -1]])
    assert match_regimes(np.concatenate([before, [0, 1]]), holed) == of_labels


def test_estimates_without_a_common_bar_or_number_of_regimes_are_refused() -> None:
    with pytest.raises(DataError, match=r"found \(10, 2\)"):
        match_regimes(np.full((10, 3), 1 / 3), np.full((10, 2), 1 / 2))
    with pytest.raises(DataError, match="no bar that both fits label"):
        match_regimes(np.full((10, 3), np.nan), np.full((10, 3), 1 / 3))
