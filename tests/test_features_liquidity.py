"""Liquidity features against closed forms, and against markets of known spread and impact."""

from __future__ import annotations

from math import e, sqrt

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.features import features_from_bars
from microstream_lab.market.simulate import RegimeSpec, Scenario, simulate_market

SPREAD = 0.002


def feature(bars: pd.DataFrame, name: str, window: int = 20) -> pd.Series:
    return features_from_bars(bars, [name], window)[name]


def returns_of(bars: pd.DataFrame) -> pd.Series:
    return np.log(bars["close"]).diff()


@pytest.fixture(scope="module")
def bouncing() -> pd.DataFrame:
    """Trades at bid or ask, SPREAD apart, around a random walk: 200 in each of 4000 bars."""
    rng = np.random.default_rng(0)
    mid = np.exp(rng.normal(0, 0.001 / sqrt(200), 4000 * 200).cumsum())
    sides = rng.choice([-1, 1], len(mid))
    price = (100 * mid * (1 + sides * SPREAD / 2)).reshape(4000, 200)
    bars = make_bars(4000)
    bars["open"], bars["close"] = price[:, 0], price[:, -1]
    bars["high"], bars["low"] = price.max(axis=1), price.min(axis=1)
    return bars


def simulated(spread_ticks: int, impact: float) -> pd.DataFrame:
    """Bars of a simulated market that stays what it is: one regime, no events, no rhythm."""
    spec = RegimeSpec(200, 4e-4, spread_ticks, impact, 0.0, 0.05, 1000)
    scenario = Scenario((spec, spec), daily_rhythm=0.0, events_per_day=0.0)
    return simulate_market("2024-01-01", 1500, "1m", 2, seed=1, scenario=scenario).bars


def test_roll_spread_is_its_formula_over_the_window() -> None:
    bars = make_bars(60)
    returns = returns_of(bars).to_numpy()
    later, earlier = returns[-20:], returns[-21:-1]
    covariance = (later * earlier).mean() - later.mean() * earlier.mean()
    expected = 2 * sqrt(max(0.0, -covariance))
    assert feature(bars, "roll_spread").iloc[-1] == pytest.approx(expected, rel=1e-9)


def test_roll_spread_is_recovered_where_trades_bounce(bouncing: pd.DataFrame) -> None:
    last = feature(bouncing, "roll_spread", window=3900).iloc[-1]
    assert last == pytest.approx(SPREAD, rel=0.1)


def test_roll_spread_is_zero_in_a_trend_that_speeds_up() -> None:
    bars = make_bars(60)
    bars["close"] = 100 * np.exp(1e-6 * np.arange(60.0) ** 3)
    assert (feature(bars, "roll_spread").dropna() == 0).all()


def test_corwin_schultz_spread_is_its_formula_over_the_window() -> None:
    bars = make_bars(60)
    high, low = bars["high"].to_numpy(), bars["low"].to_numpy()
    spreads = []
    for t in range(40, 60):
        b = np.log(high[t - 1] / low[t - 1]) ** 2 + np.log(high[t] / low[t]) ** 2
        g = np.log(max(high[t - 1 : t + 1]) / min(low[t - 1 : t + 1])) ** 2
        d = 3 - 2 * sqrt(2)
        a = (sqrt(2 * b) - sqrt(b)) / d - sqrt(g / d)
        spreads.append(max(0.0, 2 * (e**a - 1) / (1 + e**a)))
    assert feature(bars, "corwin_schultz").iloc[-1] == pytest.approx(np.mean(spreads), rel=1e-9)


def test_corwin_schultz_spread_is_recovered_where_trades_bounce(bouncing: pd.DataFrame) -> None:
    last = feature(bouncing, "corwin_schultz", window=3900).iloc[-1]
    assert last == pytest.approx(SPREAD, rel=0.15)


def test_spreads_of_a_simulated_market_are_those_it_was_told() -> None:
    bars = simulated(spread_ticks=240, impact=0.0)  # 24 of 30 000
    assert feature(bars, "roll_spread", 1400).iloc[-1] == pytest.approx(8e-4, rel=0.25)
    assert feature(bars, "corwin_schultz", 1400).iloc[-1] == pytest.approx(8e-4, rel=0.25)


def test_amihud_is_the_mean_ratio_over_the_bars_that_traded() -> None:
    bars = make_bars(60)
    bars.loc[bars.index[45:55], ["volume", "quote_volume", "taker_buy_base"]] = 0.0
    ratio = (returns_of(bars).abs() / bars["quote_volume"] * 1e6).to_numpy()[-20:]
    traded = bars["quote_volume"].to_numpy()[-20:] > 0
    assert feature(bars, "amihud").iloc[-1] == pytest.approx(ratio[traded].mean())


def test_amihud_is_undefined_where_nothing_trades_in_the_window() -> None:
    bars = make_bars(60)
    bars.loc[bars.index[30:], ["volume", "quote_volume"]] = 0.0
    values = feature(bars, "amihud")
    assert np.isfinite(values.iloc[48])
    assert values.iloc[49:].isna().all()


def test_kyle_lambda_is_the_slope_of_returns_on_taker_flow() -> None:
    bars = make_bars(80)
    flow = (2 * bars["taker_buy_quote"] - bars["quote_volume"]) / 1e6
    slope = np.polyfit(flow.iloc[-20:], returns_of(bars).iloc[-20:], 1)[0]
    assert feature(bars, "kyle_lambda").iloc[-1] == pytest.approx(slope, rel=1e-8)


