"""Recovery of known regimes: the chains as printed, scores by hand, and the table's promises."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from scipy.linalg import expm
from sklearn.metrics import balanced_accuracy_score

from microstream_lab.errors import DataError, FitError, SettingsError
from microstream_lab.research import truth_studies
from microstream_lab.research.chains import daily_chain, draw_sequence, feature_chain
from microstream_lab.research.known_truth import QUICK, Sizes, known_truth, standings
from microstream_lab.research.recall import balanced_accuracy, best_recalls, named_recalls
from microstream_lab.research.truth_studies import FILTER, VITERBI, daily_scores

LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def quick() -> pd.DataFrame:
    return known_truth(QUICK)


def test_twenty_days_of_the_daily_chain_are_the_published_month() -> None:
    chain = daily_chain()
    month = np.linalg.matrix_power(chain.transmat_, 20)
    assert np.diag(month) == pytest.approx([0.9629, 0.8764, 0.7899], abs=1e-4)
    assert np.sqrt(20 * chain.covars_.ravel()) == pytest.approx([0.0347, 0.05, 0.0778])
    assert 20 * chain.means_.ravel() == pytest.approx([0.0123, 0, -0.0157])
    # the rates per month that make this month, exponentiated: an independent way down to a day
    values, vectors = np.linalg.eig(month)
    rates = vectors @ np.diag(np.log(values)) @ np.linalg.inv(vectors)
    np.testing.assert_allclose(expm(rates / 20).real, chain.transmat_, atol=1e-9)


@pytest.mark.parametrize("chain", [daily_chain(), feature_chain(0.5)], ids=["daily", "features"])
def test_a_long_draw_has_the_moments_and_moves_of_its_chain(chain) -> None:
    rows, states = draw_sequence(chain, 60_000, np.random.default_rng(0))
    np.testing.assert_allclose(chain.startprob_ @ chain.transmat_, chain.startprob_, atol=1e-12)
    for k in range(3):
        inside = rows[states == k]
        deviation = np.sqrt(np.diag(chain.covars_[k]))
        error = (inside.mean(axis=0) - chain.means_[k]) / deviation
        assert np.abs(error).max() < 5 / np.sqrt(len(inside))
        assert inside.std(axis=0) / deviation == pytest.approx(1, abs=0.06)
        stayed = (states[1:] == k)[states[:-1] == k].mean()
        assert stayed == pytest.approx(chain.transmat_[k, k], abs=0.01)


def test_features_beyond_the_fifteenth_are_noise() -> None:
    means = feature_chain(0.75, n_features=30).means_
    np.testing.assert_array_equal(means[:, 15:], 0)
    np.testing.assert_array_equal(means[:, :15], np.array([[0.75], [0], [-0.75]]).repeat(15, 1))


@given(LABELS)
def test_recalls_agree_with_scikit_learn_and_the_best_of_all_renamings(pairs) -> None:
    states, labels = np.array(pairs).T
    recalls = named_recalls(states, labels, 3)
    present = np.isin(range(3), states)
    np.testing.assert_array_equal(np.isnan(recalls), ~present)
    for k in np.flatnonzero(present):
        assert recalls[k] == pytest.approx((labels[states == k] == k).mean())
    if set(labels) <= set(states) and len(set(states)) > 1:
        assert np.nanmean(recalls) == pytest.approx(balanced_accuracy_score(states, labels))
    renamed = [
        np.nanmean(named_recalls(states, np.array(order)[labels], 3))
        for order in itertools.permutations(range(3))
    ]
    assert np.nanmean(best_recalls(states, labels, 3)) == pytest.approx(max(renamed))


def test_an_unknown_label_is_a_wrong_one() -> None:
    states = np.array([0, 0, 1, 1])
    assert named_recalls(states, np.array([0, -1, 1, 1]), 2).tolist() == [0.5, 1.0]


def test_accuracy_averages_a_regime_over_the_sequences_that_have_it() -> None:
    found = balanced_accuracy([[1.0, 0.5, np.nan], [0.5, np.nan, 0.2], [0.6, 0.7, np.nan]])
    assert found.value == pytest.approx(np.mean([0.7, 0.6, 0.2]))
    assert found.sd == pytest.approx(np.std([0.75, 0.35, 0.65]))
    assert found.n == 3


def test_a_regime_that_never_occurs_is_left_out_of_the_accuracy() -> None:
    assert balanced_accuracy([[1.0, np.nan], [0.5, np.nan]]).value == 0.75
    with pytest.raises(DataError, match="expected one that is known"):
        balanced_accuracy([[np.nan, np.nan]])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_interval_is_as_wide_as_the_standard_error_says(seed: int) -> None:
    recalls = np.random.default_rng(seed).uniform(0.2, 1, (400, 3))
    found = balanced_accuracy(recalls, n_resamples=2000)
    assert found.low < found.value < found.high
    error = recalls.mean(axis=1).std() / np.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * 1.645 * error, rel=0.15)


def test_table_has_every_estimate_under_both_figures(quick: pd.DataFrame) -> None:
    assert set(quick["study"]) == {"features", "daily returns", "simulated market"}
    assert set(quick["figure"]) == {VITERBI, FILTER}
    assert quick["value"].between(0, 1).all()
    counts = quick.groupby("study")["n"].unique().map(list).to_dict()
    assert counts == {"features": [1], "daily returns": [2], "simulated market": [1]}
    told = standings(quick)
    settings_in_order = told.loc["features"].index.get_level_values("setting").unique()
    assert settings_in_order.tolist() == ["mu = 0.25", "mu = 0.5", "mu = 0.75", "mu = 1"]
    assert told.loc["features"].index[-1] == ("mu = 1", "published: jump model")
    assert told.loc[("features", "mu = 0.5", "published: HMM"), VITERBI] == 0.70
    assert ("daily returns", "rows = 1000", "published: HMM") not in told.index


def test_renaming_in_hindsight_never_loses_to_naming(quick: pd.DataFrame) -> None:
    for mu in ("mu = 0.75", "mu = 1"):
        known = quick[(quick["setting"] == mu) & (quick["estimate"] == "true parameters")]
        figures = known.set_index("figure")["value"]
        assert figures[VITERBI] >= figures[FILTER] > 0.9


def test_a_table_follows_from_its_seed_and_not_from_the_workers() -> None:
    sizes = Sizes(features=0, daily={300: 2}, markets=0)
    one = known_truth(sizes, seed=5)
    with parallel_config("threading"):
        pd.testing.assert_frame_equal(one, known_truth(sizes, seed=5, n_jobs=2))
    assert not one.equals(known_truth(sizes, seed=6))


def test_a_declared_prior_names_daily_regimes_better_than_none() -> None:
    scores = [daily_scores(1000, 77, number) for number in range(8)]
    value = {
        key: balanced_accuracy([sequence[key] for sequence in scores]).value for key in scores[0]
    }
    assert value["calm lasts longest", FILTER] > value["sticky", FILTER]
    assert value["calm lasts longest", FILTER] > value["hmmlearn as it comes", FILTER] + 0.1
    assert value["true parameters", FILTER] - value["calm lasts longest", FILTER] < 0.08


def test_an_estimate_that_cannot_be_fitted_is_wrong_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise FitError("no")

    monkeypatch.setattr(truth_studies, "_DAILY_FITS", {"failing": fail})
    scores = daily_scores(200, 0, 0)
    assert np.nanmax([scores["failing", FILTER], scores["failing", VITERBI]]) == 0


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(SettingsError, match="expected one sequence at least"):
        known_truth(Sizes(features=0, daily={}, markets=0))
