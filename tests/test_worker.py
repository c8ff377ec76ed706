"""Bars on a real broker become signals, each once and as if one process had made them."""

from __future__ import annotations

from pathlib import Path

import pytest
from broker import Broker
from bus import (
    bus_settings,
    interleaved,
    market_of,
    put_bundles,
    read_signals,
    single_process,
    worker_in_thread,
)

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
