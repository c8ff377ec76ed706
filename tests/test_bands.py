"""Regimes end where they are told to, or in a gap close by."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from microstream_lab.models.bands import merged, place_cuts, usual_shares

SHARES = np.array([0.45, 0.45, 0.10])


@given(n_regimes=st.integers(2, 12))
def test_usual_shares_add_up_with_a_rare_crisis(n_regimes: int) -> None:
    shares = usual_shares(n_regimes)
    assert len(shares) == n_regimes
    assert abs(sum(shares) - 1) < 1e-12
    assert shares[-1] == 0.10


def test_a_single_hill_is_cut_at_the_shares() -> None:
    heights = np.random.default_rng(0).gumbel(size=20_000)
    np.testing.assert_array_equal(place_cuts(heights, SHARES), np.quantile(heights, (0.45, 0.90)))


def test_a_cut_moves_into_a_valley_within_reach_and_splits_no_cluster() -> None:
    rng = np.random.default_rng(1)
    calm, high = rng.normal(-6, 0.1, 11_000), rng.normal(-5, 0.1, 9_000)
    cuts = place_cuts(np.concatenate([calm, high]), np.array([0.5, 0.5]))
    assert calm.max() < cuts[0] < high.min()


def test_a_valley_out_of_reach_is_left_alone() -> None:
    rng = np.random.default_rng(2)
    heights = np.concatenate([rng.normal(-6, 0.1, 14_000), rng.normal(-5, 0.1, 6_000)])
    assert place_cuts(heights, np.array([0.5, 0.5]))[0] == np.quantile(heights, 0.5)


def test_levels_belong_to_regimes_by_their_mass_and_empty_ones_by_their_mean() -> None:
    level_probs = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1.0, 0]])
    weights = merged(level_probs, np.array([0, 0, 1]), np.array([[1.0, 0], [0, 1], [0, 1]]))
    np.testing.assert_allclose(weights, [[1, 0], [1 / 3, 2 / 3], [0, 1]], atol=1e-8)
