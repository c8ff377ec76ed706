"""Bars for notebooks: from the store, or from files without touching the store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.errors import DataError, SettingsError, StoreError
from microstream_lab.market.files import write_agg_trades, write_klines
from microstream_lab.market.simulate import simulate_market
from microstream_lab.research.inputs import load_bars
from microstream_lab.settings import Settings
from microstream_lab.store import Store

SERIES = ("BTCUSDT", "1m")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(microstream_home=tmp_path / "home", microstream_offline=True)


def test_bars_come_from_the_store_between_start_and_end(settings: Settings) -> None:
    bars = make_bars(50)
    Store(settings.store_path).write_bars(bars)
    loaded = load_bars(*SERIES, start=bars.index[10], end=bars.index[20], settings=settings)
    pd.testing.assert_frame_equal(loaded, bars[10:20], check_categorical=False)


def test_bars_recorded_long_after_a_history_are_left_out_unless_asked_for(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    history, today = make_bars(50), make_bars(4)
    today.index += pd.Timedelta(days=900)
    for bars in (history, today):
        Store(settings.store_path).write_bars(bars)
    loaded = load_bars(*SERIES, settings=settings)
    pd.testing.assert_frame_equal(loaded, history, check_categorical=False)
    assert "4 bars beyond a hole are left out" in caplog.text
    assert len(load_bars(*SERIES, start=history.index[0], settings=settings)) == 54


def test_bars_of_a_folder_are_those_of_the_store_after_importing_it(settings: Settings) -> None:
    bars = make_bars(50, market="um")
    write_klines(bars, settings.path("data", "btc"))
    loaded = load_bars(*SERIES, "um", data_dir="data/btc", settings=settings)
    store = Store(settings.store_path)
    assert not store.status().exists
    store.import_klines(settings.path("data", "btc"), "um")
    pd.testing.assert_frame_equal(loaded, load_bars(*SERIES, "um", settings=settings))


def test_files_of_other_series_in_the_folder_are_passed_over(settings: Settings) -> None:
    folder = settings.path("data", "mixed")
    bars = make_bars(50)
    for other in (make_bars(20, symbol="ETHUSDT"), make_bars(20, interval="5m"), bars):
        write_klines(other, folder)
    loaded = load_bars(*SERIES, data_dir=folder, settings=settings)
    pd.testing.assert_frame_equal(loaded, bars, check_categorical=False)
    with pytest.raises(DataError, match="found none, expected bars of SOLUSDT"):
        load_bars("SOLUSDT", "1m", data_dir=folder, settings=settings)


def test_trades_in_the_folder_become_the_bars_asked_for(settings: Settings) -> None:
    market = simulate_market("2025-05-01", 1440, "1m")
    write_agg_trades(market.trades, settings.path("data", "trades"))
    series = (market.bars["symbol"].iloc[0], "5m", "sim")
    loaded = load_bars(*series, data_dir="data/trades", settings=settings)
    assert loaded["trades"].sum() == market.bars["trades"].sum()
    assert loaded["close"].tolist() == market.bars["close"].iloc[4::5].tolist()


def test_bars_that_are_not_there_are_an_error_that_says_how_to_get_them(
    settings: Settings,
) -> None:
    Store(settings.store_path).write_bars(make_bars(50))
    with pytest.raises(DataError, match=r"found none, expected bars .*; there are spot BTCUSDT 1m"):
        load_bars("ETHUSDT", "1m", settings=settings)
    write_klines(make_bars(50), settings.path("data", "btc"))
    with pytest.raises(DataError, match=r"found none, expected bars of BTCUSDT 1m .* from 2025"):
        load_bars(*SERIES, start="2025", data_dir="data/btc", settings=settings)


def test_no_store_at_all_and_an_unknown_market_are_told_apart(settings: Settings) -> None:
    with pytest.raises(StoreError, match="no store at"):
        load_bars(*SERIES, settings=settings)
    with pytest.raises(SettingsError, match="market: found 'moon'"):
        load_bars(*SERIES, "moon", settings=settings)
