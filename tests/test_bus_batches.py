"""How batches are made: at once of what comes alone, together of what comes after one another."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from microstream_lab.bus import reader
from microstream_lab.bus.reader import arrived


class Trickle:
    """A consumer with a clock of its own: message n is there at second n."""

    def __init__(self, n: int, now: float) -> None:
        self.now = now
        self._due = deque(range(n))

    def poll(self, timeout_s: float) -> int | None:
        until = self.now + timeout_s
        if not self._due or self._due[0] > until:
            self.now = until
            return None
        self.now = max(self.now, float(self._due[0]))
        return self._due.popleft()

    def consume(self, most: int, timeout_s: float) -> list[int]:
        until, found = self.now + timeout_s, list[int]()
        while len(found) < most and (each := self.poll(until - self.now)) is not None:
            found.append(each)
        return found


def taken(monkeypatch: pytest.MonkeyPatch, consumer: Trickle, most: int, until: float) -> list[Any]:
    monkeypatch.setattr(reader.time, "monotonic", lambda: consumer.now)
    return arrived(consumer, most, 1.0, until)


def test_a_message_that_comes_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Trickle(9, now=0.0)
    assert taken(monkeypatch, consumer, 100, until=0.0) == [0]
    assert consumer.now == 0.0


def test_messages_that_come_soon_after_a_batch_are_taken_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = Trickle(9, now=0.0)
    assert taken(monkeypatch, consumer, 100, until=4.0) == [0, 1, 2, 3, 4]
    assert consumer.now == 4.0


def test_a_full_batch_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Trickle(9, now=8.0)
    assert taken(monkeypatch, consumer, 3, until=100.0) == [0, 1, 2]
    assert consumer.now == 8.0


def test_where_nothing_comes_nothing_is_waited_for_any_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = Trickle(0, now=0.0)
    assert taken(monkeypatch, consumer, 100, until=50.0) == []
    assert consumer.now == 1.0
