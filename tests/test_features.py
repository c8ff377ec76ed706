"""The contract every registered feature keeps, and closed forms for each of them."""

from __future__ import annotations

import pickle
from itertools import pairwise
from math import log, nan

import numpy as np
import pandas as pd
import pytest
from factories import make_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.features import (
    FEATURE_SETS,
    FEATURES,
    Feature,
    FeatureState,
    feature_names,
    features_from_bars,
    register,
)
from microstream_lab.schema import iter_bars

PRICES = ["open", "high", "low", "close"]
ALL = pytest.mark.parametrize("name", sorted(FEATURES))


def with_gaps(seed: int = 0, before: int = 0) -> pd.DataFrame:
    """Bars with short gaps, a long one, a quiet stretch, a price that stands, one-trade bars.

    All of it after `before` bars of nothing special.
    """
    bars = make_bars(before + 200, seed)
    quiet, single = bars.index[before + 60 : before + 90], bars.index[before + 91 : before + 97 : 2]
    flat = bars.loc[quiet[0], "close"]
    bars.loc[quiet, PRICES] = flat
    bars.loc[quiet, ["volume", "quote_volume", "taker_buy_base", "taker_buy_quote"]] = 0.0
    bars.loc[quiet, "trades"] = 0
    bars.loc[single, "trades"] = 1
    for name in PRICES[:3]:
        bars.loc[single, name] = bars.loc[single, "close"]
    keep = np.ones(len(bars), bool)
    keep[[before + 30, before + 120]] = False
    keep[before + 140 : before + 165] = False
    return bars[keep]


def trying(name: str, seed: int = 0) -> pd.DataFrame:
    """Bars with all of that once the feature has warmed up."""
    return with_gaps(seed, FEATURES[name](20).warm_up)


@ALL
def test_one_at_a_time_equals_batch_across_gaps_and_quiet_bars(name: str) -> None:
    bars = trying(name)
    state = FeatureState([name])
    streamed = np.array([state.update(bar)[name] for bar in iter_bars(bars)])
    batch = features_from_bars(bars, [name])[name].to_numpy()
    assert np.isfinite(batch).any()
    np.testing.assert_allclose(streamed, batch, rtol=1e-12, atol=0)


@ALL
def test_values_are_nan_exactly_during_warm_up_and_never_infinite(name: str) -> None:
    warm_up = FEATURES[name](20).warm_up
    bars = make_bars(warm_up + 100)
    values = features_from_bars(bars, [name])[name].to_numpy()
    assert np.isnan(values[:warm_up]).all()
    assert np.isfinite(values[warm_up:]).all()
    tried = features_from_bars(trying(name), [name])[name]
    assert np.isfinite(tried).any()
    assert not np.isinf(tried).any()


@ALL
@settings(max_examples=8, deadline=None)
@given(cut=st.integers(1, 168), seed=st.integers(0, 50))
def test_later_bars_change_no_earlier_value(name: str, cut: int, seed: int) -> None:
    bars = trying(name, seed)
    cut += len(bars) - 173
    whole = features_from_bars(bars, [name])[name].to_numpy()[:cut]
    prefix = features_from_bars(bars.iloc[:cut], [name])[name].to_numpy()
    np.testing.assert_array_equal(prefix, whole)


@ALL
def test_a_feature_declares_itself_and_leaves_its_input_alone(name: str) -> None:
    feature = FEATURES[name]
    assert feature.name == name
    assert feature.unit
    assert feature.__doc__
    bars = trying(name)
    before = bars.copy(deep=True)
    values = features_from_bars(bars, [name])[name]
    pd.testing.assert_frame_equal(bars, before)
    assert not feature.skewed or (values.dropna() >= 0).all()


@ALL
def test_a_feature_keeps_bounded_memory(name: str) -> None:
    feature = FEATURES[name](20)
    sizes = []
    for bar in iter_bars(make_bars(6000)):
        feature.update(bar)
        if bar.open_time % 3_600_000_000 == 0:
            sizes.append(len(pickle.dumps(feature)))
    assert max(sizes[50:]) <= max(sizes[:50]) + 64


@ALL
def test_a_feature_goes_on_where_it_was_pickled(name: str) -> None:
    bars = list(iter_bars(trying(name)))
    state = FeatureState([name])
    for bar in bars[:-80]:
        state.update(bar)
    copy = pickle.loads(pickle.dumps(state))
    for bar in bars[-80:]:
        assert copy.update(bar)[name] == pytest.approx(state.update(bar)[name], rel=0, nan_ok=True)


