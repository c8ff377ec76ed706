"""The simulated market against what it was told to be."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest

from microstream_lab.bars import bars_from_trades
from microstream_lab.errors import SettingsError
from microstream_lab.market.simulate import SimulatedMarket, simulate_days, simulate_market
from microstream_lab.market.simulate.events import MarketEvent, draw_events, fall, influence_of
from microstream_lab.market.simulate.scenario import (
    CLUSTER_SIZE,
    RegimeSpec,
    Scenario,
    activity_of_day,
    default_regimes,
    flow_variance,
    transition_matrix,
)
from microstream_lab.schema import TRADE_COLUMNS, interval_us, require_bars

START = "2025-01-01"
PLAIN = Scenario(events_per_day=0)


@pytest.fixture(scope="module")
def month() -> SimulatedMarket:
    return simulate_market(START, 43_200, "1m", seed=5, scenario=PLAIN)


def micros(times: pd.Series | pd.Index) -> np.ndarray:
    return pd.DatetimeIndex(times).as_unit("us").asi8


def states_of_trades(market: SimulatedMarket) -> np.ndarray:
    step = interval_us(str(market.bars["interval"].iloc[0]))
    opening = micros(market.bars.index)[0]
    return market.states[(micros(market.trades["trade_time"]) - opening) // step]


@pytest.mark.parametrize(
    ("interval", "n_bars"), [("1s", 5000), ("1m", 1500), ("1h", 300), ("1d", 40)]
)
def test_every_interval_gives_whole_bars_trades_and_states(interval: str, n_bars: int) -> None:
    market = simulate_market(START, n_bars, interval, seed=3)
    bars = require_bars(market.bars)
    assert len(bars) == len(market.states) == n_bars
    assert bars.index[0] == pd.Timestamp(START, tz="UTC")
    assert (np.diff(micros(bars.index)) == interval_us(interval)).all()
    assert set(bars["market"]) == {"sim"}
    assert set(bars["symbol"]) == {"SIMUSDT"}
    assert set(bars["quality"]) == {"complete"}
    assert set(np.unique(market.states)) <= {0, 1, 2}
    assert 10 < bars["trades"].mean() < 3000 or interval == "1s"


def test_trades_are_contiguous_ordered_and_within_the_bars(month: SimulatedMarket) -> None:
    trades, times = month.trades, micros(month.trades["trade_time"])
    assert tuple(trades.columns) == (*TRADE_COLUMNS, "market", "symbol")
    assert (np.diff(trades["agg_id"]) == 1).all()
    assert (trades["first_id"].iloc[1:].to_numpy() == trades["last_id"].iloc[:-1] + 1).all()
    assert (trades["last_id"] >= trades["first_id"]).all()
    assert (trades["last_id"] > trades["first_id"]).any()
    assert (np.diff(times) >= 0).all()
    opening, closing = micros(month.bars.index)[[0, -1]] + [0, interval_us("1m")]
    assert opening <= times[0] < opening + interval_us("1m")
    assert times[-1] < closing


def test_bars_are_those_of_the_trades(month: SimulatedMarket) -> None:
    again = bars_from_trades(month.trades, "1m", until=month.bars.index[-1] + pd.Timedelta("1m"))
    pd.testing.assert_frame_equal(month.bars, again, check_exact=True)


def test_prices_lie_on_ticks_and_quantities_on_lots(month: SimulatedMarket) -> None:
    price, quantity = month.trades["price"].to_numpy(), month.trades["quantity"].to_numpy()
    np.testing.assert_array_equal(price, np.rint(price * 10) / 10)
    np.testing.assert_array_equal(quantity, np.rint(quantity * 1e5) / 1e5)
    assert price.min() > 0
    assert quantity.min() > 0


def test_other_grids_and_symbol_are_kept() -> None:
    scenario = Scenario(symbol="TOYUSDT", price=2.0, tick_size=0.0001, lot_size=1.0)
    market = simulate_market(START, 100, seed=1, scenario=scenario)
    price = market.trades["price"].to_numpy()
    np.testing.assert_array_equal(price, np.rint(price * 1e4) / 1e4)
    assert price[0] == pytest.approx(2.0, rel=0.05)
    assert (market.trades["quantity"] % 1 == 0).all()
    assert set(market.bars["symbol"]) == {"TOYUSDT"}


def test_same_seed_same_bytes_and_another_seed_another_market() -> None:
    one, two = (simulate_market(START, 500, seed=11) for _ in range(2))
    pd.testing.assert_frame_equal(one.trades, two.trades, check_exact=True)
    np.testing.assert_array_equal(one.states, two.states)
    other = simulate_market(START, 500, seed=12)
    assert not one.bars["close"].equals(other.bars["close"])


@pytest.mark.parametrize(("interval", "short", "long"), [("1m", 700, 3000), ("1h", 30, 100)])
def test_a_longer_market_begins_with_the_shorter_one(interval: str, short: int, long: int) -> None:
    scenario = Scenario(events_per_day=5)
    part, whole = (simulate_market(START, n, interval, 3, 4, scenario) for n in (short, long))
    pd.testing.assert_frame_equal(part.bars, whole.bars.iloc[:short], check_exact=True)
    pd.testing.assert_frame_equal(
        part.trades, whole.trades.iloc[: len(part.trades)], check_exact=True
    )
    np.testing.assert_array_equal(part.states, whole.states[:short])
    assert part.events["start"].tolist() == whole.events["start"][: len(part.events)].tolist()


def test_days_joined_are_the_market() -> None:
    whole = simulate_market("2025-01-01 06:00", 3 * 1440, seed=8)
    days = list(islice(simulate_days("2025-01-01 06:00", seed=8), 3))
    for name in ("trades", "bars", "events"):
        joined = pd.concat([getattr(day, name) for day in days])
        expected = getattr(whole, name)
        same_index = joined if name == "bars" else joined.reset_index(drop=True)
        pd.testing.assert_frame_equal(same_index, expected, check_exact=True)
    np.testing.assert_array_equal(np.concatenate([d.states for d in days]), whole.states)


def test_arrival_rates_sizes_and_sides_of_each_regime_come_back(month: SimulatedMarket) -> None:
    """Over whole days the rhythm averages out only roughly, so it is divided out."""
    of_trade, sides = states_of_trades(month), 1 - 2 * month.trades["buyer_is_maker"].to_numpy()
    activity = activity_of_day(micros(month.bars.index) + 30_000_000, PLAIN.daily_rhythm)
    for k, spec in enumerate(month.regimes):
        n_trades = (of_trade == k).sum()
        minutes = activity[month.states == k].sum()
        assert n_trades / minutes == pytest.approx(spec.trades_per_minute, rel=0.02)
        size = month.trades["quantity"].to_numpy()[of_trade == k].mean()
        assert size == pytest.approx(spec.mean_size, rel=0.03)
        doubt = 4 * (flow_variance(spec.imbalance) / n_trades) ** 0.5
        assert sides[of_trade == k].mean() == pytest.approx(spec.imbalance, abs=doubt)


def test_volatility_of_each_regime_comes_back(month: SimulatedMarket) -> None:
    """Five-minute returns inside one regime, so that bounce and borders weigh little."""
    log_close = np.log(month.bars["close"].to_numpy())
    activity = activity_of_day(micros(month.bars.index), PLAIN.daily_rhythm)
    ends = np.arange(5, len(log_close), 5)
    same = np.array([len(set(month.states[e - 5 : e + 2])) == 1 for e in ends])
    for k, spec in enumerate(month.regimes):
        rows = ends[same & (month.states[ends] == k)]
        moves = (log_close[rows] - log_close[rows - 5]) / np.sqrt(5 * activity[rows - 2])
        assert len(rows) > 500
        assert moves.std() == pytest.approx(spec.volatility, rel=0.08)


def test_spread_of_each_regime_comes_back_from_trades_that_follow_at_once(
    month: SimulatedMarket,
) -> None:
    """A buy right after a sale pays the spread, less what the sale moved for good."""
    trades, state = month.trades, states_of_trades(month)
    price, sold = trades["price"].to_numpy(), trades["buyer_is_maker"].to_numpy()
    at_once = np.diff(micros(trades["trade_time"])) < 200_000
    pairs = np.flatnonzero(at_once & sold[:-1] & ~sold[1:] & (state[:-1] == state[1:]))
    for k, spec in enumerate(month.regimes):
        rows = pairs[state[pairs] == k]
        gap = price[rows + 1] - price[rows] + spec.impact * (1 + spec.imbalance) * price[rows]
        doubt = 4 * gap.std() / len(rows) ** 0.5
        assert gap.mean() == pytest.approx(spec.spread_ticks * PLAIN.tick_size, abs=doubt)
        assert doubt < 0.2 * spec.spread_ticks * PLAIN.tick_size


def test_roll_finds_a_spread_that_rises_with_the_regime() -> None:
    """Roll's estimate needs flow without memory: every other trade is as good as none."""
    regimes = tuple(RegimeSpec(60, 1e-4, ticks, 0, 0, 0.05, 200) for ticks in (50, 400))
    scenario = Scenario(regimes, events_per_day=0, daily_rhythm=0)
    market = simulate_market(START, 2 * 1440, n_regimes=2, seed=1, scenario=scenario)
    moves = np.diff(market.trades["price"].to_numpy()[:: 4 * int(CLUSTER_SIZE)])
    state = states_of_trades(market)[:: 4 * int(CLUSTER_SIZE)][1:-1]
    product = moves[1:] * moves[:-1]
    estimates = [2 * np.sqrt(max(0.0, -product[state == k].mean())) for k in (0, 1)]
    assert estimates[1] == pytest.approx(40.0, rel=0.15)
    assert estimates[0] < estimates[1] / 2