def test_kyle_lambda_recovers_the_impact_of_taker_flow() -> None:
    bars, rng = make_bars(2000), np.random.default_rng(0)
    flow = (2 * bars["taker_buy_quote"] - bars["quote_volume"]) / 1e6
    bars["close"] = 100 * np.exp((0.02 * flow + rng.normal(0, 1e-4, 2000)).cumsum())
    assert feature(bars, "kyle_lambda", 1900).iloc[-1] == pytest.approx(0.02, rel=0.05)


def test_kyle_lambda_rises_with_the_impact_of_a_simulated_market() -> None:
    without, with_impact = (
        feature(simulated(1, impact), "kyle_lambda", 1400).iloc[-1] for impact in (0.0, 1e-5)
    )
    assert abs(without) < 0.2 * with_impact


def test_kyle_lambda_is_undefined_where_the_flow_never_varies() -> None:
    bars = make_bars(60)
    bars["quote_volume"], bars["taker_buy_quote"] = 1000.0, 700.0
    assert feature(bars, "kyle_lambda").isna().all()


def test_taker_imbalance_is_bought_minus_sold_over_all() -> None:
    bars = make_bars(60)
    bars.loc[bars.index[5], ["volume", "taker_buy_base"]] = 0.0
    bought, volume = bars["taker_buy_base"], bars["volume"]
    oracle = ((bought - (volume - bought)) / volume).fillna(0.0)
    np.testing.assert_allclose(feature(bars, "taker_imbalance"), oracle, atol=1e-12)


def test_vpin_of_flow_that_is_ever_the_same_is_its_imbalance() -> None:
    bars = make_bars(300)
    bars["taker_buy_base"] = 0.8 * bars["volume"]
    np.testing.assert_allclose(feature(bars, "vpin").iloc[60:], 0.6, rtol=1e-9)


def test_vpin_averages_buckets_of_five_usual_bars() -> None:
    bars = make_bars(300)
    bars["volume"] = 2.0
    bars["taker_buy_base"] = np.random.default_rng(0).uniform(0, 2, 300).round(3)
    bought = bars["taker_buy_base"].to_numpy().reshape(60, 5).sum(axis=1)
    buckets = np.abs(2 * bought - 10) / 10
    values = feature(bars, "vpin").to_numpy()
    assert values[299] == pytest.approx(buckets[-20:].mean())
    assert values[298] == pytest.approx(buckets[-21:-1].mean())


def test_vpin_splits_a_bar_between_buckets_and_forgets_what_was_before_a_flood() -> None:
    bars = make_bars(200)
    bars["volume"], bars["taker_buy_base"] = 2.0, 1.0
    bars.loc[bars.index[150], ["volume", "taker_buy_base"]] = 5e6, 5e6
    values = feature(bars, "vpin").to_numpy()
    assert values[149] == 0
    assert values[150] == pytest.approx(1.0)


def test_relative_features_are_one_in_a_market_that_never_changes() -> None:
    bars = make_bars(200)
    bars[["open", "close"]] = 100.0
    bars["close"] *= 1 + 1e-4 * (np.arange(200) % 2)
    bars["high"], bars["low"] = 101.0, 99.0
    bars[["volume", "quote_volume", "trades"]] = [2.0, 200.0, 7]
    names = "trade_intensity,relative_quote_volume,relative_range,relative_trade_size"
    table = features_from_bars(bars, f"{names},relative_amihud")
    np.testing.assert_allclose(table.iloc[60:], 1.0, rtol=2e-4)
    assert table.iloc[:60].isna().all(axis=None)


@pytest.mark.parametrize(
    ("name", "source"),
    [("trade_intensity", "trades"), ("relative_quote_volume", "quote_volume")],
)
def test_relative_features_divide_by_a_mean_with_a_half_life_of_a_day(
    name: str, source: str
) -> None:
    bars = make_bars(300)
    oracle = (bars[source] / bars[source].ewm(halflife=1440).mean()).iloc[60:]
    np.testing.assert_allclose(feature(bars, name).iloc[60:], oracle, rtol=1e-11)


def test_relative_trade_size_and_amihud_compare_a_fast_mean_with_a_slow_one() -> None:
    bars = make_bars(300)
    money, trades = bars["quote_volume"], bars["trades"]
    fast, slow = (money.ewm(halflife=h).mean() / trades.ewm(halflife=h).mean() for h in (15, 1440))
    sizes = feature(bars, "relative_trade_size")
    np.testing.assert_allclose(sizes.iloc[60:], (fast / slow).iloc[60:], rtol=1e-11)
    ratio = returns_of(bars).abs() / money
    expected = ratio.ewm(halflife=60).mean() / ratio.ewm(halflife=1440).mean()
    np.testing.assert_allclose(
        feature(bars, "relative_amihud").iloc[60:], expected.iloc[60:], rtol=1e-11
    )


def test_mean_trade_size_is_money_over_trades_of_the_window() -> None:
    bars = make_bars(60)
    last = bars.iloc[-20:]
    expected = last["quote_volume"].sum() / last["trades"].sum()
    assert feature(bars, "mean_trade_size").iloc[-1] == pytest.approx(expected)
