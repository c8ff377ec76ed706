"""The live session against a local exchange: what it shows, stores and survives."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exchange_thread import ThreadedExchange, exchange_in_thread

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import MicrostreamError, SettingsError
from microstream_lab.live.bundles import Shelf
from microstream_lab.live.session import LiveSession
from microstream_lab.market.exchange import EndlessMarket
from microstream_lab.market.simulate import simulate_market
from microstream_lab.models.drift import Reading
from microstream_lab.registry import Registry
from microstream_lab.schedule.requests import pending
from microstream_lab.schema import BAR_VALUES
from microstream_lab.settings import Settings
from microstream_lab.store import Store
from microstream_lab.training import train_bundle

START = pd.Timestamp("2024-03-01", tz="UTC")
OPEN_FROM = START + pd.Timedelta(hours=12)
SPEED = 300.0


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return train_bundle(simulate_market("2024-02-01", 1_000, seed=5).bars, n_starts=1)


@pytest.fixture(scope="module")
def other_bundle() -> ModelBundle:
    return train_bundle(simulate_market("2024-02-05", 900, seed=6).bars, n_starts=1)


@pytest.fixture(scope="module")
def market() -> Iterator[ThreadedExchange]:
    source = EndlessMarket(("SIMUSDT",), START, seed=3)
    with exchange_in_thread(source, speed=SPEED, play_from=OPEN_FROM) as opened:
        yield opened


@pytest.fixture
def settings(market: ThreadedExchange, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("BINANCE_WS_URL", market.exchange.ws_url)
    monkeypatch.setenv("BINANCE_REST_URL", market.exchange.rest_url)
    monkeypatch.setenv("MARKET", "sim")
    return Settings.load()


def until(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until something holds that another thread brings about."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def promote(settings: Settings, bundle: ModelBundle) -> str:
    registry = Registry(settings.models_path)
    version = registry.save(bundle)
    registry.promote(bundle.symbol, bundle.interval, version, bundle.market)
    return version


def test_session_shows_a_full_window_with_regimes_and_then_the_exchanges_own_bars(
    market: ThreadedExchange, settings: Settings, bundle: ModelBundle
) -> None:
    promote(settings, bundle)
    with LiveSession("SIMUSDT", source="binance", window=120) as session:
        assert session.wait(bars=4, timeout_s=40) >= 4
        picture, status = session.picture(), session.status()
    truth = market.call(market.exchange.bars, "SIMUSDT", "1m")
    index = pd.to_datetime(picture.times, unit="us", utc=True)
    assert len(index) == 120
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(picture.columns[name], truth.loc[index, name])
    regimes = bundle.signals(truth.loc[: index[-1]])["regime"].loc[index]
    assert (picture.columns["regime"][-50:] == regimes[-50:]).mean() > 0.9
    assert (status.phase, status.version, status.provisional) == ("live", "v0001", False)
    assert 0 < picture.spread < picture.price / 100


def test_bars_and_signals_are_stored_as_the_batch_computes_them(
    market: ThreadedExchange, settings: Settings, bundle: ModelBundle
) -> None:
    with LiveSession("SIMUSDT", source="binance", bundle=bundle, window=60) as session:
        session.wait(bars=4, timeout_s=40)
    stored = Store().bars("SIMUSDT", "1m", market="sim")
    truth = market.call(market.exchange.bars, "SIMUSDT", "1m").loc[stored.index]
    assert len(stored) >= 4
    pd.testing.assert_frame_equal(stored[list(BAR_VALUES)], truth[list(BAR_VALUES)])
    signals = Store().signals("SIMUSDT", "1m", market="sim")
    history = market.call(market.exchange.bars, "SIMUSDT", "1m")
    before = history.index.get_loc(stored.index[0])
    batch = bundle.signals(history.iloc[before - 160 :]).loc[signals.index]
    np.testing.assert_allclose(signals["anomaly_score"], batch["anomaly_score"], rtol=1e-9)
    assert (signals["bundle_id"] == bundle.bundle_id).all()


def test_store_false_stores_nothing(settings: Settings, bundle: ModelBundle) -> None:
    with LiveSession("SIMUSDT", source="binance", bundle=bundle, store=False) as session:
        session.wait(bars=1, timeout_s=40)
    assert not Store().status().exists


def test_without_a_bundle_one_is_trained_and_called_provisional(
    settings: Settings, bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(settings, dataclasses.replace(bundle, symbol="OTHERUSDT"))
    with LiveSession("SIMUSDT", source="binance", store=False, window=50) as session:
        session.wait(bars=1, timeout_s=60)
        picture, status = session.picture(), session.status()
    assert status.provisional
    assert picture.model is not None
    assert picture.model.bundle_id != bundle.bundle_id
    assert (picture.columns["regime"] >= 0).all()
    assert any("training a provisional one" in entry.text for entry in picture.log)


def test_promoted_bundle_takes_over_between_two_bars(
    settings: Settings, bundle: ModelBundle, other_bundle: ModelBundle
) -> None:
    promote(settings, bundle)
    with LiveSession("SIMUSDT", source="binance", window=60) as session:
        session.wait(bars=1, timeout_s=40)
        version = promote(settings, other_bundle)
        until(lambda: session.status().version == version)
        session.wait(bars=session.status().bars + 2, timeout_s=30)
        picture = session.picture()
    stored = Store().signals("SIMUSDT", "1m", market="sim")["bundle_id"]
    assert stored.unique().tolist() == [bundle.bundle_id, other_bundle.bundle_id]
    assert picture.swaps == (int(stored.index[stored == other_bundle.bundle_id][0].value // 1_000),)


def test_promotion_and_rollback_are_shown_with_the_bar_after_them(
    settings: Settings,
    bundle: ModelBundle,
    other_bundle: ModelBundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three seconds a bar: the registry is looked at each second."""
    with exchange_in_thread(
        EndlessMarket(("SIMUSDT",), START, seed=3), speed=20.0, play_from=OPEN_FROM
    ) as market:
        monkeypatch.setenv("BINANCE_WS_URL", market.exchange.ws_url)
        monkeypatch.setenv("BINANCE_REST_URL", market.exchange.rest_url)
        first, registry = promote(settings, bundle), Registry(settings.models_path)
        with LiveSession("SIMUSDT", source="binance", window=60) as session:
            n_bars = session.wait(bars=1, timeout_s=60)
            assert session.status().version == first
            second = promote(settings, other_bundle)
            n_bars = session.wait(bars=n_bars + 1, timeout_s=60)
            assert session.status().version == second
            assert registry.rollback("SIMUSDT", "1m", "sim") == first
            n_bars = session.wait(bars=n_bars + 1, timeout_s=60)
            assert session.status().version == first
            session.wait(bars=n_bars + 1, timeout_s=60)
            picture = session.picture()
    told = [entry.text for entry in picture.log if entry.kind == "model"]
    assert told == [f"bundle {version}" for version in (first, second, first)]
    made_by = Store().signals("SIMUSDT", "1m", market="sim")["bundle_id"].tolist()
    wanted = [bundle.bundle_id, other_bundle.bundle_id, bundle.bundle_id, bundle.bundle_id]
    assert made_by[-4:] == wanted


