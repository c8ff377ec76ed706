"""Reading topics by oneself, committed messages only, from any point and in no group.

Invariant: a message of a transaction that was not committed is never seen.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

from microstream_lab.bus.connection import PROMPT_MS, client_options, require_library
from microstream_lab.bus.records import Incoming, incoming
from microstream_lab.bus.topics import require_topics
from microstream_lab.settings import Settings

__all__ = ["TopicReader", "commit_read", "committed_consumer", "history"]

log = logging.getLogger(__name__)

_BATCH: Final = 5_000


class TopicReader:
    """Reads all partitions of a topic; a context manager.

    Parameters
    ----------
    settings : Settings
        Where the broker is.
    topic : str
        Whose messages, from the first that is kept.

    Raises
    ------
    BusError
        If the broker cannot be used, or the topic is missing.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        require_library()
        from confluent_kafka import OFFSET_BEGINNING, TopicPartition

        n_partitions = require_topics(settings, topic)[topic]
        self._consumer = committed_consumer(settings)
        self._consumer.assign(
            [TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(n_partitions)]
        )

    def read(self, timeout_s: float = 0.1) -> list[Incoming]:
        """The messages that have come; none if none came in time."""
        return [incoming(each) for each in self._read(timeout_s)]

    def _read(self, timeout_s: float) -> list[Any]:
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        found = (first, *self._consumer.consume(_BATCH, 0))
        return [each for each in found if each.error() is None]

    def messages(self, n: int, timeout_s: float) -> Iterator[Any]:
        """The next `n` messages as the client has them, headers included; fewer if time is up."""
        until = time.monotonic() + timeout_s
        while n > 0 and time.monotonic() < until:
            for message in self._read(0.1):
                n -= 1
                yield message

    def close(self) -> None:
        """Read no more."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
            fetch_wait_max_ms=PROMPT_MS,
        )
    )


def commit_read(consumer: Any) -> None:
    """Note how far the group has read; where that fails it is read again after the next start."""
    from confluent_kafka import KafkaException

    try:
        consumer.commit(asynchronous=False)
    except KafkaException as error:
        log.info("how far was read is not noted: %s", error)
