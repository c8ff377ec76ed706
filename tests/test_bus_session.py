"""Readers of the bus: a live session shows, and a store keeps, the signals that workers made."""

from __future__ import annotations

from pathlib import Path

import pytest
from broker import Broker
from bus import (
    TopicReader,
    bus_settings,
    interleaved,
    market_of,
    put_bundles,
    read_signals,
    single_process,
    worker_in_thread,
)
from sweeps import until

from microstream_lab.bus.partitioning import partition_of
from microstream_lab.bus.publisher import BarPublisher
from microstream_lab.bus.topics import ensure_topics
from microstream_lab.errors import BusError
from microstream_lab.live.session import LiveSession
from microstream_lab.live.sink import StoreSink
from microstream_lab.store import Store

pytestmark = pytest.mark.kafka
SYMBOLS = ("AAAUSDT", "BBBUSDT")


def test_a_symbol_is_in_the_partition_that_clients_choose(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings = bus_settings(broker, tmp_path, kafka_partitions=7)
    symbols = ["BTCUSDT", "ETHUSDT", "1INCHUSDT", "BB", "AAVE", "DOGEUSDT", "X2Y"]
    ensure_topics(settings)
    BarPublisher(settings).publish(interleaved(market_of(symbols, 1)))
    with TopicReader(settings, settings.kafka_raw_bars_topic) as reader:
        found = {m.key().decode(): m.partition() for m in reader.messages(len(symbols), 30)}
    assert found == {symbol: partition_of(symbol, 7) for symbol in symbols}


def test_a_session_shows_the_signals_on_the_bus_and_those_that_come(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings = bus_settings(broker, tmp_path)
    bundle, bars = put_bundles(settings, SYMBOLS), interleaved(market_of(SYMBOLS, 150))
    wanted = single_process(bundle, bars)
    ensure_topics(settings)
    publisher = BarPublisher(settings)
    publisher.publish(bars[:200])
    store = Store(tmp_path / "seen.duckdb")
    with worker_in_thread(settings):
        read_signals(settings, 200)
        with LiveSession(
            "AAAUSDT", source="bus", store=store, window=100, settings=settings
        ) as session:
            until(lambda: session.picture().regime >= 0)
            publisher.publish(bars[200:])
            assert session.wait(bars=50, timeout_s=30) >= 50
            last = bars[-2]
            score = wanted["AAAUSDT", last.open_time].anomaly_score
            until(lambda: session.picture().anomaly_score == score)
            picture = session.picture()
    assert picture.model is not None
    assert picture.model.bundle_id == bundle.bundle_id
    assert picture.model.version == "v0001"
    found = store.signals("AAAUSDT", "1m")
    assert found["anomaly_score"].iloc[-1] == score


def test_a_session_on_a_bus_without_topics_says_so(broker: Broker | None, tmp_path: Path) -> None:
    settings = bus_settings(broker, tmp_path)
    session = LiveSession("AAAUSDT", source="bus", store=False, settings=settings)
    with session, pytest.raises(BusError, match="found none"):
        session.wait(timeout_s=30)


def test_a_store_beside_a_worker_ends_with_every_bar_and_signal(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings = bus_settings(broker, tmp_path)
    bundle, bars = put_bundles(settings, SYMBOLS), interleaved(market_of(SYMBOLS, 120))
    ensure_topics(settings)
    BarPublisher(settings).publish(bars)
    store = Store(settings.store_path)
    with worker_in_thread(settings, sink=StoreSink(settings, store)) as worker:
        until(lambda: worker.status().stored == 2 * len(bars))
    for symbol in SYMBOLS:
        signals = store.signals(symbol, "1m")
        assert len(store.bars(symbol, "1m")) == len(signals) == 120
        wanted = [s for (name, _), s in single_process(bundle, bars).items() if name == symbol]
        assert signals["regime"].tolist() == [signal.regime for signal in wanted]
        assert signals["expected_stress"].iloc[-1] == wanted[-1].expected_stress
