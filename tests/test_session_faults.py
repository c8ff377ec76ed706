"""The live session where things go wrong: it ends in time, goes on, and says what it left out."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from exchange_thread import ThreadedExchange, exchange_in_thread

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import BundleMismatchError, ExchangeError
from microstream_lab.live import course
from microstream_lab.live.session import LiveSession
from microstream_lab.market.exchange import EndlessMarket
from microstream_lab.market.simulate import simulate_market
from microstream_lab.registry import Registry
from microstream_lab.schema import BAR_VALUES
from microstream_lab.settings import Settings
from microstream_lab.store import Store
from microstream_lab.training import train_bundle

START = pd.Timestamp("2024-03-01", tz="UTC")
SPEED = 300.0
TWO_SECONDS_AND_A_BIT = 4.0


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return train_bundle(simulate_market("2024-02-01", 900, seed=5).bars, n_starts=1)


@pytest.fixture(scope="module")
def market() -> Iterator[ThreadedExchange]:
    source = EndlessMarket(("SIMUSDT",), START, seed=3)
    opened_from = START + pd.Timedelta(hours=12)
    with exchange_in_thread(source, speed=SPEED, play_from=opened_from) as opened:
        yield opened


@pytest.fixture
def settings(market: ThreadedExchange, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return settings_of(market.exchange.ws_url, market.exchange.rest_url, monkeypatch)


def settings_of(ws_url: str, rest_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("BINANCE_WS_URL", ws_url)
    monkeypatch.setenv("BINANCE_REST_URL", rest_url)
    monkeypatch.setenv("MARKET", "sim")
    return Settings.load()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An exchange that takes calls and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        yield settings_of(f"ws://{address}", f"http://{address}", monkeypatch)


def until(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until something holds that another thread brings about."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def stopped_in_time(session: LiveSession) -> None:
    began = time.monotonic()
    session.stop()
    assert time.monotonic() - began < TWO_SECONDS_AND_A_BIT
    assert session.status().phase == "stopped"


def words_of(session: LiveSession) -> str:
    return "\n".join(entry.text for entry in session.picture().log)


@pytest.mark.parametrize("after_s", [0, 0.001, 0.003, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_session_stops_at_any_moment(
    settings: Settings, bundle: ModelBundle, after_s: float
) -> None:
    session = LiveSession("SIMUSDT", source="binance", bundle=bundle, store=False).start()
    time.sleep(after_s)
    stopped_in_time(session)
    assert session.status().abandoned == ()


def test_cell_run_again_and_again_leaves_the_last_session_alone(
    settings: Settings, bundle: ModelBundle
) -> None:
    sessions = [
        LiveSession("SIMUSDT", source="binance", bundle=bundle, store=False).start()
        for _ in range(12)
    ]
    assert [each.status().phase for each in sessions[:-1]] == ["stopped"] * 11
    assert sessions[-1].wait(bars=1, timeout_s=40) >= 1
    assert sum(each.name == "live SIMUSDT" for each in threading.enumerate()) == 1
    stopped_in_time(sessions[-1])


def test_session_stops_while_the_exchange_says_nothing(silent: Settings) -> None:
    session = LiveSession("SIMUSDT", source="binance", store=False).start()
    time.sleep(0.3)
    stopped_in_time(session)


def test_silent_exchange_is_given_up_after_three_seconds_with_words(silent: Settings) -> None:
    session = LiveSession("SIMUSDT", source="binance", store=False).start()
    with pytest.raises(ExchangeError, match="no answer within 3 s"):
        session.wait(timeout_s=30)


def test_auto_falls_back_from_a_silent_exchange_and_says_why(
    silent: Settings, bundle: ModelBundle
) -> None:
    with LiveSession("BTCUSDT", bundle=bundle, store=False, window=60, speed=SPEED) as session:
        assert session.wait(bars=1, timeout_s=40) >= 1
        banner = session.picture().banner
    assert "Binance could not be reached" in banner
    assert "simulated market SIMUSDT: no price here is real" in banner


def test_training_that_hangs_is_left_behind_by_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def train(*_: object) -> None:
        begun.set()
        go_on.wait()

    monkeypatch.setattr(course, "train_provisional", train)
    session = LiveSession("SIMUSDT", source="binance", store=False).start()
    assert begun.wait(30)
    stopped_in_time(session)
    assert session.status().abandoned == ("training a bundle",)
    assert "left behind: training a bundle" in words_of(session)
    go_on.set()


def test_store_held_by_another_is_told_and_not_waited_for(
    settings: Settings, bundle: ModelBundle
) -> None:
    store = Store()
    store.write_bars(simulate_market("2023-01-01", 10).bars)
    with LiveSession("SIMUSDT", source="binance", bundle=bundle, window=60) as session:
        session.wait(bars=1, timeout_s=40)
        with store._file.writing():
            session.wait(bars=session.status().bars + 1, timeout_s=40)
            stopped_in_time(session)
            abandoned = " ".join(session.status().abandoned)
    assert "bars that are not stored" in abandoned


def test_what_has_closed_is_stored_when_it_is_stopped(
    settings: Settings, bundle: ModelBundle
) -> None:
    with LiveSession("SIMUSDT", source="binance", bundle=bundle, window=60) as session:
        session.wait(bars=3, timeout_s=40)
    last = session.picture().times[-1]
    stored = Store().bars("SIMUSDT", "1m", market="sim")
    assert pd.DatetimeIndex(stored.index).as_unit("us").asi8[-1] == last


def test_process_that_is_killed_leaves_a_store_that_goes_on(
    market: ThreadedExchange, settings: Settings, bundle: ModelBundle
) -> None:
    version = Registry(settings.models_path).save(bundle)
    script = (
        "from microstream_lab import LiveSession\n"
        f"session = LiveSession('SIMUSDT', source='binance', bundle='{version}').start()\n"
        "session.wait(bars=1); print('live', flush=True); session.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"live\n"
    until(lambda: Store().status().exists and len(Store().bars("SIMUSDT", "1m", market="sim")) > 4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with LiveSession("SIMUSDT", source="binance", bundle=bundle, window=60) as session:
        session.wait(bars=2, timeout_s=40)
    stored = Store().bars("SIMUSDT", "1m", market="sim")
    truth = market.call(market.exchange.bars, "SIMUSDT", "1m").loc[stored.index]
    pd.testing.assert_frame_equal(stored[list(BAR_VALUES)], truth[list(BAR_VALUES)])


GROWTH = """
import gc, sys, tracemalloc
from microstream_lab import LiveSession, Registry, Settings, Store
bundle = Registry(Settings.load().models_path).load("SIMUSDT", "1m", sys.argv[1], "sim")
session = LiveSession("SIMUSDT", source="replay", bundle=bundle, market="sim", speed=1e9, window=50)

