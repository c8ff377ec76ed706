"""One stream connection: what it listens to, what it is sent, what goes wrong with it.

Invariant: whole frames are written, except by the fault that cuts one; once a connection is closed
nothing more is written to it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from dataclasses import dataclass
from typing import Final, NamedTuple

from websockets.frames import CloseCode, Frame, Opcode
from websockets.server import ServerProtocol

from microstream_lab.market.exchange.clock import Clock
from microstream_lab.market.exchange.faults import Fault, FaultLine
from microstream_lab.market.exchange.limits import MessageRate
from microstream_lab.market.exchange.messages import frame
from microstream_lab.market.exchange.slices import Slice
from microstream_lab.market.exchange.spoiler import Spoiler, Strike
from microstream_lab.market.exchange.streams import Subscriptions

__all__ = ["Connection", "Rules"]

log = logging.getLogger(__name__)

_SECOND_US: Final = 1_000_000
_GOODBYE_S: Final = 5.0
_LEAST_PING_S: Final = 1.0
_TOO_OLD: Final = "24 hours have passed"
_COUNTED: Final = (Opcode.TEXT, Opcode.PING, Opcode.PONG)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the exchange expects of a stream connection.

    Parameters
    ----------
    ping_s : float
        How often it is pinged, in seconds of the exchange's clock; not more than once in a second
        of the wall clock unless this is shorter.
    pong_s, max_age_s : float
        How long an answer may take, and how long the connection may live: both clocks must say so.
    messages_per_s : int
        Control messages, pings and pongs allowed a second.
    """

    ping_s: float = 20.0
    pong_s: float = 60.0
    max_age_s: float = 86_400.0
    messages_per_s: int = 5


