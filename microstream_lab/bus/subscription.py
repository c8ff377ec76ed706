"""One series as it is on the bus: its bars and its signals, the latest ones first of all.

Invariant: only committed messages are seen, each bar and each signal once, whatever was sent again.
"""

from __future__ import annotations

import time
from typing import Any, Final, Self

from microstream_lab.bus.partitioning import partition_of
from microstream_lab.bus.reader import arrived, committed_consumer, record_of
from microstream_lab.bus.topics import require_topics
from microstream_lab.schema import Bar, Signal, interval_us
from microstream_lab.settings import Settings

__all__ = ["Subscription"]

_BATCH: Final = 5_000
_TIMEOUT_S: Final = 10.0
_REMEMBERED: Final = 5_000


class Subscription:
    """Reads one series from the topics of bars and signals; a context manager.

    Parameters
    ----------
    settings : Settings
        Where the broker is.
    series : tuple of str
        Market, symbol and interval.
    n_back : int
        How many bars of the past to begin with, if they are kept: those published in the time that
        so many bars take, and the last messages of the partition in any case.

    Raises
    ------
    BusError
        If the broker cannot be used, or a topic is missing.
    """

    def __init__(self, settings: Settings, series: tuple[str, str, str], n_back: int) -> None:
        self._settings, self._series = settings, series
        topics = (settings.kafka_raw_bars_topic, settings.kafka_regime_signals_topic)
        self._revisions: dict[tuple[object, ...], int] = {}
        partitions = require_topics(settings, *topics)
        self._consumer = committed_consumer(settings)
        since_ms = int(time.time() * 1_000) - n_back * interval_us(series[2]) // 1_000
        parts = [(topic, partition_of(series[1], partitions[topic])) for topic in topics]
        self._consumer.assign([self._part(*part, since_ms, n_back) for part in parts])

    def _part(self, topic: str, partition: int, since_ms: int, n_back: int) -> Any:
        """Where to begin."""
        from confluent_kafka import TopicPartition

        part = TopicPartition(topic, partition)
        first, end = self._consumer.get_watermark_offsets(part, timeout=_TIMEOUT_S)
        part.offset = since_ms
        (found,) = self._consumer.offsets_for_times([part], timeout=_TIMEOUT_S)
        by_time = found.offset if found.offset >= 0 else end
        part.offset = max(first, min(by_time, end - n_back))
        return part

    def read(self, timeout_s: float = 0.2) -> list[Bar | Signal]:
        """What has come of the series, waiting a while for the first of it."""
        found = []
        for message in arrived(self._consumer, _BATCH, timeout_s):
            record = self._record(message)
            if record is not None and self._is_news(record):
                found.append(record)
        return found

    def _record(self, message: Any) -> Bar | Signal | None:
        if message.key() != self._series[1].encode():
            return None
        record = record_of(message, self._settings)
        if record is None or (record.market, record.symbol, record.interval) != self._series:
            return None
        return record

    def _is_news(self, record: Bar | Signal) -> bool:
        bundle = record.bundle_id if isinstance(record, Signal) else None
        key = (record.open_time, bundle)
        if self._revisions.get(key, -1) >= record.revision:
            return False
        self._revisions[key] = record.revision
        while len(self._revisions) > _REMEMBERED:
            del self._revisions[next(iter(self._revisions))]
        return True

    def close(self) -> None:
        """Read no more."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