def test_what_takers_buy_moves_the_price_up_and_the_more_the_worse_the_regime(
    month: SimulatedMarket,
) -> None:
    log_close = np.log(month.bars["close"].to_numpy())
    signed = (
        pd.Series(1.0 - 2.0 * month.trades["buyer_is_maker"])
        .groupby((micros(month.trades["trade_time"]) - micros(month.bars.index)[0]) // 60_000_000)
        .sum()
        .reindex(range(len(log_close)), fill_value=0.0)
        .to_numpy()
    )
    slopes = []
    for k, spec in enumerate(month.regimes):
        rows = np.flatnonzero((month.states[1:] == k) & (month.states[:-1] == k)) + 1
        slope = np.polyfit(signed[rows], log_close[rows] - log_close[rows - 1], 1)[0]
        assert slope == pytest.approx(spec.impact, rel=0.35)
        slopes.append(slope)
    assert slopes == sorted(slopes)


def test_regimes_persist_and_calm_is_usual_and_crises_rare() -> None:
    thin = [replace(r, trades_per_minute=0.1, impact=0) for r in default_regimes(3, "1m")]
    market = simulate_market(START, 40_000, "1m", scenario=Scenario(thin, events_per_day=0))
    states = market.states
    calm, high, crisis = np.bincount(states) / len(states)
    assert 0.35 < calm < 0.65
    assert 0.25 < high < 0.55
    assert 0.04 < crisis < 0.18
    stays = np.diff(np.flatnonzero(np.diff(states)))
    kind = states[1:][np.flatnonzero(np.diff(states))[:-1]]
    for k, spec in enumerate(market.regimes):
        n_stays = (kind == k).sum()
        doubt = 4 * spec.mean_stay / n_stays**0.5
        assert stays[kind == k].mean() == pytest.approx(spec.mean_stay, abs=doubt)


def test_transitions_lead_to_neighbours_and_half_the_time_to_calm() -> None:
    matrix = transition_matrix(default_regimes(3, "1m"))
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    assert matrix[0, 2] == matrix[2, 0] == 0
    usual = np.linalg.matrix_power(matrix, 100_000)[0]
    np.testing.assert_allclose(usual, [0.5, 0.4, 0.1], rtol=1e-6)


@pytest.mark.parametrize("n_regimes", [2, 4, 7])
def test_any_number_of_regimes_is_ordered_and_told_apart_by_volatility(n_regimes: int) -> None:
    market = simulate_market(START, 20_000, "1m", n_regimes, seed=2, scenario=PLAIN)
    assert set(np.unique(market.states)) == set(range(n_regimes))
    assert len(market.regimes) == n_regimes
    close = np.log(market.bars["close"]).diff().groupby(market.states).std().to_numpy()
    assert (np.diff(close) > 0).all()
    volume = market.bars["quote_volume"].groupby(market.states).mean().to_numpy()
    assert (np.diff(volume) > 0).all()


def test_arrivals_cluster_beyond_chance_and_follow_the_day(month: SimulatedMarket) -> None:
    calm = np.flatnonzero(month.states == 0)
    counts = month.bars["trades"].to_numpy()
    activity = activity_of_day(micros(month.bars.index), PLAIN.daily_rhythm)
    even = counts[calm] / activity[calm]
    assert even.var() > 2 * even.mean()
    assert (counts[calm] == 0).any()
    assert np.corrcoef(counts[calm], activity[calm])[0, 1] > 0.25


def test_events_are_where_they_are_declared() -> None:
    scenario = Scenario(events_per_day=6)
    eventful = simulate_market(START, 10 * 1440, seed=9, scenario=scenario)
    events, trades = eventful.events, eventful.trades.set_index("trade_time")
    assert set(events["kind"]) == {"flash_crash", "liquidity_void", "fat_finger"}
    assert (events["start"].iloc[1:].to_numpy() >= events["end"].iloc[:-1].to_numpy()).all()
    rates = {}
    for kind, start, end in events.itertuples(index=False):
        window = pd.Timedelta("30min")
        inside = trades[(trades.index >= start) & (trades.index < end)]
        before = trades[(trades.index >= start - window) & (trades.index < start)]
        rate = len(inside) / (end - start).total_seconds() / (len(before) / 1800)
        if kind == "flash_crash":
            assert inside["price"].min() < before["price"].median() * 0.99
            back = trades.loc[end:]["price"].iloc[0]
            assert back > inside["price"].min() * 1.01
            rates.setdefault(kind, []).append(rate)
        elif kind == "liquidity_void":
            rates.setdefault(kind, []).append(rate)
        else:
            around = trades["price"].iloc[trades.index.searchsorted(start) + np.array([-1, 1])]
            assert len(inside) >= 1
            assert abs(inside["price"].iloc[0] / around - 1).min() > 0.01
            assert inside["quantity"].max() == pytest.approx(inside["quantity"].iloc[0])
    assert np.median(rates["flash_crash"]) > 3
    assert np.median(rates["liquidity_void"]) < 0.4


def test_events_are_whole_minutes_within_their_day_and_do_not_overlap() -> None:
    day = 86_400_000_000
    for seed in range(30):
        events = draw_events(np.random.default_rng(seed), 5 * day, 12.0)
        edges = [edge for e in events for edge in (e.start, e.end)]
        assert edges == sorted(edges)
        assert all(5 * day < edge < 6 * day and edge % 60_000_000 == 0 for edge in edges)


def test_a_flash_crash_gives_back_its_fall_and_touches_nothing_else() -> None:
    crash = MarketEvent("flash_crash", 1000, 2000, 0.05)
    times = np.array([0, 999, 1000, 1300, 1700, 1999, 2000, 3000])
    offset = fall([crash], times)
    np.testing.assert_allclose(offset[[0, 1, 2, 6, 7]], 0)
    assert offset.min() == offset[3] == pytest.approx(-0.05)
    assert abs(offset[5]) < 1e-4
    assert fall([MarketEvent("liquidity_void", 1000, 2000, 0.05)], times).any() == np.False_


def test_without_events_nothing_is_influenced() -> None:
    influence = influence_of([], np.arange(5, dtype=np.int64))
    for name in ("arrivals", "spread", "impact", "size"):
        np.testing.assert_array_equal(getattr(influence, name), 1)
    np.testing.assert_array_equal(influence.imbalance, 0)


def test_known_events_are_cut_at_the_end_of_the_market() -> None:
    scenario = Scenario(events_per_day=20)
    whole = simulate_market(START, 1440, seed=2, scenario=scenario).events
    crash = whole[whole["kind"] != "fat_finger"].iloc[0]
    n_bars = int((crash["start"] - pd.Timestamp(START, tz="UTC")) / pd.Timedelta("1min")) + 1
    cut = simulate_market(START, n_bars, seed=2, scenario=scenario).events
    assert cut["start"].iloc[-1] == crash["start"]
    assert cut["end"].iloc[-1] == crash["start"] + pd.Timedelta("1min")


def test_regimes_given_are_regimes_used() -> None:
    regimes = (
        RegimeSpec(5, 1e-4, 1, 0, 0, 1.0, 10),
        RegimeSpec(50, 20e-4, 9, 1e-5, 0.3, 2.0, 10),
    )
    market = simulate_market(START, 3000, n_regimes=2, scenario=Scenario(regimes))
    assert market.regimes == regimes
    rates = np.bincount(states_of_trades(market)) / np.bincount(market.states)
    np.testing.assert_allclose(rates, [5, 50], rtol=0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_bars": 0}, "n_bars: found 0"),
        ({"n_bars": 1.5}, "n_bars: found 1.5"),
        ({"interval": "7m"}, "interval: found '7m'"),
        ({"n_regimes": 1}, "n_regimes: found 1"),
        ({"seed": -1}, "seed: found -1"),
        ({"start": "2025-01-01 00:00:30"}, "expected a multiple of 1m"),
        ({"start": "soon"}, "time: found 'soon'"),
        ({"scenario": Scenario(default_regimes(2, "1m"))}, "regimes: found 2"),
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    usual: dict[str, object] = {"start": START, "n_bars": 10, "interval": "1m"}
    with pytest.raises(SettingsError, match=message):
        simulate_market(**{**usual, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tick_size", 0.3),
        ("lot_size", 0.0),
        ("price", 1.0),
        ("daily_rhythm", 1.0),
        ("events_per_day", -1),
    ],
)
def test_unusable_scenarios_are_refused(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name}: found {value}"):
        Scenario(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trades_per_minute", 0),
        ("volatility", float("nan")),
        ("spread_ticks", 0),
        ("impact", 1.0),
        ("imbalance", 0.8),
        ("mean_size", -1),
        ("mean_stay", 0.5),
    ],
)
def test_unusable_regimes_are_refused(name: str, value: float) -> None:
    usual = {
        "trades_per_minute": 10,
        "volatility": 1e-3,
        "spread_ticks": 1,
        "impact": 0,
        "imbalance": 0,
        "mean_size": 1,
        "mean_stay": 10,
    }
    with pytest.raises(SettingsError, match=f"{name}: found {value}"):
        RegimeSpec(**{**usual, name: value})  # type: ignore[arg-type]


def test_days_refuse_at_the_call() -> None:
    with pytest.raises(SettingsError, match="n_regimes: found 99"):
        simulate_days(START, n_regimes=99)
