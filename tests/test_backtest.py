"""The backtest agrees with hand and with a plain loop, and the future cannot earn in it."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.errors import DataError, LookAheadError, SettingsError
from microstream_lab.research.backtest import backtest, backtest_positions

START = "2022-01-01"


def make_bars(closes, interval="1m"):
    freq = {"1m": "1min", "1h": "1h", "1d": "1D"}[interval]
    index = pd.date_range(START, periods=len(closes), freq=freq, tz="UTC", unit="us")
    frame = pd.DataFrame({"close": np.asarray(closes, float)}, index=index.rename("open_time"))
    return frame.assign(market="sim", symbol="SIMUSDT", interval=interval)


def make_signals(regimes, bars, n_regimes=3):
    regimes = np.asarray(regimes, np.int8)
    frame = pd.DataFrame({"regime": regimes}, index=bars.index)
    for k in range(n_regimes):
        frame[f"p_{k}"] = np.where(regimes < 0, np.nan, regimes == k)
    return frame


def random_market(n_bars, seed=0, interval="1m", n_regimes=3, scale=0.01):
    generator = np.random.default_rng(seed)
    bars = make_bars(100 * np.exp(generator.normal(0, scale, n_bars).cumsum()), interval)
    return bars, make_signals(generator.integers(-1, n_regimes, n_bars), bars, n_regimes)


def loop(closes, targets, cost, band=0.0):
    """The rules of the module, one bar after the other."""
    equity, held, path, traded, n_trades, returns = 1.0, 0.0, [1.0], 0.0, 0, []
    for t in range(1, len(closes)):
        wanted = targets[t - 1]
        change = wanted - held if wanted == 0 or abs(wanted - held) > band else 0.0
        held = wanted if change else held
        net = held * (closes[t] / closes[t - 1] - 1) - cost * abs(change)
        equity *= max(1 + net, 0.0)
        path.append(equity)
        returns.append(net)
        traded += abs(change)
        n_trades += change != 0
    highs = np.maximum.accumulate(path)
    drawdown = min(e / h - 1 for e, h in zip(path, highs, strict=True))
    return {
        "total_return": equity - 1,
        "max_drawdown": drawdown,
        "turnover": traded,
        "costs": traded * cost,
        "trades": n_trades,
        "returns": returns,
    }


def test_three_days_by_hand():
    bars = make_bars([100.0, 110.0, 99.0, 99.0], "1d")
    signals = make_signals([0, 1, 0, 0], bars, 2)
    result = backtest(signals, bars, [1.0, 0.5], cost_bps=100)
    # Buy 1 at 100 (1 %), +10 %; sell half (0.5 %), half of -10 %; buy half (0.5 %), 0 %.
    expected = [1.0, 1.09, 1.09 * (1 - 0.05 - 0.005), 1.09 * 0.945 * 0.995]
    np.testing.assert_allclose(result.equity["strategy"], expected, rtol=1e-14)
    np.testing.assert_allclose(result.equity["buy_and_hold"], [1, 1.09, 0.981, 0.981])
    summary = result.summary()["value"]
    assert summary["total_return"] == pytest.approx(expected[-1] - 1)
    assert summary["max_drawdown"] == pytest.approx(0.945 * 0.995 - 1)
    assert summary["turnover"] == result.turnover == 2.0
    assert summary["costs"] == pytest.approx(0.02)
    assert summary["trades"] == 3
    assert summary["mean_exposure"] == result.mean_exposure == pytest.approx(2.5 / 3)
    nets = np.array([0.09, -0.055, -0.005])
    assert summary["volatility"] == pytest.approx(nets.std() * np.sqrt(365))
    assert summary["sharpe"] == pytest.approx(nets.mean() / nets.std() * np.sqrt(365))
    assert summary["annual_return"] == pytest.approx(expected[-1] ** (365 / 3) - 1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_bars=st.integers(2, 300),
    exposure=st.lists(st.integers(-20, 20).map(lambda x: x / 10), min_size=3, max_size=3),
    cost_bps=st.floats(0, 50),
    interval=st.sampled_from(["1m", "1h", "1d"]),
    band=st.sampled_from([0.0, 0.3]),
)
def test_any_strategy_equals_the_plain_loop(seed, n_bars, exposure, cost_bps, interval, band):
    bars, signals = random_market(n_bars, seed, interval)
    result = backtest(signals, bars, exposure, cost_bps, band=band, n_resamples=20)
    targets = [exposure[k] if k >= 0 else 0.0 for k in signals["regime"]]
    expected = loop(bars["close"].to_numpy(), targets, cost_bps / 1e4, band)
    summary = result.summary()["value"]
    for name in ("total_return", "max_drawdown", "turnover", "costs", "trades"):
        assert summary[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
    np.testing.assert_allclose(result.strategy.net, expected["returns"], atol=1e-15)
    assert result.drawdown["strategy"].min() == pytest.approx(expected["max_drawdown"], abs=1e-12)


def test_knowing_the_sign_of_the_next_bar_earns_and_of_this_bar_does_not():
    bars, _ = random_market(20_000, seed=1, scale=0.001)
    up = (bars["close"].diff() > 0).astype(int)
    honest, prophet = up, up.shift(-1, fill_value=0)
    earned = [
        backtest(make_signals(s, bars, 2), bars, [-1, 1], 0).summary().at["sharpe", "value"]
        for s in (honest, prophet)
    ]
    per_year = np.sqrt(365 * 1440)
    assert abs(earned[0]) / per_year < 3 / np.sqrt(20_000)
    assert earned[1] / per_year > 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 200), st.data())
def test_later_signals_never_change_what_was_earned_before(seed, n_bars, data):
    bars, signals = random_market(n_bars, seed)
    cut = data.draw(st.integers(0, n_bars - 1))
    changed = signals.copy()
    changed.loc[changed.index[cut:], "regime"] = 2
    options = {"volatility_target": 0.5, "max_leverage": 2.0, "band": 0.1}
    one, two = (backtest(s, bars, [1, 0.5, 0], 5, **options) for s in (signals, changed))
    # The signal of bar `cut` acts on the bar after it.
    pd.testing.assert_frame_equal(one.equity[: cut + 1], two.equity[: cut + 1])


def test_the_last_signal_has_no_effect_at_all():
    bars, signals = random_market(50, seed=2)
    changed = signals.copy()
    changed.iloc[-1, 0] = 2 - max(changed.iloc[-1, 0], 0)
    one, two = (backtest(s, bars, [1, 0, -1]).summary() for s in (signals, changed))
    pd.testing.assert_frame_equal(one, two)


def test_costs_take_exactly_their_rate_times_turnover_from_the_sum_of_returns():
    bars, signals = random_market(500, seed=3)
    free, dear = (backtest(signals, bars, [1, 0.3, -0.5], cost) for cost in (0, 7))
    gap = free.strategy.net.sum() - dear.strategy.net.sum()
    assert gap == pytest.approx(7e-4 * dear.turnover, rel=1e-10)
    assert dear.summary().at["costs", "value"] == pytest.approx(gap)
    assert free.turnover == dear.turnover


def test_unknown_regimes_are_flat_and_pay_for_leaving_and_entering():
    bars = make_bars([100, 101, 102, 103, 104])
    result = backtest(make_signals([0, -1, 0, 0, 0], bars, 1), bars, [1.0], cost_bps=1)
    assert result.strategy.position.tolist() == [1, 0, 1, 1]
    assert result.turnover == 3
    assert result.by_regime.loc[-1, "mean_position"] == 0


def test_always_invested_without_costs_is_buy_and_hold():
    bars, signals = random_market(3000, seed=4, interval="1h")
    result = backtest(signals.assign(regime=np.int8(0)), bars, [1, 1, 1], cost_bps=0)
    table = result.summary()
    assert (table["value"] == table["buy_and_hold"]).all()
    assert (table["low"] == table["hold_low"]).all()


def test_regimes_share_out_the_whole_sample_and_the_whole_return():
    bars, signals = random_market(4000, seed=5, interval="1h")
    result = backtest(signals, bars, [1, 0.5, 0])
    table = result.by_regime
    assert table.index.tolist() == [-1, 0, 1, 2]
    assert table["share"].sum() == pytest.approx(1)
    assert table["contribution"].sum() == pytest.approx(result.strategy.net.mean() * 365 * 24)
    calm = result.market[signals["regime"].to_numpy()[:-1] == 0]
    assert table.loc[0, "bars"] == len(calm)
    assert table.loc[0, "mean_return"] == pytest.approx(calm.mean() * 365 * 24)
    assert table.loc[0, "volatility"] == pytest.approx(calm.std() * np.sqrt(365 * 24))
    assert (table["low"] < table["mean_return"]).all()
    assert (table["mean_return"] < table["high"]).all()


def test_a_regime_that_never_was_still_has_its_row():
    bars, signals = random_market(400, seed=11, interval="1h", n_regimes=2)
    table = backtest(signals.assign(p_2=0.0), bars, [1, 0.5, 0]).by_regime
    assert table.index.tolist() == [-1, 0, 1, 2]
    assert table.loc[2, "bars"] == 0
    assert np.isnan(table.loc[2, "mean_return"])


def test_volatility_target_scales_by_the_past_and_reaches_its_volatility():
    generator = np.random.default_rng(6)
    scale = np.repeat([0.0005, 0.002, 0.0008], 20_000)
    bars = make_bars(100 * np.exp(generator.normal(0, scale).cumsum()))
    signals = make_signals(np.zeros(60_000), bars, 1)
    options = {"volatility_target": 0.3, "max_leverage": 5.0, "volatility_halflife": 500}
    result = backtest(signals, bars, [1.0], 0, **options)
    assert result.summary().at["volatility", "value"] == pytest.approx(0.3, rel=0.05)
    returns = bars["close"].pct_change().to_numpy()[1:21]
    weights = 0.5 ** (np.arange(20)[::-1] / 500)
    volatility = np.sqrt(np.average(returns**2, weights=weights) * 365 * 1440)
    assert result.strategy.position[20] == pytest.approx(min(5.0, 0.3 / volatility))
    assert result.strategy.position[0] == 0  # no return is known yet


def test_decisions_by_the_hour_are_held_between_and_made_on_the_clock():
    bars, signals = random_market(400, seed=12)
    late = slice(17, None)  # a series that begins within an hour decides at the same moments
    whole, part = (
        backtest(signals[rows], bars[rows], [1, 0.5, 0], decide_every=60).strategy
        for rows in (slice(None), late)
    )
    position = pd.Series(whole.position, whole.index)
    minute_59 = signals["regime"].to_numpy()[59::60]
    expected = [0.0, *(1 - 0.5 * k if k >= 0 else 0.0 for k in minute_59)]
    assert position.groupby(position.index.hour).unique().map(list).tolist() == [
        [value] for value in expected
    ]
    np.testing.assert_array_equal(part.position, position[part.index])


def test_a_leverage_cap_holds_in_a_halt_where_volatility_vanishes():
    bars = make_bars([100.0] * 50)
    signals = make_signals(np.zeros(50), bars, 1)
    result = backtest(signals, bars, [1.0], volatility_target=0.3, max_leverage=2.0)
    assert result.strategy.position.max() == 2.0
    assert np.isfinite(result.equity.to_numpy()).all()


def test_a_strategy_that_loses_everything_stays_at_zero():
    bars = make_bars([100, 40, 80, 160], "1d")
    result = backtest(make_signals([0, 0, 0, 0], bars, 1), bars, [2.0], cost_bps=0)
    assert result.equity["strategy"].tolist()[1:] == pytest.approx([0, 0, 0], abs=1e-200)
    assert result.summary().at["total_return", "value"] == -1
    assert result.summary().at["max_drawdown", "value"] == -1


def test_intervals_hold_the_value_and_shrink_with_more_days():
    widths = []
    for n_days in (40, 640):
        bars, signals = random_market(n_days * 24, seed=7, interval="1h", scale=0.002)
        table = backtest(signals, bars, [1, 0.5, 0]).summary()
        assert (table["low"] <= table["value"]).all()
        assert (table["value"] <= table["high"]).all()
        widths.append(table.loc["sharpe", "high"] - table.loc["sharpe", "low"])
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.5)


def test_drawdowns_of_resampled_days_equal_those_of_their_joined_minutes():
    from microstream_lab.research import performance
    from microstream_lab.research.bootstrap import stationary_indices

    growth = np.random.default_rng(8).normal(0, 0.01, 12 * 10)
    days = performance._daily_paths(growth, np.arange(0, 120, 10))
    indices = stationary_indices(12, n=50, seed=9)
    joined = [
        performance.max_drawdown(np.concatenate([growth[10 * d : 10 * d + 10] for d in row]))
        for row in indices
    ]
    np.testing.assert_allclose(performance._deepest(days[indices]), joined, rtol=1e-12)


@pytest.mark.parametrize("name", ["p_0_smoothed", "regime_viterbi", "Smoothed_p_1"])
def test_hindsight_is_refused_by_name(name):
    bars, signals = random_market(20)
    with pytest.raises(LookAheadError, match=name):
        backtest(signals.assign(**{name: 0.5}), bars, [1, 0, 0])


def test_signals_without_filtered_probabilities_are_refused():
    bars, signals = random_market(20)
    with pytest.raises(LookAheadError, match="no filtered probabilities"):
        backtest(signals[["regime"]], bars, [1, 0, 0])


def test_signals_of_other_bars_are_refused_with_the_first_difference():
    bars, signals = random_market(20)
    with pytest.raises(DataError, match="19 signals and 20 bars that differ first at 2022-01-01"):
        backtest(signals[1:], bars, [1, 0, 0])


@pytest.mark.parametrize("exposure", [[1, 0], [1, 0, 0, 0], {0: 1, 2: 0}, [1, 0, np.nan]])
def test_an_exposure_that_does_not_name_every_regime_is_refused(exposure):
    bars, signals = random_market(20)
    with pytest.raises(SettingsError, match="one number for each of 3 regimes"):
        backtest(signals, bars, exposure)


def test_a_mapping_is_the_same_as_a_sequence():
    bars, signals = random_market(40)
    one, two = (backtest(signals, bars, e).summary() for e in ([1, 0.5, 0], {2: 0, 0: 1, 1: 0.5}))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost_bps": -1}, "cost_bps, band: found -1"),
        ({"cost_bps": np.nan}, "cost_bps, band: found nan"),
        ({"decide_every": 0}, "decide_every: found 0"),
        ({"volatility_target": 0.0}, "volatility_target"),
        ({"volatility_target": 0.2, "max_leverage": -1.0}, "max_leverage"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(options, message):
    bars, signals = random_market(20)
    with pytest.raises(SettingsError, match=message):
        backtest(signals, bars, [1, 0, 0], **options)


def test_bad_targets_and_prices_are_refused():
    bars, _ = random_market(20)
    with pytest.raises(DataError, match="1 of them NaN"):
        backtest_positions([np.nan] + [1.0] * 19, bars)
    with pytest.raises(DataError, match=r"close 0\.0, expected a positive price"):
        backtest_positions(np.ones(20), bars.assign(close=0.0))
    with pytest.raises(DataError, match="found 1 bars"):
        backtest_positions([1.0], bars[:1])


def test_inputs_stay_as_they_were():
    bars, signals = random_market(100)
    before = bars.copy(), signals.copy()
    backtest(signals, bars, [1, 0.5, 0], volatility_target=0.2, band=0.1).summary()
    pd.testing.assert_frame_equal(bars, before[0])
    pd.testing.assert_frame_equal(signals, before[1])


def test_half_a_million_bars_take_well_under_a_second():
    bars, signals = random_market(525_600, seed=10, scale=0.001)
    begin = time.process_time()
    backtest(signals, bars, [1, 0.5, 0]).summary()
    assert time.process_time() - begin < 1.5  # of the processor; about 0.3 on a quiet machine


def test_buying_in_happens_once_in_every_resample():
    bars, signals = random_market(400, seed=3, interval="1h")
    summary = backtest(signals, bars, [1, 0.5, 0], 10, n_resamples=200).summary()
    for figure, value in (("turnover", 1.0), ("trades", 1.0), ("costs", 0.001)):
        held = summary.loc[figure, ["buy_and_hold", "hold_low", "hold_high"]]
        assert held.tolist() == pytest.approx([value] * 3), figure
        assert summary.loc[figure, "low"] < summary.loc[figure, "high"]


def test_a_year_is_one_of_the_calendar_where_bars_are_missing():
    bars = make_bars(np.linspace(100, 121, 21), "1d")
    half = bars.iloc[[0, 1, 2, 3, 10, 11, 12, 20]]
    for each in (bars, half):
        summary = backtest(make_signals([0] * len(each), each, 1), each, [1.0], 0).summary()
        assert summary.at["annual_return", "value"] == pytest.approx(1.21 ** (365 / 20) - 1)
    nets = half["close"].pct_change()[1:]
    per_year = 7 / (20 / 365)
    assert summary.at["sharpe", "value"] == pytest.approx(
        nets.mean() / nets.std(ddof=0) * np.sqrt(per_year)
    )


def test_daily_returns_compound_to_the_total():
    bars, signals = random_market(300, seed=4, interval="1h")
    result = backtest(signals, bars, [1, 0.5, 0], 5)
    total = (1 + result.daily_returns).prod() - 1
    assert total == pytest.approx(result.summary().at["total_return", "value"])
    assert len(result.daily_returns) == 13