class _Moment(NamedTuple):
    """A moment on both clocks (us)."""

    exchange_us: int
    wall_us: int

    @property
    def payload(self) -> bytes:
        """What a ping of this moment carries."""
        return b"%d" % (self.exchange_us // 1_000)


class Connection:
    """A client that listens.

    Parameters
    ----------
    transport : asyncio.Transport
        Where frames go.
    protocol : ServerProtocol
        Reads what the client says; open.
    subscriptions : Subscriptions
        Its streams.
    line : FaultLine
        What goes wrong.
    clock : Clock
        The exchange's.
    counts : Counter
        Faults that happened, by kind.
    rules : Rules
        What is expected of it.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: ServerProtocol,
        subscriptions: Subscriptions,
        line: FaultLine,
        clock: Clock,
        counts: Counter[str],
        rules: Rules,
    ) -> None:
        self.transport, self.subscriptions = transport, subscriptions
        self._protocol, self._line, self._clock = protocol, line, clock
        self._counts, self._rules = counts, rules
        self._rate = MessageRate(rules.messages_per_s)
        self._opened = self._pinged = _Moment(clock.limits_us, clock.wall_us)
        self._awaiting: _Moment | None = None
        self._spoiler = Spoiler(line, counts)
        self._delayed_until = 0
        self._close_at = math.inf
        self._backlog: list[bytes] = []
        self._last_word: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything can be sent."""
        return self._protocol.close_sent is None and not self.transport.is_closing()

    @property
    def is_listening(self) -> bool:
        """Whether it is open, wants something and will ever get it."""
        stalled_for_good = math.isinf(self._spoiler.stalled_until)
        return self.is_open and bool(self.subscriptions.streams) and not stalled_for_good

    @property
    def n_waiting(self) -> int:
        """Bytes that the client has not taken yet."""
        return self.transport.get_write_buffer_size() + sum(map(len, self._backlog))

    def receive(self, data: bytes) -> None:
        """Take what the client sent."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._obey(event)
        self._flush()

    def _obey(self, event: Frame) -> None:
        clock = self._clock
        if event.opcode in _COUNTED and not self._rate.allows(clock.limits_us, clock.wall_us):
            self.close(CloseCode.POLICY_VIOLATION, "Too many requests")
        elif event.opcode is Opcode.PONG and bytes(event.data) == self._pinged.payload:
            self._awaiting = None
        elif event.opcode is Opcode.TEXT and self.is_open:
            self._write(frame(self.subscriptions.answer(bytes(event.data))))

    def _flush(self) -> None:
        """Write what the protocol wants written."""
        for data in self._protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    def send(self, moment: Slice) -> None:
        """Send what its streams say, and suffer what goes wrong."""
        wanted = self.subscriptions
        if not self.is_open or not wanted.streams:
            return
        messages = moment.messages(wanted.streams, wanted.unit_us, wanted.combined)
        if not messages:
            return
        if self._spoiler.is_idle:
            self._write(messages.tobytes())
            return
        for piece in self._spoiler.spoil(messages):
            if not self.is_open:
                return
            if isinstance(piece, Strike):
                self._suffer(*piece)
            elif piece:
                self._write(piece)

    def _write(self, data: bytes) -> None:
        self._backlog.append(data)
        if self._delayed_until <= self._clock.now:
            self.transport.write(b"".join(self._backlog) if len(self._backlog) > 1 else data)
            self._backlog.clear()

    def _suffer(self, fault: Fault, message: bytes) -> None:
        self._counts[fault.kind] += 1
        faults = self._line.faults
        if fault.kind == "cut":
            self.transport.write(b"".join([*self._backlog, message[: len(message) // 2]]))
            self.transport.close()
        elif fault.kind == "day_close":
            self.close(CloseCode.GOING_AWAY, _TOO_OLD)
        elif fault.kind == "delay":
            length_s = faults.delay_s if fault.for_s is None else fault.for_s
            self._delayed_until = self._clock.now + int(length_s * _SECOND_US)
            self._write(message)
        else:
            length_s = faults.shutdown_s if fault.for_s is None else fault.for_s
            self._write(message)
            self.announce_shutdown(length_s)

    def announce_shutdown(self, after_s: float) -> None:
        """Say ``serverShutdown`` now and close the connection `after_s` later."""
        stamp = self._clock.now // self.subscriptions.unit_us
        event = b'{"e":"serverShutdown","E":%d}' % stamp
        if self.subscriptions.combined:
            event = b'{"stream":"!serverShutdown","data":%s}' % event
        self._write(frame(event))
        self._close_at = min(self._close_at, self._clock.limits_us + after_s * _SECOND_US)

    def inject(self, fault: Fault) -> None:
        """Let something go wrong at the next message."""
        self._spoiler.pending.append(fault)

    def tick(self) -> None:
        """Do what is due: send what was delayed, ping, close what is too old or silent."""
        if not self.is_open:
            return
        if self._backlog and self._delayed_until <= self._clock.now:
            self._write(b"")
        if self._clock.limits_us >= self._close_at:
            self.close(CloseCode.GOING_AWAY, "Server shutdown")
        elif self._is_past(self._opened, self._rules.max_age_s):
            self.close(CloseCode.GOING_AWAY, _TOO_OLD)
        elif self._awaiting is None:
            ping_s = self._rules.ping_s
            if self._is_past(self._pinged, ping_s, wall_s=min(_LEAST_PING_S, ping_s)):
                self._ping()
        elif self._is_past(self._awaiting, self._rules.pong_s):
            self.close(CloseCode.POLICY_VIOLATION, "Pong timeout")

    def _ping(self) -> None:
        self._pinged = self._awaiting = _Moment(self._clock.limits_us, self._clock.wall_us)
        self._protocol.send_ping(self._pinged.payload)
        self._flush()

    def _is_past(self, since: _Moment, length_s: float, wall_s: float | None = None) -> bool:
        """Whether `length_s` have passed on the exchange's clock, and `wall_s` on the wall clock.

        By default both must say so: a market that races does not age its connections by days.
        """
        wall_s = length_s if wall_s is None else wall_s
        on_exchange = self._clock.limits_us - since.exchange_us >= length_s * _SECOND_US
        return on_exchange and self._clock.wall_us - since.wall_us >= wall_s * _SECOND_US

    def close(self, code: int, reason: str) -> None:
        """Say goodbye; what the client has not taken after some seconds is lost."""
        if not self.is_open:
            return
        log.info("closing a stream connection: %s", reason)
        if self._backlog:
            self._delayed_until = 0
            self._write(b"")
        self._protocol.send_close(code, reason)
        self._flush()
        loop = asyncio.get_running_loop()
        self._last_word = loop.call_later(_GOODBYE_S, self.transport.abort)

    def lost(self) -> None:
        """The client is gone; nothing remains to be done."""
        if self._last_word is not None:
            self._last_word.cancel()
