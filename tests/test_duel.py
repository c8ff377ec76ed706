"""Two estimates on the same bars: figures by other means, and intervals of their difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_squared_error, roc_auc_score

from microstream_lab.market.simulate import simulate_market
from microstream_lab.research.duel import FIGURES, duel
from microstream_lab.research.evaluate import judged_outcomes
from microstream_lab.research.scoring import Outcomes

HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return judged_outcomes(simulate_market("2024-02-01", 4 * 1440, seed=1).bars)


def estimate(outcomes: Outcomes, noise: float, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    """Signals that know the coming hour up to noise."""
    known = np.nan_to_num(outcomes.volatility, nan=float(np.nanmean(outcomes.volatility)))
    told = known + np.random.default_rng(seed).normal(0, noise, len(known))
    cuts = np.quantile(told, [0.45, 0.9])
    columns = {"expected_stress": told + shift, "regime": np.searchsorted(cuts, told)}
    return pd.DataFrame(columns, index=outcomes.index)


def test_figures_are_those_of_other_libraries(outcomes: Outcomes) -> None:
    signals = estimate(outcomes, 0.5)
    signals.iloc[:50, signals.columns.get_loc("regime")] = -1
    table = duel(signals, None, outcomes, 6 * HOUR_US)
    judged = (signals["regime"] >= 0).to_numpy() & np.isfinite(outcomes.volatility)
    truth, told = outcomes.volatility[judged], signals["expected_stress"].to_numpy()[judged]
    frame = pd.DataFrame({"y": truth, "k": signals["regime"].to_numpy()[judged]})
    between = frame.groupby("k")["y"].transform("mean").var(ddof=0) / frame["y"].var(ddof=0)
    expected = [
        between,
        np.corrcoef(told, truth)[0, 1] ** 2,
        mean_squared_error(truth, told) ** 0.5,
        (told - truth).mean(),
        roc_auc_score(outcomes.wild[judged], told),
    ]
    np.testing.assert_allclose(table["challenger"], expected, rtol=1e-9)
    assert table.attrs["bars"] == judged.sum()
    assert table[["champion", "gain", "low", "high"]].isna().all(axis=None)


def test_the_same_estimate_twice_gains_nothing(outcomes: Outcomes) -> None:
    signals = estimate(outcomes, 0.5)
    table = duel(signals, signals.copy(), outcomes, 6 * HOUR_US)
    assert (table.loc[list(FIGURES[:4]), ["gain", "low", "high"]].abs() < 1e-12).all(axis=None)


def test_a_better_estimate_gains_for_certain_and_the_other_loses_as_much(
    outcomes: Outcomes,
) -> None:
    good, bad = estimate(outcomes, 0.2), estimate(outcomes, 1.0, seed=1, shift=0.5)
    won, lost = (duel(*pair, outcomes, 6 * HOUR_US) for pair in ((good, bad), (bad, good)))
    assert (won["gain"] > 0).all()
    assert (won["low"].iloc[:4] > 0).all()
    np.testing.assert_allclose(won["gain"], -lost["gain"])
    assert (lost["high"].iloc[:4] < 0).all()


def test_both_are_judged_by_the_bars_that_both_know(outcomes: Outcomes) -> None:
    first, second = estimate(outcomes, 0.5), estimate(outcomes, 0.5, seed=1)
    first.iloc[:500, first.columns.get_loc("regime")] = -1
    second.iloc[-900:, second.columns.get_loc("regime")] = -1
    table = duel(first, second, outcomes, 6 * HOUR_US)
    assert table.attrs["bars"] == len(outcomes.index) - 1400
    alone = duel(
        second.assign(regime=np.minimum(first["regime"], 0) + second["regime"]).assign(
            regime=lambda f: f["regime"].where(first["regime"] >= 0, -1)
        ),
        None,
        outcomes,
        6 * HOUR_US,
    )
    np.testing.assert_allclose(table["champion"], alone["challenger"])


def test_too_few_blocks_have_no_interval_and_no_bars_no_figures(outcomes: Outcomes) -> None:
    signals = estimate(outcomes, 0.5)
    few = duel(signals, signals, outcomes, 24 * HOUR_US)
    assert few.attrs["blocks"] == 4
    assert few[["low", "high"]].isna().all(axis=None)
    none = duel(signals.assign(regime=-1), signals, outcomes, 6 * HOUR_US)
    assert none.attrs == {"bars": 0, "blocks": 0}
    assert none.isna().all(axis=None)
