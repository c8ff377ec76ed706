"""What a worker makes of messages: bars become signals, and what is no bar a dead letter.

Invariant: no message stops the worker; one that cannot be scored goes to the dead letters with the
reason, and changes nothing of what is remembered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Final

from microstream_lab.bus.messages import decode_bar, signal_message
from microstream_lab.bus.records import Incoming, Outgoing
from microstream_lab.errors import BundleError, DataError, MicrostreamError
from microstream_lab.live.bundles import Chosen, Shelf
from microstream_lab.live.lineage import Lineage
from microstream_lab.schema import Bar, Signal
from microstream_lab.settings import Settings

__all__ = ["SignalProcessor"]

log = logging.getLogger(__name__)

Series = tuple[str, str, str]

_LOOK_S: Final = 2.0
_QUOTED: Final = 10_000
"""So much of a bad message goes with the dead letter; the rest is where it came from."""


class _Desk:
    """One series of one partition: its bundles, and its lineage if there is one to score with."""

    def __init__(self, settings: Settings, series: Series) -> None:
        self.name = " ".join(series)
        self.shelf = Shelf(settings, series)
        self.lineage: Lineage | None = None
        self.problem = ""

    def begin(self) -> None:
        """Score with the current bundle, if there is one, from the first bar that comes."""
        try:
            self.use(self.shelf.take() or self.shelf.choose(None))
        except MicrostreamError as error:
            self.problem = f"{self.name}: {error}"

    def use(self, chosen: Chosen | None) -> None:
        """Score with this bundle, with nothing remembered."""
        if chosen is None:
            self.problem = f"{self.name}: found no current bundle, expected one"
            return
        self.lineage, self.problem = Lineage(chosen.bundle), ""
        self.shelf.in_use = chosen

    def has_due(self) -> bool:
        """Whether another bundle has become current."""
        try:
            self.shelf.look()
        except BundleError as error:
            log.warning("%s: goes on with the bundle it has: %s", self.name, error)
        return self.shelf.is_due


class SignalProcessor:
    """Scores the bars of any number of series, by partition.

    Parameters
    ----------
    settings : Settings
        Where the registry is, and what the topics are called.

    Attributes
    ----------
    n_bars, n_signals, n_dead : int
        Messages taken, signals made of them and dead letters, since the start.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._desks: dict[int, dict[Series, _Desk]] = {}
        self._looked = time.monotonic()
        self.n_bars = self.n_signals = self.n_dead = 0

    def is_ready(self, partition: int) -> bool:
        """Whether a partition's past is known, and its bundles are the current ones."""
        self._look()
        return partition in self._desks

    def forget(self, partition: int) -> None:
        """Drop the memory of a partition."""
        self._desks.pop(partition, None)

    def rebuild(self, partition: int, past: Iterator[Incoming]) -> None:
        """Take all bars of a partition so far; their signals have gone out already."""
        started, n = time.monotonic(), 0
        desks: dict[Series, _Desk] = {}
        for message in past:
            n += 1
            try:
                self._signals(desks, message)
            except DataError:
                continue  # it is among the dead letters
        self._desks[partition] = desks
        if n:
            took = time.monotonic() - started
            log.info("partition %d: rebuilt from %d messages in %.1f s", partition, n, took)

    def process(self, messages: Sequence[Incoming]) -> list[Outgoing]:
        """The signals of these messages, and the dead letters among them."""
        outgoing: list[Outgoing] = []
        topic = self._settings.kafka_regime_signals_topic
        for message in messages:
            try:
                signals = self._signals(self._desks[message.partition], message)
            except DataError as error:
                outgoing.append(self._dead(message, str(error)))
                continue
            outgoing += (Outgoing(topic, message.key, signal_message(each)) for each in signals)
            self.n_signals += len(signals)
        self.n_bars += len(messages)
        return outgoing

    def _signals(self, desks: dict[Series, _Desk], message: Incoming) -> list[Signal]:
        bar = decode_bar(message.value)
        if message.key != bar.symbol.encode():
            raise DataError("key", repr(message.key)[:60], f"the symbol {bar.symbol}")
        desk = self._desk(desks, bar)
        if desk.lineage is None:
            raise DataError("symbol", desk.problem, "a bundle (microstream train)")
        return desk.lineage.update(bar)

    def _desk(self, desks: dict[Series, _Desk], bar: Bar) -> _Desk:
        series = (bar.market, bar.symbol, bar.interval)
        desk = desks.get(series)
        if desk is None:
            desk = desks[series] = _Desk(self._settings, series)
            desk.begin()
        return desk

    def _dead(self, message: Incoming, reason: str) -> Outgoing:
        self.n_dead += 1
        topic, value = self._settings.kafka_raw_bars_topic, message.value or b""
        log.info("partition %d, offset %d: %s", message.partition, message.offset, reason)
        headers = {
            "reason": reason,
            "topic": topic,
            "partition": str(message.partition),
            "offset": str(message.offset),
            "bytes": str(len(value)),
        }
        return Outgoing(
            self._settings.kafka_dead_letters_topic,
            message.key,
            value[:_QUOTED],
            tuple(headers.items()),
        )

    def _look(self) -> None:
        """Now and then: partitions for whose series another bundle has become current go back."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        for partition, desks in list(self._desks.items()):
            due = [desk for desk in desks.values() if desk.has_due()]
            if due:
                log.info("partition %d: new bundle of %s", partition, due[0].name)
                self.forget(partition)
        self._looked = time.monotonic()
