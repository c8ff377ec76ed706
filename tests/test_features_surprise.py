"""Surprises: a bar over what the hour before it led to expect, against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.features import features_from_bars

NAMES = "range_surprise,trades_surprise,impact_surprise,wick_surprise,body_surprise"


def expected(values: pd.Series) -> pd.Series:
    return values.ewm(halflife=60).mean().shift()


def test_surprises_divide_by_the_mean_that_ends_with_the_bar_before() -> None:
    bars = make_bars(400)
    ranges, root = np.log(bars["high"] / bars["low"]), np.sqrt(bars["trades"])
    bodies = np.log(bars["close"] / bars["open"])
    impacts = ranges / root
    oracle = pd.DataFrame(
        {
            "range_surprise": ranges / expected(ranges),
            "trades_surprise": bars["trades"] / expected(bars["trades"]),
            "impact_surprise": impacts / expected(impacts),
            "wick_surprise": (ranges - bodies.abs()) / root / expected(impacts),
            "body_surprise": bodies / root / expected(impacts),
        }
    )
    found = features_from_bars(bars, NAMES)
    assert found.iloc[:60].isna().all(axis=None)
    np.testing.assert_allclose(found.iloc[60:], oracle.iloc[60:], rtol=1e-9, atol=1e-12)


def test_a_bar_does_not_excuse_itself() -> None:
    bars = make_bars(200)
    wide = bars.copy()
    row = wide.index[150]
    wide.loc[row, "high"] = bars.loc[row, "low"] * np.exp(
        10 * np.log(bars.loc[row, "high"] / bars.loc[row, "low"])
    )
    before, after = (features_from_bars(each, NAMES).loc[row] for each in (bars, wide))
    assert after["range_surprise"] == pytest.approx(10 * before["range_surprise"])
    assert after["impact_surprise"] == pytest.approx(10 * before["impact_surprise"])
    assert after["trades_surprise"] == before["trades_surprise"]


def test_a_market_that_grows_fourfold_in_trades_and_twofold_in_range_is_no_surprise() -> None:
    bars = make_bars(200)
    bars[["open", "close"]], bars["low"] = 100.0, 100.0
    bars["high"], bars["trades"] = 100 * np.exp(1e-3), 25
    bars.loc[bars.index[150], ["high", "trades"]] = 100 * np.exp(2e-3), 100
    row = features_from_bars(bars, NAMES).iloc[150]
    assert row["impact_surprise"] == pytest.approx(1.0)
    assert row["wick_surprise"] == pytest.approx(1.0)
    assert row["range_surprise"] == pytest.approx(2.0)


def test_nothing_traded_is_zero_and_not_undefined() -> None:
    bars = make_bars(200)
    row = bars.index[150]
    bars.loc[row, ["volume", "quote_volume", "taker_buy_base", "taker_buy_quote", "trades"]] = 0
    bars.loc[row, ["open", "high", "low", "close"]] = bars["close"].iloc[149]
    assert (features_from_bars(bars, NAMES).loc[row] == 0).all()
