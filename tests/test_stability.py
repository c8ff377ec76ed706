"""Agreement of refits and seeds, counted by hand, and the gap to hindsight."""

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.research.baselines import EwmaThresholds
from microstream_lab.research.lineup import lineup
from microstream_lab.research.stability import (
    agreement,
    hindsight_gap,
    refit_agreement,
    seed_agreement,
    stability_table,
)


@pytest.fixture(scope="module")
def bars():
    return make_bars(10 * 1440, seed=6)


def labels(values, start="2024-01-01"):
    index = pd.date_range(start, periods=len(values), freq="1h", tz="UTC", unit="us")
    return pd.DataFrame({"regime": np.asarray(values, np.int8)}, index=index)


def test_agreement_is_over_bars_that_both_label():
    found = agreement([(labels([0, 1, -1, 2]), labels([0, 2, 1, -1]))])
    assert found.value == 0.5
    assert np.isnan(found.low)  # one day says nothing about its spread
    assert np.isnan(agreement([(labels([-1]), labels([0]))]).value)


def test_agreement_over_pairs_weighs_bars_and_has_an_interval():
    generator = np.random.default_rng(0)
    one = labels(generator.integers(0, 2, 24 * 20))
    other = one.copy()
    other.iloc[:48] = 1 - other.iloc[:48]
    found = agreement([(one, other), (one[:24], one[:24])])
    assert found.value == pytest.approx((24 * 20 - 48 + 24) / (24 * 20 + 24))
    assert found.low < found.value < found.high


def test_a_refit_that_changes_nothing_agrees_wholly(bars):
    fixed = EwmaThresholds().fit(bars[:2880])
    assert refit_agreement(bars, lambda *_: fixed, "3D", "2D").value == 1


def test_refits_are_compared_on_the_time_after_both(bars):
    trained = []

    def trainer(training):
        trained.append(EwmaThresholds().fit(training))
        return trained[-1]

    found = refit_agreement(bars, trainer, "4D", "2D", expanding=True)
    assert len(trained) == 3
    alike = []
    for older, newer, days in ((0, 1, (6, 8)), (1, 2, (8, 10))):
        rows = slice(*(day * 1440 for day in days))
        seen = slice(rows.start - 2000, rows.stop)
        one, two = (trained[k].signals(bars[seen])["regime"][2000:] for k in (older, newer))
        alike.append((one == two).to_numpy())
    assert found.value == pytest.approx(np.concatenate(alike).mean())


def test_cuts_have_no_seed_and_agree_while_a_random_start_may_not(bars):
    trainers = lineup(["ewma", "kmeans"])
    assert seed_agreement(bars[:4000], bars, trainers["EWMA 50/40/10"]).value == 1
    assert 0 < seed_agreement(bars[:4000], bars, trainers["k-means"], (0, 1)).value <= 1


def test_hindsight_changes_labels_of_a_model_that_has_it(bars):
    model = lineup(["seed"])["naive HMM"](bars[:4000])
    live, later = model.signals(bars), model.smoothed_signals(bars)
    known = live["regime"] >= 0
    expected = (later[known].to_numpy().argmax(axis=1) != live["regime"][known]).mean()
    assert hindsight_gap(model, bars) == pytest.approx(expected)
    assert 0 < expected < 0.5
    assert np.isnan(hindsight_gap(EwmaThresholds().fit(bars), bars))


def test_the_table_tells_refits_seeds_and_hindsight_of_each_trainer(bars):
    start = "2024-01-05"
    trainers = {n: lineup(["ewma", "seed"])[n] for n in ("EWMA 50/40/10", "naive HMM")}
    table = stability_table(trainers, bars, start, "3D", (0, 1))
    ewma, hmm = table.loc["EWMA 50/40/10"], table.loc["naive HMM"]
    refits = refit_agreement(bars, trainers["EWMA 50/40/10"], "4D", "3D")
    assert ewma["refits agree"] == pytest.approx(refits.value)
    assert ewma["seeds agree"] == 1
    assert np.isnan(ewma["hindsight changes"])
    first = trainers["naive HMM"](bars[bars.index < start])
    gap = hindsight_gap(first, bars[bars.index >= start])
    assert hmm["hindsight changes"] == pytest.approx(gap)
