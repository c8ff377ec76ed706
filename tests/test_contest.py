"""Regimes against volatility targeting: equal terms, paired intervals, a plain verdict."""

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.research.contest import contest, volatility_targeting

N_BARS = 20 * 1440


@pytest.fixture(scope="module")
def bars():
    return make_bars(N_BARS, seed=9)


def signals_of(bars, regime):
    regime = np.asarray(regime, np.int8)
    frame = pd.DataFrame({"regime": regime, "fold": np.arange(len(bars)) // 7200}, bars.index)
    return frame.assign(**{f"p_{k}": (regime == k) * 1.0 for k in range(3)})


@pytest.fixture(scope="module")
def noise(bars):
    return signals_of(bars, np.repeat(np.random.default_rng(0).integers(0, 3, N_BARS // 240), 240))


def test_targeting_holds_as_much_and_trades_no_more(bars, noise):
    result = contest(noise, bars, [1, 0.5, 0], 5, decide_every=60, n_resamples=50)
    assert result.targeting.mean_exposure == pytest.approx(result.regimes.mean_exposure, rel=0.02)
    assert 0 < result.targeting.turnover <= result.regimes.turnover
    assert result.targeting.turnover > 0.8 * result.regimes.turnover


def test_targeting_reacts_faster_where_the_other_side_trades_more(bars):
    slow, fast = (volatility_targeting(bars, 0.5, turnover, 10) for turnover in (20.0, 300.0))
    for positions, turnover in ((slow, 20.0), (fast, 300.0)):
        traded = np.abs(np.diff(positions[:-1], prepend=0.0)).sum()
        assert 0.9 * turnover < traded <= turnover
        assert positions[:-1].mean() == pytest.approx(0.5, rel=0.1)


def test_targeting_holds_less_when_it_is_rough(bars):
    positions = volatility_targeting(bars, 0.5, 1e9, 60)
    returns = np.log(bars["close"]).diff().abs().rolling(60).mean()
    assert np.corrcoef(positions[60:], returns[60:])[0, 1] < -0.3
    assert positions.max() <= 1
    assert positions.min() >= 0


def test_targeting_is_causal_given_its_terms(bars):
    positions = volatility_targeting(bars, 0.5, 1e9, 60)
    changed = bars.copy()
    changed.iloc[-60:, changed.columns.get_loc("close")] *= 1.001
    later = volatility_targeting(changed, 0.5, 1e9, 60)
    np.testing.assert_allclose(positions[: N_BARS - 120], later[: N_BARS - 120], rtol=1e-3)


def test_luck_is_called_luck(bars):
    """Nine tenths of resamples: noise passes for skill one time in twenty, and as often fails."""
    verdicts = []
    for seed in range(10):
        regime = np.random.default_rng([7, seed]).integers(0, 3, N_BARS // 240)
        signals = signals_of(bars, np.repeat(regime, 240))
        result = contest(signals, bars, [1, 0.5, 0], 0, decide_every=240, n_resamples=100)
        gap = result.difference
        assert gap["low"] < gap["value"] < gap["high"]
        assert result.adds == (gap["low"] > 0)
        verdicts.append(result.verdict().split(": Sharpe ")[0])
    assert verdicts.count("Regimes add nothing that can be told from luck") >= 7


def test_knowing_what_comes_adds_and_knowing_it_backwards_costs(bars):
    ahead = bars["close"].shift(-240) / bars["close"] - 1
    prophet = signals_of(bars, np.where(ahead.fillna(0) > 0, 0, 2))
    options = {"cost_bps": 0, "decide_every": 60, "n_resamples": 200}
    seer = contest(prophet, bars, [1, 0.5, 0], **options)
    assert seer.adds
    assert seer.verdict().startswith("Regimes add: ")
    assert "ahead in 4 of 4 folds" in seer.verdict()
    fool = contest(prophet, bars, [0, 0.5, 1], **options)
    assert fool.verdict().startswith("Regimes cost: ")


def test_figures_stand_side_by_side_and_the_difference_is_that_of_the_sharpe_ratios(bars, noise):
    result = contest(noise, bars, [1, 0.5, 0], 5, decide_every=60, n_resamples=50)
    table = result.summary()
    assert table.columns.tolist() == ["regimes", "targeting", "buy_and_hold"]
    gap = table.at["sharpe", "regimes"] - table.at["sharpe", "targeting"]
    assert result.difference["value"] == pytest.approx(gap)
    assert result.folds.index.tolist() == [0, 1, 2, 3]


def test_a_strategy_that_never_holds_meets_a_rival_that_never_does(bars, noise):
    result = contest(noise, bars, [0, 0, 0], n_resamples=20)
    assert result.targeting.turnover == result.regimes.turnover == 0
    assert not result.adds
