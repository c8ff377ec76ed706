"""Bars on a real broker become signals, each once and as if one process had made them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from broker import Broker
from bus import (
    allow_large_messages,
    bus_settings,
    in_background,
    interleaved,
    market_of,
    put_bundles,
    read_dead_letters,
    read_signals,
    send_raw,
    single_process,
    worker_in_thread,
)
from sweeps import until

from microstream_lab.bus.messages import bar_message
from microstream_lab.bus.publisher import BarPublisher
from microstream_lab.bus.topics import ensure_topics
from microstream_lab.bus.transform import TransformOptions
from microstream_lab.errors import BusError
from microstream_lab.live.worker import Worker

pytestmark = pytest.mark.kafka
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")


def test_bars_become_the_signals_of_a_single_process(broker: Broker | None, tmp_path: Path) -> None:
    settings = bus_settings(broker, tmp_path)
    bundle, bars = put_bundles(settings, SYMBOLS), interleaved(market_of(SYMBOLS, 200))
    ensure_topics(settings)
    BarPublisher(settings).publish(bars)
    with worker_in_thread(settings):
        found = read_signals(settings, len(bars))
    assert len(found) == len(bars)
    by_key = {(signal.symbol, signal.open_time): repr(signal) for signal in found}
    assert by_key == {key: repr(s) for key, s in single_process(bundle, bars).items()}


def spoilt(good: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(good) | changes).encode()


def test_bad_messages_go_to_the_dead_letters_and_the_worker_goes_on(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings = bus_settings(broker, tmp_path, kafka_partitions=1)
    bundle, bars = put_bundles(settings, SYMBOLS[:1]), interleaved(market_of(SYMBOLS[:1], 60))
    good = bar_message(bars[30])
    bad = {
        "no JSON": (b"AAAUSDT", b"hello"),
        "close": (b"AAAUSDT", spoilt(good, close="a lot")),
        "version 9": (b"AAAUSDT", spoilt(good, version=9)),
        "no current bundle": (b"XYZUSDT", spoilt(good, symbol="XYZUSDT")),
        "multiple of 1m": (b"AAAUSDT", spoilt(good, open_time=bars[30].open_time + 1)),
        "10,000,000 bytes": (b"AAAUSDT", b"x" * 10_000_000),
        "no value": (b"AAAUSDT", None),
        "expected the symbol": (b"BBBUSDT", good),
    }
    ensure_topics(settings)
    allow_large_messages(settings)
    publisher = BarPublisher(settings)
    publisher.publish(bars[:30])
    send_raw(settings, list(bad.values()))
    publisher.publish(bars[30:])
    with worker_in_thread(settings):
        found = read_signals(settings, len(bars))
        dead = read_dead_letters(settings, len(bad))
    assert {(s.symbol, s.open_time): repr(s) for s in found} == {
        key: repr(s) for key, s in single_process(bundle, bars).items()
    }
    assert len(dead) == len(bad)
    for (reason, (key, value)), letter in zip(bad.items(), dead, strict=True):
        assert reason in letter.headers["reason"]
        assert letter.headers["topic"] == settings.kafka_raw_bars_topic
        assert letter.headers["bytes"] == str(len(value or b""))
        assert letter.key == key
        assert (value or b"").startswith(letter.value)
        assert len(letter.value) <= 10_000
    assert [letter.headers["offset"] for letter in dead] == [str(30 + k) for k in range(len(bad))]


def test_a_worker_follows_the_current_bundle_and_learns_of_new_symbols(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings = bus_settings(broker, tmp_path, kafka_partitions=1)
    first, bars = put_bundles(settings, SYMBOLS[:1]), interleaved(market_of(SYMBOLS[:2], 120))
    publisher = BarPublisher(settings)
    ensure_topics(settings)
    with worker_in_thread(settings) as worker:
        publisher.publish(bars[:100])
        until(lambda: worker.status().bars == 100)
        assert worker.status().dead_letters == 50  # of the symbol that has no bundle yet
        second = put_bundles(settings, SYMBOLS[:2], seed=1)
        started = time.monotonic()
        until(lambda: time.monotonic() - started > 2.5)  # workers look every other second
        publisher.publish(bars[100:])
        found = read_signals(settings, 50 + 140)
    assert first.bundle_id != second.bundle_id
    wanted = single_process(second, bars)
    later = [signal for signal in found if signal.bundle_id == second.bundle_id]
    assert [signal.bundle_id for signal in found[:50]] == [first.bundle_id] * 50
    assert len(later) == 140
    for signal in later:
        assert repr(signal) == repr(wanted[signal.symbol, signal.open_time])


def test_two_workers_of_one_name_cannot_both_work(broker: Broker | None, tmp_path: Path) -> None:
    settings = bus_settings(broker, tmp_path)
    put_bundles(settings, SYMBOLS)
    bars = interleaved(market_of(SYMBOLS, 40))
    ensure_topics(settings)
    publisher = BarPublisher(settings)
    options = TransformOptions(group="one", name=settings.kafka_raw_bars_topic)
    earlier = Worker(settings, options)
    failure = in_background(earlier.run)
    publisher.publish(bars[:60])
    until(lambda: earlier.status().signals == 60)
    later = Worker(settings, options)
    ended = in_background(later.run)
    until(lambda: later.status().partitions > 0)
    publisher.publish(bars[60:])
    with pytest.raises(BusError, match="another one of this name"):
        failure.result(60)
    assert len(read_signals(settings, len(bars))) == len(bars)
    later.stop()
    ended.result(30)
