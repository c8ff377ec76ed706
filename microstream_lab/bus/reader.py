"""Reading topics by oneself, committed messages only, from any point and in no group.

Invariant: a message of a transaction that was not committed is never seen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from microstream_lab.bus.connection import PROMPT_FETCHES, client_options
from microstream_lab.bus.messages import decode_bar, decode_signal
from microstream_lab.bus.records import Incoming, incoming
from microstream_lab.errors import DataError
from microstream_lab.schema import Bar, Signal
from microstream_lab.settings import Settings

__all__ = ["arrived", "commit_read", "committed_consumer", "history", "record_of"]

log = logging.getLogger(__name__)

_BATCH: Final = 5_000


def arrived(consumer: Any, most: int, timeout_s: float, until: float = 0.0) -> list[Any]:
    """The first message as soon as it is there, and what comes with it; none if time is up.

    More are waited for until then, by the monotonic clock, unless there are `most` before.
    """
    first = consumer.poll(timeout_s)
    if first is None:
        return []
    return [first, *consumer.consume(most - 1, max(0.0, until - time.monotonic()))]


def record_of(message: Any, settings: Settings) -> Bar | Signal | None:
    """The bar or signal in a message; None, and a word in the log, if it holds neither."""
    if message.error() is not None:
        return None
    is_bar = message.topic() == settings.kafka_raw_bars_topic
    try:
        return (decode_bar if is_bar else decode_signal)(message.value())
    except DataError as error:
        log.info("%s, offset %d: %s", message.topic(), message.offset(), error)
        return None


def history(
    settings: Settings, topic: str, partition: int, end: int, is_ending: Callable[[], bool]
) -> Iterator[Incoming]:
    """The messages of a partition before offset `end`, which is there, from the first kept one.

    It waits for a broker that is away, unless `is_ending` says that nobody wants it any more.
    """
    from confluent_kafka import OFFSET_BEGINNING, TopicPartition

    reader = committed_consumer(settings)
    try:
        reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        while not is_ending():
            for message in reader.consume(_BATCH, 0.05):
                if message.error() is not None:
                    continue
                if message.offset() < end:
                    yield incoming(message)
                if message.offset() >= end - 1:
                    return
    finally:
        reader.close()


def committed_consumer(settings: Settings, group: str = "microstream-readers") -> Any:
    """A client that sees committed messages only; it commits nothing by itself."""
    from confluent_kafka import Consumer

    return Consumer(
        client_options(
            settings,
            group_id=group,  # asked for even where nothing is committed
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            **PROMPT_FETCHES,
        )
    )


def commit_read(consumer: Any) -> None:
    """Note how far the group has read; where that fails it is read again after the next start."""
    from confluent_kafka import KafkaException

    try:
        consumer.commit(asynchronous=False)
    except KafkaException as error:
        log.info("how far was read is not noted: %s", error)
