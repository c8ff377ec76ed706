"""A producer whose messages are there together with how far was read, or not at all.

Invariant: an error of the broker comes out as what has to be done about it: try again (that is done
here), do the batch again, begin anew, or give up with one line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from microstream_lab.bus.connection import PROMPT_MS, client_options
from microstream_lab.bus.records import Outgoing
from microstream_lab.errors import BusError
from microstream_lab.settings import Settings

__all__ = ["AbortedError", "BrokenError", "Transactions", "within"]

T = TypeVar("T")

_AWAY: Final = frozenset({"_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_WAIT_COORD"})
_FORBIDDEN: Final = frozenset({29, 30, 31, 53})
"""Kafka's codes of what a user may not do: a topic, a group, a cluster, a transactional id."""

_TRY_S: Final = 5.0
_MARGIN_S: Final = 3.0
_PATIENCE_S: Final = 30.0
_PAUSE_S: Final = 0.05


class AbortedError(Exception):
    """The transaction came to nothing; its batch is to be done again."""


class BrokenError(AbortedError):
    """The producer cannot go on; another one can."""


class Transactions:
    """Commits batches of messages and offsets under one transactional id.

    Parameters
    ----------
    settings : Settings
        Where the broker is.
    transactional_id : str
        Whoever comes with the same one later puts an end to this one and what it left open.
    timeout_s : float
        After so long the broker aborts a transaction that nobody ends.
    is_ending : callable
        Whether to give up waiting for the broker.

    Raises
    ------
    AbortedError
        If the wait for the broker was given up.
    """

    def __init__(
        self,
        settings: Settings,
        transactional_id: str,
        timeout_s: float,
        is_ending: Callable[[], bool],
    ) -> None:
        from confluent_kafka import Producer

        self._id, self._is_ending = transactional_id, is_ending
        self._producer = Producer(
            client_options(
                settings,
                transactional_id=transactional_id,
                transaction_timeout_ms=int(timeout_s * 1_000),
                compression_type="lz4",
                linger_ms=0,
                # The next transaction begins while the broker still marks the end of the last one.
                retry_backoff_ms=PROMPT_MS,
            )
        )
        self.patiently(lambda: self._producer.init_transactions(_TRY_S))

    def commit(
        self, messages: Sequence[Outgoing], topic: str, reached: Mapping[int, int], group: Any
    ) -> None:
        """Send messages, and with them the offsets `reached` in each partition of `topic`.

        Raises
        ------
        AbortedError
            If it came to nothing: :meth:`abort`, and do it again.
        BrokenError
            If another producer is needed for that.
        BusError
            If somebody else goes by our id, or the broker refuses us for good.
        """
        from confluent_kafka import TopicPartition

        offsets = [TopicPartition(topic, *each) for each in reached.items()]
        producer = self._producer
        self.patiently(producer.begin_transaction)
        for message in messages:
            self._produce(message)
        # This call may wait for ever when the broker was restarted, whatever its time limit
        # (librdkafka issues 5456 and 5511): it gets a thread that can be left behind.
        send = producer.send_offsets_to_transaction
        self.patiently(lambda: within(_TRY_S + _MARGIN_S, lambda: send(offsets, group, _TRY_S)))
        self.patiently(lambda: producer.commit_transaction(_TRY_S))

    def abort(self) -> None:
        """Take back what was sent since the last commit."""
        self.patiently(lambda: self._producer.abort_transaction(_TRY_S))

    def close(self) -> None:
        """Let go of what was not sent."""
        self._producer.purge()

    def _produce(self, message: Outgoing) -> None:
        headers: Any = list(message.headers) or None
        while True:
            try:
                self._producer.produce(message.topic, message.value, message.key, headers=headers)
                return
            except BufferError:
                self._producer.poll(_PAUSE_S)

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Do it again for as long as the broker only asks for patience."""
        from confluent_kafka import KafkaException

        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return attempt()
            except TimeoutError as error:
                raise BrokenError("a call that ignores its time limit was left behind") from error
            except KafkaException as error:
                self._judge(error.args[0])
                if time.monotonic() > until:
                    raise BrokenError(f"no success for {_PATIENCE_S:g} s: {error}") from error
            time.sleep(_PAUSE_S)

    def _judge(self, error: Any) -> None:
        """Raise what an error comes to; return if it is to be tried again."""
        from confluent_kafka import KafkaError

        if error.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED):
            raise BusError(
                f"worker {self._id}: found another one of this name at work; "
                "give each worker a --name of its own"
            )
        if error.code() in _FORBIDDEN:
            raise BusError(f"worker {self._id}: {error.str()}; check the user's rights")
        if error.txn_requires_abort():
            raise AbortedError(error.str())
        if error.fatal() or not (error.retriable() or error.name() in _AWAY):
            raise BrokenError(error.str())
        if self._is_ending():
            raise AbortedError(f"given up: {error.str()}")


def within(limit_s: float, function: Callable[[], T]) -> T:
    """What a function returns, if it does so in time; otherwise it is left to itself.

    Raises
    ------
    TimeoutError
        If time was up.
    """
    outcome = Future[T]()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="broker call", daemon=True).start()
    return outcome.result(limit_s)
