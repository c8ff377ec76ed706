"""Bars on a real broker become signals, each once and as if one process had made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from broker import Broker
from bus import (
    allow_large_messages,
    bus_settings,
    interleaved,
    market_of,
    put_bundles,
    read_dead_letters,
    read_signals,
    send_raw,
    single_process,
    worker_in_thread,
)

from microstream_lab.bus.messages import bar_message
from microstream_lab.bus.publisher import BarPublisher
from microstream_lab.bus.topics import ensure_topics

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("kafka")]
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