def held():
    gc.collect()
    ours = tracemalloc.Filter(True, "*/microstream_lab/live/*", all_frames=True)
    snapshot = tracemalloc.take_snapshot().filter_traces([ours])
    return sum(each.size for each in snapshot.statistics("filename"))

tracemalloc.start(4)  # before there is another thread, which 3.11 would not survive
session.start().wait(bars=800)
before = held()
session.wait(bars=1_900)
print(held() - before)
session.stop()
"""


def test_session_that_nobody_watches_does_not_grow(bundle: ModelBundle) -> None:
    version = Registry(Settings.load().models_path).save(bundle)
    Store().write_bars(simulate_market("2024-02-10", 2_000).bars)
    command = [sys.executable, "-c", GROWTH, version]
    told = subprocess.run(command, capture_output=True, timeout=300, check=True)
    assert int(told.stdout) < 100_000


def test_store_source_waits_for_a_recorder_and_says_when_it_falls_silent(
    bundle: ModelBundle, tmp_path: Path
) -> None:
    bars = simulate_market("2024-02-10", 80, interval="1s").bars
    store = Store(tmp_path / "recorded.duckdb")
    with LiveSession(
        "SIMUSDT", "1s", source="store", store=store, market="sim", window=50
    ) as session:
        until(lambda: "waiting for bars of SIMUSDT 1s" in words_of(session))
        store.write_bars(bars.iloc[:60])
        until(lambda: session.status().phase == "live")
        until(lambda: session.picture().health.stale_since is not None)
        store.write_bars(bars.iloc[60:])
        assert session.wait(bars=20, timeout_s=30) == 20
        assert session.picture().health.stale_since is None


def test_bundle_of_another_interval_is_refused(settings: Settings, bundle: ModelBundle) -> None:
    session = LiveSession("SIMUSDT", "5m", source="binance", bundle=bundle, store=False).start()
    with pytest.raises(BundleMismatchError, match="found interval 1m, expected 5m"):
        session.wait(timeout_s=30)


def test_bundle_asked_for_a_real_symbol_never_scores_the_simulated_market(
    bundle: ModelBundle,
) -> None:
    real = dataclasses.replace(bundle, symbol="BTCUSDT", market="spot")
    with LiveSession("BTCUSDT", bundle=real, store=False, window=60, speed=SPEED) as session:
        session.wait(bars=1, timeout_s=60)
        status = session.status()
    assert "is not made for SIMUSDT 1m and is not used" in words_of(session)
    assert status.provisional


def test_broken_bundle_is_refused_once_and_the_one_in_use_goes_on(
    settings: Settings, bundle: ModelBundle
) -> None:
    registry = Registry(settings.models_path)
    first, second = registry.save(bundle), registry.save(bundle)
    registry.promote("SIMUSDT", "1m", first, "sim")
    with LiveSession("SIMUSDT", source="binance", store=False, window=60) as session:
        session.wait(bars=1, timeout_s=40)
        registry.promote("SIMUSDT", "1m", second, "sim")
        (settings.models_path / "sim" / "SIMUSDT" / "1m" / second / "bundle.joblib").write_bytes(
            b"broken"
        )
        until(lambda: "the new bundle cannot be used" in words_of(session))
        session.wait(bars=session.status().bars + 8, timeout_s=40)
        assert session.status().version == first
    assert words_of(session).count("the new bundle cannot be used") == 1


def test_listener_that_fails_holds_up_nothing(settings: Settings, bundle: ModelBundle) -> None:
    def fail() -> None:
        raise RuntimeError("on purpose")

    session = LiveSession("SIMUSDT", source="binance", bundle=bundle, store=False)
    session.listen(fail)
    with session:
        assert session.wait(bars=1, timeout_s=40) >= 1
