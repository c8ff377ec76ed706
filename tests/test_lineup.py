"""Baselines by name: causal, repeatable, and honest about what is not installed."""

import pickle
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from factories import make_bars, make_states

from microstream_lab.errors import FitError, SettingsError
from microstream_lab.research.clusters import KMeansRegimes, NaiveHmm
from microstream_lab.research.evaluate import evaluate
from microstream_lab.research.lineup import GROUPS, fit_all, lineup
from microstream_lab.research.peers import JumpModelRegimes, MarkovSwitching, RiverClusters

N_TRAIN = 4000


@pytest.fixture(scope="module")
def bars():
    return make_bars(6000, seed=5)


@pytest.fixture(scope="module")
def fitted(bars):
    estimators, skipped = fit_all(lineup(GROUPS[:4]), bars[:N_TRAIN])
    assert not skipped
    return estimators


def test_names_say_shares_and_whether_there_is_hysteresis():
    assert list(lineup(["ewma"])) == [
        "EWMA 50/40/10",
        "EWMA 50/40/10 steady",
        "EWMA 25/50/25",
        "EWMA 25/50/25 steady",
    ]
    assert list(lineup(["seed", "kmeans"])) == ["naive HMM", "k-means"]
    with pytest.raises(SettingsError, match="found 'emwa', expected one of ewma har"):
        lineup(["emwa"])


def test_every_baseline_gives_causal_signals_with_probabilities(bars, fitted):
    for name, estimator in fitted.items():
        whole, part = estimator.signals(bars), estimator.signals(bars[:5000])
        pd.testing.assert_frame_equal(whole[:5000], part, obj=name)
        known = whole["regime"] >= 0
        np.testing.assert_allclose(whole[known].filter(regex=r"^p_\d$").sum(axis=1), 1, atol=1e-9)
        assert known.mean() > 0.99
        assert estimator.end == bars.index.as_unit("us").asi8[N_TRAIN]


def test_every_trainer_can_be_sent_to_another_process(bars):
    for name, trainer in lineup(GROUPS).items():
        assert pickle.loads(pickle.dumps(trainer)).keywords == trainer.keywords, name


def test_labels_of_clusters_are_in_the_order_of_volatility(bars, fitted):
    returns = np.log(bars["close"]).diff()
    for name in ("naive HMM", "k-means"):
        spread = returns.groupby(fitted[name].signals(bars)["regime"]).std()
        assert spread[0] < spread[1] < spread[2], name
        assert (np.diff(fitted[name].stress_) > 0).all()


def test_naive_hmm_filters_as_hmmlearn_does_on_each_prefix(bars, fitted):
    model = fitted["naive HMM"]
    rows = model._rows(bars)
    start = 20  # after the warm-up
    live = model.signals(bars).filter(regex=r"^p_\d$").to_numpy()
    for end in (60, 300):
        expected = model.model_.predict_proba(rows[start - 1 : end])[-1][model.order_]
        np.testing.assert_allclose(live[end - 1], expected, atol=1e-8)


def test_a_seed_repeats_a_recipe_and_is_nothing_to_a_cut(bars):
    trainers = lineup(["ewma", "kmeans"])
    for name in ("EWMA 50/40/10", "k-means"):
        one, two = (trainers[name](bars[:N_TRAIN], seed=3).signals(bars) for _ in range(2))
        pd.testing.assert_frame_equal(one, two)


def test_recipes_refuse_a_handful_of_bars(bars):
    with pytest.raises(FitError, match="bars with all features"):
        KMeansRegimes().fit(bars[:100])


def test_a_missing_library_becomes_a_row_with_the_reason(bars, monkeypatch):
    monkeypatch.setitem(sys.modules, "river.cluster", None)
    monkeypatch.setitem(sys.modules, "jumpmodels.jump", None)
    trainers = {n: t for n, t in lineup(["peers", "ewma"]).items() if "statsmodels" not in n}
    result = evaluate({}, bars, bars.index[N_TRAIN], baselines=trainers, n_resamples=5)
    assert "pip install" in result.skipped["online k-means (river)"]
    for table in result.tables().values():
        assert table.loc["jump model (jumpmodels)"].iloc[0].startswith("skipped: ")
    assert "jump model (jumpmodels)" not in result.summary().index


def test_markov_switching_tells_calm_from_rough(bars):
    model = MarkovSwitching(2).fit(bars[:1500])
    signals = model.signals(bars[:3000])
    rough = make_states(6000, 5)[:3000] == 2
    assert signals["p_1"][rough].mean() > 0.9
    assert signals["p_1"][~rough].mean() < 0.5


def fake_library(monkeypatch, path, name, kind):
    """A module at `path` that holds one class: the peers' interface, not their mathematics."""
    parent, _, _ = path.partition(".")
    module = ModuleType(path)
    setattr(module, name, kind)
    monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    monkeypatch.setitem(sys.modules, path, module)


class FakeJumps:
    def __init__(self, n_components, jump_penalty, n_init, random_state):
        assert (n_components, jump_penalty) == (3, 50.0)

    def fit(self, rows, sort_by):
        self.cuts = np.quantile(np.abs(rows[:, 0]), [0.5, 0.9])
        return self

    def predict_online(self, rows):
        return 2 - np.searchsorted(self.cuts, np.abs(rows[:, 0]))


class FakeKMeans:
    def __init__(self, n_clusters, halflife, seed):
        self.seen = 0

    def learn_one(self, row):
        self.seen += 1

    def predict_one(self, row):
        return 2 - int(np.searchsorted([0.5, 1.5], abs(row[0])))


def test_peers_are_renamed_by_volatility_and_asked_bar_by_bar(bars, monkeypatch):
    fake_library(monkeypatch, "jumpmodels.jump", "JumpModel", FakeJumps)
    fake_library(monkeypatch, "river.cluster", "KMeans", FakeKMeans)
    returns = np.log(bars["close"]).diff().abs()
    for kind in (JumpModelRegimes, RiverClusters):
        model = kind().fit(bars[:N_TRAIN])
        mean = returns.groupby(model.signals(bars)["regime"]).mean()
        assert mean[0] < mean[1] < mean[2]
    assert model.model_.seen == N_TRAIN - 19


def test_naive_hmm_knows_hindsight_and_its_stays(bars, fitted):
    model = fitted["naive HMM"]
    smoothed = model.smoothed_signals(bars)
    assert smoothed.columns.tolist() == ["p_0_smoothed", "p_1_smoothed", "p_2_smoothed"]
    assert smoothed.index.equals(bars.index)
    stays = np.diagonal(model.model_.transmat_)[model.order_]
    np.testing.assert_allclose(model.expected_durations(), 1 / (1 - stays))
    assert isinstance(model, NaiveHmm)
