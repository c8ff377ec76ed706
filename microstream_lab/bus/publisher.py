"""Bars on their way to the topic: each kept by its sender until the broker has it.

Invariant: what :meth:`BarPublisher.publish` returns from is on the broker, in order per symbol and
once for each time it was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microstream_lab.bus.connection import client_options, require_library
from microstream_lab.bus.messages import bar_message
from microstream_lab.errors import BusError
from microstream_lab.schema import Bar
from microstream_lab.settings import Settings

__all__ = ["BarPublisher"]

_POLL_EVERY: Final = 1_000


class BarPublisher:
    """Publishes bars to the topic of the settings, idempotently, keyed by symbol.

    Parameters
    ----------
    settings : Settings
        Where the broker is.
    timeout_s : float
        After so long without success a bar counts as not sent.
    """

    def __init__(self, settings: Settings, timeout_s: float = 30.0) -> None:
        require_library()
        from confluent_kafka import Producer

        self._topic, self._timeout_s = settings.kafka_raw_bars_topic, timeout_s
        self._options = client_options(
            settings,
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=2,
            message_timeout_ms=int(timeout_s * 1_000),
        )
        self._producer: Any = Producer(self._options)
        self._failures: list[str] = []

    def publish(self, bars: Sequence[Bar]) -> None:
        """Send bars and wait until the broker has all of them.

        Raises
        ------
        BusError
            If it did not take them in time: some of them may have arrived, so send them again.
        """
        self._failures = []
        for number, bar in enumerate(bars, 1):
            self._produce(bar)
            if not number % _POLL_EVERY:
                self._producer.poll(0)
        left = self._producer.flush(self._timeout_s + 1)
        if self._failures or left:
            why = self._failures[0] if self._failures else f"no answer in {self._timeout_s:g} s"
            self._begin_anew()
            raise BusError(f"topic {self._topic}: {len(bars):,} bars not published yet: {why}")

    def _produce(self, bar: Bar) -> None:
        value, key = bar_message(bar), bar.symbol.encode()
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failures.append(error.str())

    def _begin_anew(self) -> None:
        """After a failure nothing of it may linger and arrive behind what is sent next."""
        from confluent_kafka import Producer

        self._producer.purge()
        self._producer.flush(1)
        self._producer = Producer(self._options)

    def close(self) -> None:
        """Send nothing more."""
        self._producer.purge()
        self._producer.flush(1)