@ALL
@pytest.mark.parametrize("interval", ["1s", "3m", "5m", "1h"])
def test_one_at_a_time_equals_batch_at_every_interval(name: str, interval: str) -> None:
    bars = make_bars(80, interval=interval)
    state = FeatureState([name])
    streamed = np.array([state.update(bar)[name] for bar in iter_bars(bars)])
    np.testing.assert_allclose(streamed, features_from_bars(bars, [name])[name], rtol=1e-12)


def test_seed_set_is_exactly_return_range_and_relative_volume() -> None:
    bars = make_bars(60)
    records = list(iter_bars(bars))
    table = features_from_bars(bars, "seed")
    assert list(table.columns) == ["log_return", "range", "relative_volume"]
    returns = [nan, *(log(b.close / a.close) for a, b in pairwise(records))]
    ranges = [(bar.high - bar.low) / bar.open for bar in records]
    activity = [nan] * 19 + [
        records[t].volume / (sum(bar.volume for bar in records[t - 19 : t + 1]) / 20)
        for t in range(19, 60)
    ]
    oracle = np.column_stack([returns, ranges, activity])
    np.testing.assert_allclose(table.to_numpy(), oracle, rtol=1e-12)


def test_relative_volume_uses_the_window_it_is_given() -> None:
    bars = make_bars(60)
    table = features_from_bars(bars, "seed", window=5)
    last = bars["volume"].iloc[-5:]
    assert table["relative_volume"].iloc[-1] == pytest.approx(last.iloc[-1] / last.mean())
    assert table["relative_volume"].isna().sum() == 4


def test_relative_volume_is_zero_in_a_quiet_bar_and_undefined_when_nothing_traded() -> None:
    values = features_from_bars(with_gaps(), ["relative_volume"])["relative_volume"]
    in_quiet = values.to_numpy()[59:89]
    assert in_quiet[0] == 0
    assert np.isnan(in_quiet[-1])


def test_a_gap_makes_the_next_return_undefined_and_restarts_the_window() -> None:
    bars = make_bars(80).drop(index=make_bars(80).index[40])
    table = features_from_bars(bars, "seed")
    assert np.isnan(table["log_return"].iloc[40])
    assert table["relative_volume"].iloc[40:59].isna().all()
    assert np.isfinite(table["relative_volume"].iloc[59])


def test_a_bar_that_is_not_later_is_refused_one_at_a_time() -> None:
    first, second = iter_bars(make_bars(2))
    state = FeatureState()
    state.update(second)
    with pytest.raises(DataError, match="later than"):
        state.update(first)


def test_bars_of_another_interval_are_refused_one_at_a_time() -> None:
    state = FeatureState()
    state.update(next(iter_bars(make_bars(1))))
    with pytest.raises(DataError, match="found interval 5m, expected 1m"):
        state.update(next(iter_bars(make_bars(1, interval="5m", start="2024-01-02"))))


def test_an_unknown_feature_or_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="seed"):
        feature_names("sead")
    with pytest.raises(SettingsError, match="log_return"):
        feature_names(["log_retrun"])
    with pytest.raises(SettingsError, match="distinct"):
        feature_names(["range", "range"])
    with pytest.raises(SettingsError, match="at least 2"):
        features_from_bars(make_bars(30), window=1)


def test_features_may_be_named_in_one_text() -> None:
    assert feature_names("range, log_return") == ("range", "log_return")
    with pytest.raises(SettingsError, match="found 'rnge'"):
        feature_names("rnge,log_return")


@pytest.mark.parametrize("name", [n for n in FEATURES if FEATURES[n].spans_gaps])
def test_a_memory_that_spans_gaps_is_there_again_after_one(name: str) -> None:
    values = features_from_bars(trying(name), [name])[name].to_numpy()
    assert np.isfinite(values[FEATURES[name](20).warm_up + 1 :]).all()


def test_liquidity_set_is_defined_in_every_bar_of_a_market_that_trades() -> None:
    table = features_from_bars(make_bars(300), "liquidity")
    assert 12 <= table.shape[1] <= 17
    assert np.isfinite(table.to_numpy()[60:]).all()


def test_every_named_set_consists_of_registered_features() -> None:
    for names in FEATURE_SETS.values():
        assert set(names) <= FEATURES.keys()


def test_two_classes_cannot_share_a_feature_name() -> None:
    class Impostor(Feature):
        name = "range"

    with pytest.raises(SettingsError, match="second class"):
        register(Impostor)
