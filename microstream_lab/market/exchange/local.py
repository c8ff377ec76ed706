"""A local exchange that speaks as Binance does: streams, REST and archive on one loopback port.

Invariant: it tells the truth about itself to whoever holds it: what it says it has played is what a
client without faults would have received.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import pandas as pd

from microstream_lab.errors import SettingsError
from microstream_lab.market.exchange.clock import Clock, as_speed
from microstream_lab.market.exchange.cursors import Market
from microstream_lab.market.exchange.faults import Fault, Faults
from microstream_lab.market.exchange.floor import Floor, Manners
from microstream_lab.market.exchange.ledger import Ledger
from microstream_lab.market.exchange.messages import warm_up
from microstream_lab.market.exchange.player import Player
from microstream_lab.market.exchange.sources import as_source
from microstream_lab.schema import as_micros

__all__ = ["LocalExchange"]

_KEEP = 500_000
_SECOND_US = 1_000_000
_GENTLE_BATCH, _BATCH = 128, 2_048


class LocalExchange:
    """A Binance of one's own; an async context manager.

    Parameters
    ----------
    source : Source, SimulatedMarket, DataFrame, path or list of those
        What is traded: see :func:`~microstream_lab.market.exchange.sources.as_source`.
    speed : float, optional
        Seconds of the market per second of the wall clock. None or infinity: as fast as the clients
        take it, starting when the first of them listens.
    faults : Faults, optional
        What goes wrong; by default nothing.
    seed : int
        Of the faults.
    host, port
        Where to listen; by default a free port of this machine, which nobody else can reach.
    play_from : time or callable, optional
        What traded until then is in the ledgers from the beginning; played is what comes after. A
        function without arguments is asked when the exchange opens: with the present moment, and
        at a speed of 1, trades carry the time at which they are sent.
    keep : int, optional
        Trades remembered per symbol. By default half a million of a market without end, and all of
        a recording.
    unattended_s : float
        With infinite speed, how many seconds of the market pass when the last listener is gone.
    batch : int, optional
        With infinite speed, how many trades are played at once: what a client that is cut off
        misses. By default 128 where faults are to happen, and 2048 where not.
    manners : Manners, optional
        Limits, and what is done about slow clients: by default the market waits for them if it
        runs as fast as they take it, and closes them otherwise.

    Examples
    --------
    >>> async with LocalExchange(simulate_market("2024-01-01", 60), speed=60) as exchange:
    ...     print(exchange.ws_url, exchange.rest_url)

    Notes
    -----
    Everything is to be used on the event loop, but for :meth:`trades` and :meth:`bars`, which any
    thread may ask.

    Weights, dials, pings and what lies between them are counted on the exchange's clock; a
    connection's 24 hours have passed when both clocks say so.
    """

    def __init__(
        self,
        source: object,
        speed: float | None = 1.0,
        faults: Faults | None = None,
        seed: int = 0,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        play_from: object = None,
        keep: int | None = None,
        unattended_s: float = 1.0,
        batch: int | None = None,
        manners: Manners | None = None,
    ) -> None:
        self._source = as_source(source)
        self._speed, self._faults, self._seed = as_speed(speed), faults or Faults(), seed
        self._host, self._port = host, port
        self._play_from = play_from if callable(play_from) else lambda: play_from
        self._floor: Floor
        self._player: Player
        if keep is not None and keep < 1:
            raise SettingsError(f"keep: found {keep}, expected 1 or more")
        self._keep = _KEEP if keep is None and self._source.endless else keep
        self._unattended_us = int(unattended_s * _SECOND_US)
        self._batch = batch or (_GENTLE_BATCH if faults else _BATCH)
        patient = math.isinf(self._speed)
        self._manners = manners or Manners(slow_clients="wait" if patient else "close")

    async def __aenter__(self) -> LocalExchange:
        loop = asyncio.get_running_loop()
        # Before anything else, so that a port that is taken costs nothing.
        self._server = await loop.create_server(
            lambda: self._floor.client(), self._host, self._port, start_serving=False
        )
        self._port = int(self._server.sockets[0].getsockname()[1])
        self._folder = TemporaryDirectory(prefix="microstream-exchange-")
        self._executor = ThreadPoolExecutor(1, "exchange")
        try:
            await self._open()
        except BaseException:
            await self._shut()
            raise
        self._playing = loop.create_task(self._player.run())
        await self._server.start_serving()
        return self

    async def _open(self) -> None:
        """Set everything up, and play what has already happened."""
        source = self._source
        clock = Clock(source.start, self._speed, asyncio.get_running_loop().time)
        ledgers = {s: Ledger(s, source.market, self._keep) for s in source.symbols}
        self._floor = Floor(
            ledgers, clock, self._faults, self._seed, self._manners, Path(self._folder.name)
        )
        await asyncio.to_thread(warm_up)
        market = Market(source, self._executor)
        self._player = Player(market, self._floor, source.end, self._unattended_us, self._batch)
        for _ in range(2):  # a moment that moves has moved on while we got there
            if (moment := self._play_from()) is not None:
                await self._player.skip(as_micros(moment))

    async def _shut(self) -> None:
        """Give back what was taken."""
        self._server.close()
        await asyncio.to_thread(self._executor.shutdown)
        self._folder.cleanup()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._floor.close()
        crashed = self._playing.done() and self._playing.exception()
        self._playing.cancel()
        await asyncio.gather(self._playing, return_exceptions=True)
        await self._shut()
        if crashed and error is None:
            raise crashed

    @property
    def _address(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def ws_url(self) -> str:
        """Base address of the streams, such as ``ws://127.0.0.1:9443``."""
        return f"ws://{self._address}"

    @property
    def rest_url(self) -> str:
        """Base address of the REST interface."""
        return f"http://{self._address}"

    @property
    def archive_url(self) -> str:
        """Base address of the archive."""
        return self.rest_url

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is traded here."""
        return self._source.symbols

    @property
    def now(self) -> int:
        """The exchange's clock (us): the time of the market that is being played."""
        return self._floor.clock.now

    @property
    def is_standing(self) -> bool:
        """Whether the market stands still: it is paused, or waits for somebody to listen."""
        return self._floor.clock.is_standing

    @property
    def fault_counts(self) -> Counter[str]:
        """How many faults have happened, by kind."""
        return Counter(self._floor.counts)

    @property
    def n_connections(self) -> int:
        """Open stream connections."""
        return len(self._floor.connections)

    @property
    def n_dropped(self) -> int:
        """Batches that slow clients missed, where that is how they are treated."""
        return self._floor.n_dropped

    def n_trades(self, symbol: str) -> int:
        """How many trades of a symbol have been played, those forgotten included."""
        ledger = self._ledger(symbol)
        return ledger.n_forgotten + len(ledger)

    def trades(self, symbol: str) -> pd.DataFrame:
        """The trades played so far, as far as they are remembered: the truth.

        Returns
        -------
        DataFrame
            A trades frame (:data:`microstream_lab.schema.TRADE_COLUMNS`).
        """
        return self._ledger(symbol).at_rest().trades()

    def bars(self, symbol: str, interval: str) -> pd.DataFrame:
        """The bars that are over by now, made of whole numbers only: the truth.

        Returns
        -------
        DataFrame
            A bars frame; a bar that misses trades in the source itself is ``partial``.
        """
        now = self.now  # before the trades: a bar is over only when all of them are there
        return self._ledger(symbol).at_rest().bars(interval, now)

    def _ledger(self, symbol: str) -> Ledger:
        try:
            return self._floor.ledgers[symbol]
        except KeyError:
            known = " ".join(self.symbols)
            raise SettingsError(f"symbol: found {symbol!r}, expected one of {known}") from None

    def pause(self) -> None:
        """Stop the market, and its clock; whoever asks is still answered."""
        self._player.running.clear()

    def resume(self) -> None:
        """Go on where it was stopped."""
        self._player.running.set()

    def inject(self, kind: str, for_s: float | None = None) -> None:
        """Let a fault happen now: to every open connection at its next message, or to requests.

        Parameters
        ----------
        kind : str
            As in :class:`Fault`.
        for_s : float, optional
            How long it lasts on the exchange's clock.
        """
        self._floor.inject(Fault(kind, self.now, for_s))

    async def finished(self) -> None:
        """Return when all of the source has been played and the market has closed."""
        await self._unless_crashed(self._player.finished.wait())

    async def reached(self, time: object) -> None:
        """Return when everything up to `time` has been played."""
        await self._unless_crashed(self._player.reached(as_micros(time)))

    async def until(self, event: asyncio.Event) -> None:
        """Return when `event` is set; raise what stopped the market, should anything stop it."""
        await self._unless_crashed(event.wait())

    async def _unless_crashed(self, wanted: Coroutine[Any, Any, object]) -> None:
        waiting = asyncio.get_running_loop().create_task(wanted)
        try:
            await asyncio.wait({waiting, self._playing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._playing.done():
            self._playing.result()
