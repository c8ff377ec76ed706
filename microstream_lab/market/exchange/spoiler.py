"""Messages on their way to one connection, and the faults they meet there.

Invariant: what is not struck by a fault goes out unchanged and in order; a fault that would strike
a message that is lost already strikes the next one instead.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple

import numpy as np

from microstream_lab.market.exchange import mangle
from microstream_lab.market.exchange.faults import Fault, FaultLine
from microstream_lab.market.exchange.messages import Messages

__all__ = ["Spoiler", "Strike"]

_SECOND_US: Final = 1_000_000
_TRIES: Final = 16
_OF_THE_LINE: Final = ("delay", "cut", "shutdown", "day_close")


class Strike(NamedTuple):
    """A fault of the connection itself, and the message it strikes."""

    fault: Fault
    message: bytes


class Spoiler:
    """What becomes of the messages of one connection.

    Parameters
    ----------
    line : FaultLine
        Says which message meets what.
    counts : Counter
        Counts what happened, by kind.
    """

    def __init__(self, line: FaultLine, counts: Counter[str]) -> None:
        self._line, self._faults, self._rng = line, line.faults, line.rng
        self._counts = counts
        self.stalled_until: float = 0
        self.pending: list[Fault] = []
        self._late: list[tuple[int, bytes]] = []
        self._earlier: deque[bytes] = deque(maxlen=max(1, line.faults.jump))
        self._order = count()

    @property
    def is_idle(self) -> bool:
        """Whether messages can pass without being looked at."""
        busy = self.pending or self._late or self.stalled_until
        return self._line.is_quiet and not busy

    def spoil(self, messages: Messages) -> Iterator[bytes | Strike]:
        """Stretches of bytes to be sent, and strikes for the connection to suffer."""
        n_messages = len(messages)
        events = self._events(messages)
        at = self._after_stall(messages, 0)
        while events:
            place, _, event = heapq.heappop(events)
            if place >= n_messages or at >= n_messages:
                self._postpone(place - n_messages, event)
            elif place < at:
                heapq.heappush(events, (at, next(self._order), event))
            else:
                yield _stretch(messages, at, place)
                at = place
                if isinstance(event, bytes):
                    yield event
                else:
                    yield from self._strike(event, messages, place, events)
                    at = self._after_stall(messages, place + 1)
        yield _stretch(messages, at, n_messages)
        self._remember(messages)

    def _events(self, messages: Messages) -> list[tuple[int, int, Fault | bytes]]:
        """What happens at which message, as a heap."""
        hits = self._line.draw(messages.times)
        early: list[tuple[int, Fault | bytes]] = [*self._late]
        early += [(0, fault) for fault in self.pending]
        self.pending, self._late = [], []
        events: list[tuple[int, int, Fault | bytes]] = [
            (place, next(self._order), event) for place, event in [*early, *hits]
        ]
        heapq.heapify(events)
        return events

    def _postpone(self, place: int, event: Fault | bytes) -> None:
        if isinstance(event, bytes):
            self._late.append((max(place, 0), event))
        else:
            self.pending.append(event)

    def _after_stall(self, messages: Messages, place: int) -> int:
        """The first message from `place` on that is not lost to a stall."""
        if not self.stalled_until or place >= len(messages):
            return place
        after = max(place, int(np.searchsorted(messages.times, self.stalled_until)))
        if after < len(messages):
            self.stalled_until = 0
        return after

    def _strike(
        self,
        fault: Fault,
        messages: Messages,
        place: int,
        events: list[tuple[int, int, Fault | bytes]],
    ) -> Iterator[bytes | Strike]:
        message = messages[place]
        if fault.kind in _OF_THE_LINE:
            yield Strike(fault, message)
            return
        if fault.kind == "stall":
            length_s = self._faults.stall_s if fault.for_s is None else fault.for_s
            self.stalled_until = int(messages.times[place]) + length_s * _SECOND_US
        elif fault.kind == "reorder":
            behind = place + 1 + int(self._rng.integers(1, max(1, self._faults.reach) + 1))
            heapq.heappush(events, (behind, next(self._order), message))
        elif fault.kind == "id_jump":
            old = self._older(messages, place)
            yield message + (old or b"")
            if old is None:
                return
        elif (spoilt := self._spoilt(fault.kind, message)) is not None:
            yield spoilt
        else:
            yield message
            return
        self._counts[fault.kind] += 1

    def _spoilt(self, kind: str, message: bytes) -> bytes | None:
        """What is sent instead of `message`; None if it cannot be spoilt that way."""
        match kind:
            case "drop":
                return b""
            case "duplicate":
                return message + message
            case "malformed":
                return mangle.cut_short(message, self._rng)
            case "wrong_type":
                return mangle.with_wrong_type(message, self._rng)
            case "bad_time":
                return mangle.with_bad_time(message, self._rng)
            case _:
                return message + mangle.oversized(self._faults.oversize_bytes)

    def _older(self, messages: Messages, place: int) -> bytes | None:
        """A message about an earlier trade; the ids of what follows it jump back."""
        reach = min(self._faults.jump, place + len(self._earlier))
        for _ in range(_TRIES if reach else 0):
            back = place - int(self._rng.integers(1, reach + 1))
            message = messages[back] if back >= 0 else self._earlier[back]
            if mangle.has_id(message):
                return message
        return None

    def _remember(self, messages: Messages) -> None:
        if self._faults.id_jump or any(f.kind == "id_jump" for f in self._faults.script):
            last = range(max(0, len(messages) - self._faults.jump), len(messages))
            self._earlier.extend(messages[place] for place in last)


def _stretch(messages: Messages, start: int, stop: int) -> bytes:
    if stop <= start:
        return b""
    first = int(messages.ends[start - 1]) if start else 0
    return messages.buffer[first : int(messages.ends[stop - 1])].tobytes()