def test_promotion_taken_back_before_the_next_bar_changes_nothing(
    settings: Settings, bundle: ModelBundle, other_bundle: ModelBundle
) -> None:
    first = promote(settings, bundle)
    shelf = Shelf(settings, ("sim", "SIMUSDT", "1m"))
    shelf.in_use = shelf.choose(None)
    second = promote(settings, other_bundle)
    shelf.look()
    Registry(settings.models_path).rollback("SIMUSDT", "1m", "sim")
    shelf.look()
    assert shelf.take() is None
    Registry(settings.models_path).promote("SIMUSDT", "1m", second, "sim")
    shelf.look()
    due = shelf.take()
    assert due is not None
    assert (due.version, first) == (second, "v0001")


def test_drift_is_stored_shown_and_an_alarm_asks_for_a_training(
    market: ThreadedExchange,
    settings: Settings,
    bundle: ModelBundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reference by which any window is beyond its limits."""
    reference = bundle.drift
    assert reference is not None
    limits = Reading(np.full(len(reference.names), -1.0), np.inf, np.inf)
    touchy = dataclasses.replace(
        bundle, drift=dataclasses.replace(reference, limits=limits, window=50)
    )
    monkeypatch.setenv("DRIFT_REQUESTS_TRAINING", "true")
    with LiveSession(
        "SIMUSDT", source="binance", bundle=touchy, window=100, settings=Settings.load()
    ) as session:
        session.wait(bars=1, timeout_s=40)
        until(lambda: pending(settings))
        picture = session.picture()
    (request,) = pending(settings)
    assert request.series == ("sim", "SIMUSDT", "1m")
    assert picture.health.drift is not None
    assert picture.health.drift.alarms == reference.names
    assert [entry.kind for entry in picture.log].count("drift") == 1
    stored = Store().drift("SIMUSDT", "1m", market="sim", bundle_id=bundle.bundle_id)
    assert stored["n_bars"].iloc[0] == 50
    assert set(stored["alarms"].iloc[0]) == set(reference.names)


def test_pinned_bundle_is_not_replaced(
    settings: Settings, bundle: ModelBundle, other_bundle: ModelBundle
) -> None:
    first, _ = promote(settings, bundle), promote(settings, other_bundle)
    with LiveSession("SIMUSDT", source="binance", bundle=first, store=False) as session:
        session.wait(bars=8, timeout_s=40)
        assert session.status().version == first


def test_cut_connection_is_called_stale_then_repaired(
    market: ThreadedExchange, settings: Settings, bundle: ModelBundle
) -> None:
    with LiveSession("SIMUSDT", source="binance", bundle=bundle, window=60) as session:
        session.wait(bars=1, timeout_s=40)
        market.call(market.exchange.inject, "cut")
        until(lambda: session.status().reconnects)
        session.wait(bars=session.status().bars + 3, timeout_s=40)
        until(lambda: session.picture().health.stale_since is None)
        picture = session.picture()
    kinds = [entry.kind for entry in picture.log]
    assert "stale" in kinds
    assert "link" in kinds
    silent_s = [
        float(e.text.split()[-2]) for e in picture.log if e.kind == "stale" and " s" in e.text
    ]
    assert max(silent_s) < 60  # by our clock, not by the market's, which is in another year
    truth = market.call(market.exchange.bars, "SIMUSDT", "1m")
    index = pd.to_datetime(picture.times, unit="us", utc=True)
    whole = picture.columns["quality"] < 2
    np.testing.assert_array_equal(
        picture.columns["close"][whole], truth.loc[index[whole], "close"].to_numpy()
    )


def test_starting_again_stops_the_earlier_session_of_the_series(
    settings: Settings, bundle: ModelBundle
) -> None:
    first = LiveSession("SIMUSDT", source="binance", bundle=bundle, store=False).start()
    with LiveSession("SIMUSDT", source="binance", bundle=bundle, store=False) as second:
        assert first.status().phase == "stopped"
        assert second.start() is second
        assert second.wait(bars=1, timeout_s=40) >= 1
    second.stop()
    with pytest.raises(SettingsError, match="stopped"):
        second.start()


def test_auto_offline_is_the_simulated_market_and_says_so(bundle: ModelBundle) -> None:
    session = LiveSession("BTCUSDT", bundle=bundle, store=False, window=60, speed=SPEED)
    with session:
        assert session.wait(bars=2, timeout_s=40) >= 2
        picture, status = session.picture(), session.status()
    assert (status.market, status.symbol) == ("sim", "SIMUSDT")
    assert "simulated market SIMUSDT: no price here is real" in picture.banner
    assert len(picture.times) == 60


def test_unreachable_exchange_fails_with_words(bundle: ModelBundle) -> None:
    session = LiveSession("BTCUSDT", source="binance", bundle=bundle, store=False).start()
    with pytest.raises(MicrostreamError, match="MICROSTREAM_OFFLINE"):
        session.wait(timeout_s=20)
    assert session.status().phase == "failed"
    assert session.picture().log[-1].kind == "error"


def test_replay_plays_the_stored_bars_and_ends(bundle: ModelBundle, tmp_path: Path) -> None:
    bars = simulate_market("2024-02-10", 80).bars
    store = Store(tmp_path / "replayed.duckdb")
    store.write_bars(bars)
    session = LiveSession(
        "SIMUSDT", source="replay", bundle=bundle, store=store, market="sim", speed=1e5, window=50
    )
    assert session.start().wait(timeout_s=30) == 80
    picture = session.picture()
    assert session.status().phase == "ended"
    np.testing.assert_array_equal(picture.columns["close"], bars["close"].iloc[-50:])
    np.testing.assert_array_equal(
        picture.columns["regime"], bundle.signals(bars)["regime"].iloc[-50:]
    )


def test_store_source_follows_what_a_recorder_writes(bundle: ModelBundle, tmp_path: Path) -> None:
    bars = simulate_market("2024-02-10", 70).bars
    store = Store(tmp_path / "recorded.duckdb")
    store.write_bars(bars.iloc[:60])
    with LiveSession(
        "SIMUSDT", source="store", bundle=bundle, store=store, market="sim", window=50
    ) as session:
        until(lambda: len(session.picture().times) == 50)
        store.write_bars(bars.iloc[60:])
        assert session.wait(bars=10, timeout_s=30) == 10
        np.testing.assert_array_equal(session.picture().columns["close"], bars["close"].iloc[-50:])


@pytest.mark.parametrize(
    "mistake", [{"source": "nowhere"}, {"market": "moon"}, {"speed": 0}, {"interval": "7m"}]
)
def test_session_refuses_what_cannot_be(mistake: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="expected"):
        LiveSession("BTCUSDT", **mistake)  # type: ignore[arg-type]
