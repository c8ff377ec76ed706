"""The whole study in the small, on a simulated market: every table, the same from two processes."""

import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.research.lineup import lineup
from microstream_lab.research.refits import contenders
from microstream_lab.research.study import Market, Study, run_study

STUDY = Study(
    ("seed",),
    ("ewma", "kmeans"),
    refit="2D",
    crisis_train="8D",
    crisis_refit="3D",
    crisis_since="2024-01-09",
)
TITLES = [
    "Fitted once: The coming hour's volatility (AUC: ranking of its worst 5 %)",
    "Fitted once: Steadiness and calibration",
    "Refitted on the way: The coming hour's volatility (AUC: ranking of its worst 5 %)",
    "Agreement of successive refits",
    "Agreement of seeds",
    "Regimes against volatility targeting",
    "Known crises",
]


@pytest.fixture(scope="module")
def market():
    return Market(make_bars(8 * 1440, seed=2), "2024-01-05")


@pytest.fixture(scope="module")
def five():
    return make_bars(14 * 288, seed=3, interval="5m")


@pytest.fixture(scope="module")
def events():
    start = pd.Timestamp("2024-01-11", tz="UTC")
    row = {"start": start, "end": start + pd.Timedelta("1D"), "onset": start + pd.Timedelta("9h")}
    return pd.DataFrame([row], index=pd.Index(["made up"], name="name"))


def test_every_table_is_there_whatever_the_number_of_processes(market, five, events):
    one = run_study(STUDY, market, five, events)
    two = run_study(STUDY, market, five, events, n_jobs=2)
    assert set(TITLES) <= set(one)
    for title, table in one.items():
        pd.testing.assert_frame_equal(table, two[title], obj=title)
    assert list(one[TITLES[0]].index) == ["bundle seed", *lineup(["ewma", "kmeans"])]
    assert one["Known crises"].index[0] == "bundle seed"
    assert one["Known crises"]["events"].tolist() == [1] * 5
    verdicts = one["Regimes against volatility targeting"]["verdict"]
    assert verdicts.str.startswith("Regimes ").all()


def test_refitted_contenders_are_signals_from_the_first_judged_bar_on(market):
    found, skipped = contenders(lineup(["ewma"]), market.bars, market.start, "2D")
    assert not skipped
    for signals in found.values():
        assert signals.index[0] == pd.Timestamp(market.start, tz="UTC")
        assert signals["fold"].nunique() == 2
