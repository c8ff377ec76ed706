"""From the exchange to bars: streams, feed, assembler and backfill, run together.

Invariant: whatever is known to be missing is being asked for, and whoever iterates gets every bar
and gap, in batches that are to be stored whole; if storing is slow, reading waits, and what the
streams then drop is a gap like any other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec

from microstream_lab.live.assembler import Assembler
from microstream_lab.live.crosscheck import CrossCheck
from microstream_lab.live.errands import Errands, now_us
from microstream_lab.live.quiet import QuietWatch
from microstream_lab.live.records import Batch, Debt, Patience
from microstream_lab.market.backfill import Backfill
from microstream_lab.market.feed import Feed, Frame
from microstream_lab.market.feed.records import Stale
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.market.stream import MarketStream, StreamOptions, stream_names
from microstream_lab.schema import AggTrade, Watermark
from microstream_lab.settings import Settings

__all__ = ["Pipeline", "PipelineOptions", "Start"]

log = logging.getLogger(__name__)

_CHUNK: Final = 512
"""Frames between two turns of everybody else; what they become still fits into the cache."""
_LAGS: Final = 10_000
_ENOUGH_TRADES: Final = 200_000
"""So many trades may wait for the consumer before reading stops."""


class PipelineOptions(msgspec.Struct, frozen=True):
    """How a pipeline runs.

    Parameters
    ----------
    patience : Patience
        How long bars wait for what is missing.
    stream : StreamOptions
        How connections are kept.
    klines : bool
        Whether to follow the exchange's own bars, too: to compare with ours, and as its word that
        a quiet bar is over. Otherwise it is asked over REST.
    keep_trades : bool
        Whether batches carry the trades.
    quiet_s : float
        After so long without a trade of a symbol the exchange is asked whether its bar is over,
        then after twice as long, and so on.
    tick_s : float
        How often to look at what is due.
    backfill_s : float
        How long a gap is asked for in vain.
    """

    patience: Patience = Patience()
    stream: StreamOptions = StreamOptions()
    klines: bool = True
    keep_trades: bool = False
    quiet_s: float = 3.0
    tick_s: float = 0.25
    backfill_s: float = 60.0


class Start(msgspec.Struct, frozen=True):
    """Where to go on: what is stored of a symbol, and the last trade that is kept (if they are).

    ``trade`` is None where trades are not kept, or where those kept reach as far as the bars.
    """

    watermark: Watermark
    trade: AggTrade | None = None


class Pipeline:
    """Bars and gaps of a market as they come about.

    An async context manager, and inside it an async iterator over :class:`Batch`.

    Parameters
    ----------
    symbols : sequence of str
        Whose bars.
    interval, market : str
        Of the bars.
    settings : Settings, optional
        For the addresses; loaded if not given.
    starts : mapping of str to Start, optional
        Where to go on.
    debts : iterable of Debt, optional
        Bars to be made anew, see :func:`~microstream_lab.live.debts.debts_of`.
    options : PipelineOptions, optional
        How to run.
    seed : int, optional
        Of all jitter.

    Attributes
    ----------
    feed, assembler, stream, client, backfill, check
        The parts, with their counters.
    lags_s : deque of float
        Seconds from receiving to having assembled, of the oldest message of each step; the latest
        ones.

    Raises
    ------
    GeoBlockedError, OfflineError, ExchangeError
        While iterating, if the exchange refuses us for good.
    """

    def __init__(
        self,
        symbols: Iterable[str],
        interval: str,
        market: str = "spot",
        settings: Settings | None = None,
        starts: Mapping[str, Start] | None = None,
        debts: Iterable[Debt] = (),
        options: PipelineOptions | None = None,
        seed: int | None = None,
    ) -> None:
        self.options = options = options or PipelineOptions()
        settings = settings or Settings.load()
        self.symbols, self._interval, self._market = list(symbols), interval, market
        self.feed = Feed(self.symbols, market)
        self.assembler = Assembler(
            self.symbols, interval, market, options.patience, options.keep_trades
        )
        kinds = ("aggTrade", f"kline_{interval}") if options.klines else ("aggTrade",)
        names = stream_names(self.symbols, kinds)
        self.stream = MarketStream(
            settings.binance_ws_url, names, options.stream, settings, seed=seed
        )
        self.client = RestClient(rest_url(settings, market), market=market, settings=settings)
        self.backfill = Backfill(self.client, options.backfill_s, seed=seed)
        self.check = CrossCheck()
        self._quiet = QuietWatch(self.symbols, options.quiet_s)
        self._errands = Errands(
            *(self.assembler, self.feed, self.stream, self.client, self.backfill),
            *(self._answered, random.Random(seed)),
        )
        self._starts = dict(starts or {})
        self._old_debts = list(debts)
        self.lags_s: deque[float] = deque(maxlen=_LAGS)
        self._batch, self._ready, self._room = Batch(), asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Pipeline:
        await self._stack.enter_async_context(self.client)
        for start in self._starts.values():
            self._resume(start)
        await self._stack.enter_async_context(self.stream)
        self._spawn(self._read())
        self._spawn(self._keep_time())
        for debt in self._old_debts:
            self._spawn(self._errands.pay(debt))
        return self

    async def __aexit__(self, *raised: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Everything that has come about since the last batch, as soon as there is something."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            batch, self._batch = self._batch, Batch()
            self._room.set()
            if batch:
                yield batch
            if self._failure is not None:
                raise self._failure

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = self._failure or failure
            self._ready.set()

    def _resume(self, start: Start) -> None:
        mark, kept = start.watermark, start.trade
        last = (mark.agg_id, mark.trade_id, mark.open_time)
        if kept is not None and kept.agg_id < mark.agg_id:
            last = (kept.agg_id, kept.last_id, kept.trade_time)
        else:
            kept = None
        self.assembler.resume(mark, kept)
        self.feed.resume(mark.symbol, *last)
        self._spawn(self._errands.catch_up(mark.symbol, last[0], last[2], "restart"))

    async def _read(self) -> None:
        async for frames in self.stream:
            for start in range(0, len(frames), _CHUNK):
                self._take(frames[start : start + _CHUNK])
                while len(self._batch.trades) > _ENOUGH_TRADES:
                    self._room.clear()
                    await self._room.wait()
                await asyncio.sleep(0)

    def _take(self, frames: list[Frame]) -> None:
        self._publish(self.assembler.update(self.feed.drain(frames), now_us()))
        self.lags_s.append((now_us() - frames[0][1]) / 1e6)
        self._look_up()

    def _answered(self, batch: Batch) -> None:
        self._publish(batch)
        self._look_up()

    def _publish(self, batch: Batch) -> None:
        if not batch:
            return
        for bar in batch.bars:
            self.check.bar(bar)
        self._batch.extend(batch)
        self._ready.set()

    def _look_up(self) -> None:
        """Have done what the assembler wants done, and look at the klines that came."""
        assembler = self.assembler
        for opening in assembler.openings:
            self._spawn(self._errands.open(opening))
        for gap in assembler.wanted:
            log.info("gap of %s: %d..%d, %s", gap.symbol, gap.from_id, gap.to_id, gap.cause)
            self._spawn(self._errands.repair(gap))
        for kline in assembler.klines:
            if kline.is_closed:
                self.check.kline(kline.bar)
                self._quiet.hear(kline.bar)
        for pending in (assembler.openings, assembler.wanted, assembler.klines):
            pending.clear()

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(self.options.tick_s)
            now = now_us()
            told = self.feed.tick(now)
            self._publish(self.assembler.update(told, now))
            self._publish(self.assembler.tick(now))
            self._publish(self._quiet.prove(self.assembler))
            self._look_up()
            for debt in self.assembler.payable():
                self._spawn(self._errands.pay(debt))
            stale = {event.symbol for event in told if isinstance(event, Stale)}
            for symbol in self._quiet.due(self.assembler, time.monotonic()):
                self._spawn(self._errands.ask(symbol))
            for symbol in stale:
                self._spawn(self._errands.ask(symbol, restart=True))
