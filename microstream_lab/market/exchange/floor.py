"""The trading floor: who listens, who asks, and what everyone is told.

Invariant: what has been played is in the ledgers before anyone is told of it, and faults touch only
what is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from websockets.frames import CloseCode

from microstream_lab.market.exchange.archive import ARCHIVE_PREFIX, ArchiveService
from microstream_lab.market.exchange.clock import Clock
from microstream_lab.market.exchange.connection import Connection, Rules
from microstream_lab.market.exchange.faults import (
    DIAL_FAULTS,
    REST_FAULTS,
    STREAM_FAULTS,
    Fault,
    FaultLine,
    Faults,
)
from microstream_lab.market.exchange.http import Request
from microstream_lab.market.exchange.ledger import Ledger
from microstream_lab.market.exchange.limits import BanPolicy, MessageRate
from microstream_lab.market.exchange.rest import PREFIX, Reply, RestService
from microstream_lab.market.exchange.server import ClientProtocol, handshake
from microstream_lab.market.exchange.slices import Played, Slice, Tickers
from microstream_lab.market.exchange.streams import Refusal, Subscriptions, parse_dial

__all__ = ["Floor", "Manners", "SlowClients"]

log = logging.getLogger(__name__)

SlowClients = Literal["wait", "close", "drop"]

_DIALS, _DIAL_WINDOW_US = 300, 300_000_000
_STREAM_LINE, _REST_LINE, _DIAL_LINE = range(3)
_NOT_FOUND: Final = b"<html><body><h2>404 Not found</h2></body></html>"


@dataclass(frozen=True, slots=True)
class Manners:
    """How the exchange treats its clients.

    Parameters
    ----------
    rules : Rules
        For stream connections.
    weight_limit : int
        REST weight per minute of the exchange's clock.
    slow_clients : {"wait", "close", "drop"}
        What is done about a client that does not keep up: the market waits for it; it is closed
        once `max_backlog` bytes wait for it; or it misses what comes while they do.
    max_backlog : int
        Bytes that may wait for one client.
    patience_s : float
        Seconds of the wall clock that the market waits before it closes such a client.
    """

    rules: Rules = field(default_factory=Rules)
    weight_limit: int = 6_000
    slow_clients: SlowClients = "close"
    max_backlog: int = 64 << 20
    patience_s: float = 30.0


class Floor:
    """Everything between the market and its clients.

    Parameters
    ----------
    ledgers : dict
        What has been played, by symbol.
    clock : Clock
        The exchange's.
    faults : Faults
        What goes wrong.
    seed : int
        Of everything random.
    manners : Manners
        How clients are treated.
    folder : Path
        Where archive files may be kept.
    """

    def __init__(
        self,
        ledgers: dict[str, Ledger],
        clock: Clock,
        faults: Faults,
        seed: int,
        manners: Manners,
        folder: Path,
    ) -> None:
        self.ledgers, self.clock, self.faults, self._seed = ledgers, clock, faults, seed
        self.manners = manners
        self.counts: Counter[str] = Counter()
        self.n_dropped = 0
        self.news = asyncio.Event()
        self._clients: dict[ClientProtocol, None] = {}
        self._tickers, self._follows = Tickers(ledgers), False
        self._numbers = count()
        self._dials = MessageRate(_DIALS, _DIAL_WINDOW_US)
        self._dial_line = FaultLine(faults, DIAL_FAULTS, [seed, _DIAL_LINE], clock.now)
        self._rest_line = FaultLine(faults, REST_FAULTS, [seed, _REST_LINE], clock.now)
        policy = BanPolicy(manners.weight_limit)
        self._rest = RestService(ledgers, clock, policy, self._rest_line, self.counts)
        self._archive, self._archive_lock = ArchiveService(folder), asyncio.Lock()

    def client(self) -> ClientProtocol:
        """A protocol for a new TCP connection."""
        client = ClientProtocol(self)
        self._clients[client] = None
        return client

    @property
    def connections(self) -> list[Connection]:
        """The open stream connections, oldest first."""
        found = (client.connection for client in self._clients)
        return [connection for connection in found if connection and connection.is_open]

    @property
    def has_listeners(self) -> bool:
        """Whether anybody wants to hear what happens."""
        return any(connection.is_listening for connection in self.connections)

    async def reply(self, request: Request) -> Reply:
        """Answer a REST or archive request."""
        address = urlsplit(request.target)
        if request.method not in ("GET", "HEAD"):
            return Reply(405, b"", {"Allow": "GET, HEAD"})
        if address.path.startswith(PREFIX):
            endpoint = address.path.removeprefix(PREFIX)
            return self._rest.answer(endpoint, address.query, request.headers)
        if not address.path.startswith(ARCHIVE_PREFIX):
            return Reply(404, _NOT_FOUND)
        resting = {symbol: ledger.at_rest() for symbol, ledger in self.ledgers.items()}
        async with self._archive_lock:
            return await asyncio.to_thread(
                self._archive.answer, address.path, request.headers, self.clock.now, resting
            )

    def open(self, request: Request, transport: asyncio.Transport) -> Connection | Reply | None:
        """Open a stream connection; a reply refuses it politely, None without a word."""
        dial = parse_dial(request.target)
        if dial is None:
            return Reply(404, _NOT_FOUND)
        clock = self.clock
        if not self._dials.allows(clock.limits_us, clock.wall_us):
            return Reply(429, b'{"code":-1034,"msg":"Too many connections."}')
        if (fault := self._dial_line.draw_one(clock.now)) is not None:
            self.counts[fault.kind] += 1
            return None
        try:
            subscriptions = Subscriptions(dial)
        except Refusal as refusal:
            return Reply(400, refusal.text.encode())
        response, protocol = handshake(request)
        if response.status_code != 101:
            return Reply(response.status_code, bytes(response.body), dict(response.headers))
        transport.write(response.serialize())
        seed = [self._seed, _STREAM_LINE, next(self._numbers)]
        line = FaultLine(self.faults, STREAM_FAULTS, seed, clock.now)
        return Connection(
            transport, protocol, subscriptions, line, clock, self.counts, self.manners.rules
        )

    def changed(self) -> None:
        """A connection said something or is gone."""
        self._follows = False
        self.news.set()

    def lost(self, client: ClientProtocol) -> None:
        """A client is gone."""
        self._clients.pop(client, None)
        self.changed()

    def inject(self, fault: Fault) -> None:
        """Let something go wrong now, for all who are connected or ask."""
        if fault.kind in STREAM_FAULTS:
            for connection in self.connections:
                connection.inject(fault)
        else:
            line = self._rest_line if fault.kind in REST_FAULTS else self._dial_line
            line.add(fault)

    def play(self, until: int, played: dict[str, Played]) -> None:
        """Enter what happened by `until` (us), and tell those who listen."""
        for symbol, part in played.items():
            self.ledgers[symbol].append(part.tape)
        connections = self.connections
        if not self._follows:
            streams = [s for connection in connections for s in connection.subscriptions.streams]
            self._tickers.follow(streams, self.clock.now)
            self._follows = True
        self.clock.advance(until)
        moment = Slice(until, played, self._tickers.update(until), self.ledgers)
        for connection in connections:
            self._tell(connection, moment)
            connection.tick()

    def _tell(self, connection: Connection, moment: Slice) -> None:
        policy, limit = self.manners.slow_clients, self.manners.max_backlog
        if policy != "wait" and connection.n_waiting > limit:
            if policy == "drop":
                self.n_dropped += 1
                return
            log.warning("closing a client that is %d bytes behind", connection.n_waiting)
            connection.close(CloseCode.POLICY_VIOLATION, "Client is too slow")
        connection.send(moment)

    async def drain(self) -> None:
        """Where the market waits for slow clients, wait for them; else let others have a turn."""
        await asyncio.sleep(0)
        if self.manners.slow_clients != "wait":
            return
        for client in list(self._clients):
            if client.connection is None or client.can_write.is_set():
                continue
            try:
                await asyncio.wait_for(client.can_write.wait(), self.manners.patience_s)
            except TimeoutError:
                log.warning("closing a client that took nothing for %g s", self.manners.patience_s)
                client.connection.transport.abort()

    def close(self) -> None:
        """Close all connections as a server does that goes down."""
        for client in list(self._clients):
            if client.connection is not None:
                client.connection.close(CloseCode.GOING_AWAY, "server shutdown")
            if client.transport is not None:
                client.transport.close()
