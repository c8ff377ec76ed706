"""Consume, transform, produce: what comes out and how far was read are committed together.

Invariant: a reader of committed messages sees the output of each message exactly once, whoever
computed it and however often somebody was killed on the way. A partition's memory is rebuilt from
the messages before the first one that is processed, and thrown away when a commit fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol
from uuid import uuid4

from microstream_lab.bus.connection import PROMPT_FETCHES, client_options, require_library
from microstream_lab.bus.reader import arrived, history
from microstream_lab.bus.records import Incoming, Outgoing, incoming
from microstream_lab.bus.topics import missing_topic
from microstream_lab.bus.transactions import AbortedError, BrokenError, Transactions
from microstream_lab.errors import BusError
from microstream_lab.settings import Settings

__all__ = ["Processor", "Transform", "TransformOptions"]

log = logging.getLogger(__name__)

_ASK_S: Final = 5.0
_PAUSE_S: Final = 0.5


class Processor(Protocol):
    """What becomes of messages; it remembers each partition's past."""

    def is_ready(self, partition: int) -> bool:
        """Whether a partition's past is known."""

    def rebuild(self, partition: int, past: Iterator[Incoming]) -> None:
        """Learn what is to be known from all messages of a partition so far."""

    def process(self, messages: Sequence[Incoming]) -> list[Outgoing]:
        """What comes of these messages, of one or more partitions."""

    def forget(self, partition: int) -> None:
        """Drop the memory of a partition, which somebody else has now or which is to be rebuilt."""


class TransformOptions(NamedTuple):
    """How a transform runs.

    A message that comes alone is processed at once. While there are more, batches are begun
    ``pace_s`` after one another or as soon as ``batch`` messages wait: a transaction costs the
    broker a request for each partition, whatever it holds, and a broker that is kept busy with
    small ones answers late.
    ``session_s`` after the last sign of life of a member others take its partitions;
    ``transaction_s`` after it began a transaction is aborted in the name of whoever was killed;
    a member that is busy with one batch for longer than ``longest_pause_s`` counts as hung.
    """

    group: str = "microstream-workers"
    name: str = ""
    batch: int = 2_000
    pace_s: float = 0.02
    session_s: float = 10.0
    transaction_s: float = 10.0
    longest_pause_s: float = 600.0


class Transform:
    """Runs a processor over a topic, as one member of a group.

    Parameters
    ----------
    settings : Settings
        Where the broker is.
    topic : str
        Whose messages.
    processor : Processor
        What becomes of them.
    options : TransformOptions, optional
        How to run.

    Attributes
    ----------
    partitions : set of int
        Those that are ours now.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        processor: Processor,
        options: TransformOptions | None = None,
    ) -> None:
        require_library()
        self._settings, self._topic, self._processor = settings, topic, processor
        self._options = options = options or TransformOptions()
        self.name = options.name or uuid4().hex[:12]
        self.partitions: set[int] = set()
        self._ended = threading.Event()
        self._consumer: Any = None
        self._transactions: Transactions | None = None
        self._next_batch = 0.0

    def stop(self) -> None:
        """Let :meth:`run` commit what it has and return."""
        self._ended.set()

    def run(self) -> None:
        """Process messages until :meth:`stop`.

        Raises
        ------
        BusError
            If the broker refuses us for good, or another member goes by our name.
        """
        while not self._ended.is_set():
            try:
                self._open()
                while not self._ended.is_set():
                    self.step()
            except AbortedError as error:
                log.warning("worker %s: begins anew: %s", self.name, error)
                self._ended.wait(_PAUSE_S)
            finally:
                self._close()

    def _open(self) -> None:
        """Join the group."""
        from confluent_kafka import Consumer

        options = self._options
        self._transactions = Transactions(
            self._settings,
            f"{options.group}-{self.name}",
            options.transaction_s,
            self._ended.is_set,
        )
        self._consumer = Consumer(
            client_options(
                self._settings,
                group_id=options.group,
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                partition_assignment_strategy="cooperative-sticky",
                session_timeout_ms=int(options.session_s * 1_000),
                heartbeat_interval_ms=int(options.session_s * 300),
                max_poll_interval_ms=int(options.longest_pause_s * 1_000),
                **PROMPT_FETCHES,
            )
        )
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._gone, on_lost=self._gone
        )

    def _close(self) -> None:
        """Leave the group; what is not committed is somebody else's."""
        if self._consumer is not None:
            self._consumer.close()
        if self._transactions is not None:
            self._transactions.close()
        for partition in self.partitions:
            self._processor.forget(partition)
        self.partitions.clear()
        self._consumer = self._transactions = None

    def step(self, timeout_s: float = 0.1) -> None:
        """Process and commit what is there, waiting up to `timeout_s` for a first message."""
        if not (messages := self._poll(timeout_s)):
            return
        assert self._transactions is not None
        try:
            self._rebuild(messages)
            outgoing = self._processor.process(messages)
            reached = {message.partition: message.offset + 1 for message in messages}
            group = self._consumer.consumer_group_metadata()
            self._transactions.commit(outgoing, self._topic, reached, group)
        except BrokenError:
            raise
        except AbortedError as error:
            log.warning("worker %s: does a batch again: %s", self.name, error)
            self._transactions.abort()
            self._go_back({message.partition for message in messages} & self.partitions)

    def _poll(self, timeout_s: float) -> list[Incoming]:
        """Messages of the partitions that are ours."""
        found = []
        options = self._options
        messages = arrived(self._consumer, options.batch, timeout_s, self._next_batch)
        if messages:
            self._next_batch = time.monotonic() + options.pace_s
        for message in messages:
            if (error := message.error()) is not None:
                self._heed(error)
            elif message.partition() in self.partitions:
                found.append(incoming(message))
        return found

    def _heed(self, error: Any) -> None:
        from confluent_kafka import KafkaError

        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise missing_topic(self._topic, self._settings)
        if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._AUTHENTICATION):
            raise BusError(f"topic {self._topic}: {error.str()}; check the user's rights")
        log.info("worker %s: %s", self.name, error.str())

    def _assigned(self, _consumer: Any, partitions: list[Any]) -> None:
        self.partitions |= {each.partition for each in partitions}

    def _gone(self, _consumer: Any, partitions: list[Any]) -> None:
        for each in partitions:
            self.partitions.discard(each.partition)
            self._processor.forget(each.partition)

    def _rebuild(self, messages: Sequence[Incoming]) -> None:
        """See to it that the past of every partition at hand is known."""
        first: dict[int, int] = {}
        for message in messages:
            first.setdefault(message.partition, message.offset)
        for partition, offset in first.items():
            if not self._processor.is_ready(partition):
                is_ending = self._ended.is_set
                past = history(self._settings, self._topic, partition, offset, is_ending)
                self._processor.rebuild(partition, past if offset else iter(()))
                if is_ending():
                    raise BrokenError("told to end while a past was being read")

    def _go_back(self, partitions: set[int]) -> None:
        """After an aborted transaction: to where the group has come, with nothing remembered."""
        from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

        assert self._transactions is not None
        for partition in partitions:
            self._processor.forget(partition)
        if not (wanted := [TopicPartition(self._topic, each) for each in partitions]):
            return
        ask = self._consumer.committed
        for found in self._transactions.patiently(lambda: ask(wanted, _ASK_S)):
            offset = found.offset if found.offset >= 0 else OFFSET_BEGINNING
            try:
                self._consumer.seek(TopicPartition(self._topic, found.partition, offset))
            except KafkaException as error:
                log.info("partition %d has gone: %s", found.partition, error)
