"""What tests of the bus share: settings with topics of their own, bars, bundles and workers."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pandas as pd
import pytest
from broker import Broker

if not os.environ.get("CI"):
    pytest.importorskip("confluent_kafka", reason="needs the extra kafka")
from confluent_kafka import OFFSET_BEGINNING, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource
from factories import make_bars

from microstream_lab.bundle import ModelBundle
from microstream_lab.bus.connection import client_options, require_broker
from microstream_lab.bus.messages import decode_bar, decode_signal
from microstream_lab.bus.reader import arrived, committed_consumer
from microstream_lab.bus.topics import require_topics
from microstream_lab.bus.transform import TransformOptions
from microstream_lab.engine import Engine
from microstream_lab.live.worker import Worker
from microstream_lab.registry import Registry
from microstream_lab.schema import Bar, Signal, iter_bars
from microstream_lab.settings import Settings
from microstream_lab.training import train_bundle


def bus_settings(broker: Broker | None, home: Path, **options: Any) -> Settings:
    """Settings that name the broker and topics that nobody else uses."""
    mark = uuid4().hex[:8]
    address = broker.address if broker else os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    names = {
        "kafka_bootstrap_servers": address,
        "kafka_raw_bars_topic": f"bars-{mark}",
        "kafka_regime_signals_topic": f"signals-{mark}",
        "kafka_dead_letters_topic": f"dead-{mark}",
        "kafka_partitions": 3,
        "microstream_home": home,
        "microstream_offline": broker is not None,
    }
    return Settings(**(names | options))


def market_of(symbols: Sequence[str], n_bars: int) -> dict[str, pd.DataFrame]:
    """Bars of each symbol, all different."""
    return {symbol: make_bars(n_bars, seed, symbol=symbol) for seed, symbol in enumerate(symbols)}


def interleaved(market: dict[str, pd.DataFrame]) -> list[Bar]:
    """All bars in the order in which they close."""
    rows = zip(*(iter_bars(frame) for frame in market.values()), strict=True)
    return [bar for row in rows for bar in row]


def put_bundles(
    settings: Settings, symbols: Sequence[str], seed: int = 0, feature_set: str = "seed"
) -> ModelBundle:
    """Make one small bundle current for all symbols."""
    bundle = train_bundle(make_bars(3_000, 77), feature_set=feature_set, n_starts=1, seed=seed)
    registry = Registry(settings.models_path)
    for symbol in symbols:
        version = registry.save(dataclasses.replace(bundle, symbol=symbol))
        registry.promote(symbol, "1m", version)
    return bundle


def single_process(bundle: ModelBundle, bars: Sequence[Bar]) -> dict[tuple[str, int], Signal]:
    """The signals that one engine per symbol makes of bars in order, by symbol and time."""
    engines: dict[str, Engine] = {}
    return {
        (bar.symbol, bar.open_time): engines.setdefault(bar.symbol, Engine(bundle)).update(bar)
        for bar in bars
    }


class TopicReader:
    """Reads all partitions of a topic from their beginnings, committed messages only."""

    def __init__(self, settings: Settings, topic: str) -> None:
        n_partitions = require_topics(settings, topic)[topic]
        self._consumer = committed_consumer(settings)
        parts = [TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(n_partitions)]
        self._consumer.assign(parts)

    def read(self, timeout_s: float = 0.1) -> list[Any]:
        """The messages that have come; none if none came in time."""
        found = arrived(self._consumer, 5_000, timeout_s)
        return [each for each in found if each.error() is None]

    def messages(self, n: int, timeout_s: float) -> Iterator[Any]:
        """The next `n` messages; fewer if time is up."""
        until = time.monotonic() + timeout_s
        while n > 0 and time.monotonic() < until:
            for message in self.read():
                n -= 1
                yield message

    def close(self) -> None:
        self._consumer.close()

    def __enter__(self) -> TopicReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_signals(settings: Settings, n: int, timeout_s: float = 60.0) -> list[Signal]:
    """The first `n` committed signals on the topic, or as many as come in time."""
    with TopicReader(settings, settings.kafka_regime_signals_topic) as reader:
        return [decode_signal(message.value()) for message in reader.messages(n, timeout_s)]


def in_background(run: Callable[[], None]) -> Future[None]:
    """What becomes of a call in a thread of its own."""
    outcome = Future[None]()

    def call() -> None:
        try:
            outcome.set_result(run())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return outcome


@contextmanager
def worker_in_thread(settings: Settings, **options: Any) -> Iterator[Worker]:
    """A worker that runs until the context ends, and must end well."""
    worker = Worker(settings, TransformOptions(group=f"workers-{uuid4().hex[:8]}"), **options)
    outcome = in_background(worker.run)
    try:
        yield worker
    finally:
        worker.stop()
        outcome.result(30)


class DeadLetter(NamedTuple):
    """A message of the dead letters' topic."""

    key: bytes
    value: bytes
    headers: dict[str, str]


def read_dead_letters(settings: Settings, n: int) -> list[DeadLetter]:
    """The first `n` committed dead letters, by partition and offset of where they came from."""
    with TopicReader(settings, settings.kafka_dead_letters_topic) as reader:
        found = [
            DeadLetter(message.key(), message.value(), _text(message.headers()))
            for message in reader.messages(n, 60.0)
        ]
    return sorted(found, key=lambda each: int(each.headers["offset"]))


def _text(headers: list[tuple[str, bytes]]) -> dict[str, str]:
    return {name: value.decode() for name, value in headers}


def allow_large_messages(settings: Settings) -> None:
    """Somebody configured the topic of bars to take messages of 12 MB."""
    admin = require_broker(settings)
    resource = ConfigResource(ConfigResource.Type.TOPIC, settings.kafka_raw_bars_topic)
    resource.add_incremental_config(
        ConfigEntry("max.message.bytes", "12000000", incremental_operation=AlterConfigOpType.SET)
    )
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


def send_raw(settings: Settings, messages: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Send keys and values as somebody who knows nothing of us would."""
    producer = Producer(client_options(settings, message_max_bytes=12_000_000))
    for key, value in messages:
        producer.produce(settings.kafka_raw_bars_topic, value, key)
        assert producer.flush(30) == 0


def read_bars(settings: Settings, n: int, timeout_s: float = 60.0) -> list[Bar]:
    """The first `n` bars on the topic, or as many as come in time."""
    with TopicReader(settings, settings.kafka_raw_bars_topic) as reader:
        return [decode_bar(message.value()) for message in reader.messages(n, timeout_s)]
