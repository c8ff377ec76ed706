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
from types import TracebackType
from typing import Any, Final

import msgspec

from microstream_lab.errors import DecodeError, ExchangeError
from microstream_lab.live.assembler import Assembler, debts_of
from microstream_lab.live.crosscheck import CrossCheck
from microstream_lab.live.quiet import QuietWatch
from microstream_lab.live.rebuild import Rebuild
from microstream_lab.live.records import Batch, Debt, Opening, Patience
from microstream_lab.market.backfill import Backfill, parts
from microstream_lab.market.feed import Feed, Frame
from microstream_lab.market.feed_records import Fill, Stale
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.market.retry import delays_s
from microstream_lab.market.stream import MarketStream, StreamOptions, stream_names
from microstream_lab.schema import AggTrade, Gap, Watermark
from microstream_lab.settings import Settings

__all__ = ["Pipeline", "PipelineOptions", "Start"]

log = logging.getLogger(__name__)

_CHUNK: Final = 4_096
"""Frames between two turns of everybody else."""
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
    open_gaps : iterable of Gap, optional
        Gaps on record that are still open: their bars are made anew once they can be filled.
    options : PipelineOptions, optional
        How to run.
    seed : int, optional
        Of all jitter.

    Attributes
    ----------
    feed, assembler, stream, backfill, check
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
        open_gaps: Iterable[Gap] = (),
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
        self._client = RestClient(rest_url(settings, market), market=market, settings=settings)
        self.backfill = Backfill(self._client, options.backfill_s, seed=seed)
        self.check = CrossCheck()
        self._quiet = QuietWatch(self.symbols, options.quiet_s)
        self._rng = random.Random(seed)
        self._starts = dict(starts or {})
        self._old_debts = debts_of(open_gaps, interval)
        self.lags_s: deque[float] = deque(maxlen=_LAGS)
        self._batch, self._ready, self._room = Batch(), asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Pipeline:
        await self._stack.enter_async_context(self._client)
        for start in self._starts.values():
            self._resume(start)
        await self._stack.enter_async_context(self.stream)
        self._spawn(self._read())
        self._spawn(self._keep_time())
        for debt in self._old_debts:
            self._spawn(self._pay(debt))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
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
        self._spawn(self._catch_up(mark.symbol, last[0], last[2], "restart"))

    async def _read(self) -> None:
        async for frames in self.stream:
            for start in range(0, len(frames), _CHUNK):
                self._take(frames[start : start + _CHUNK])
                while len(self._batch.trades) > _ENOUGH_TRADES:
                    self._room.clear()
                    await self._room.wait()
                await asyncio.sleep(0)

    def _take(self, frames: list[Frame]) -> None:
        self._publish(self.assembler.update(self.feed.drain(frames), _now()))
        self.lags_s.append((_now() - frames[0][1]) / 1e6)
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
            self._spawn(self._open(opening))
        for gap in assembler.wanted:
            log.info("gap of %s: %d..%d, %s", gap.symbol, gap.from_id, gap.to_id, gap.cause)
            self._spawn(self._repair(gap))
        for kline in assembler.klines:
            if kline.is_closed:
                self.check.kline(kline.bar)
                self._quiet.hear(kline.bar)
        for pending in (assembler.openings, assembler.wanted, assembler.klines):
            pending.clear()

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(self.options.tick_s)
            now = _now()
            told = self.feed.tick(now)
            self._publish(self.assembler.update(told, now))
            self._publish(self.assembler.tick(now))
            self._publish(self._quiet.prove(self.assembler))
            self._look_up()
            for debt in self.assembler.payable():
                self._spawn(self._pay(debt))
            stale = {event.symbol for event in told if isinstance(event, Stale)}
            for symbol in self._quiet.due(self.assembler, time.monotonic()):
                self._spawn(self._ask(symbol))
            for symbol in stale:
                self._spawn(self._ask(symbol, restart=True))

    async def _open(self, opening: Opening) -> None:
        """Find the first trade of the first bar."""
        first: AggTrade | None = None
        for delay_s in delays_s(self._rng, cap_s=5.0):
            try:
                first = await self._client.first_trade(opening.symbol, opening.open_time)
            except (ExchangeError, DecodeError) as error:
                log.warning("first trade of %s: %s", opening.symbol, error)
            if first is not None or self.assembler.last_trade(opening.symbol) is not None:
                break
            await asyncio.sleep(delay_s)
        first_id = None if first is None else first.agg_id
        self._publish(self.assembler.open(opening, first_id, _now()))
        self._look_up()

    async def _repair(self, gap: Gap) -> None:
        """Fetch a gap, part by part, for as long as somebody waits for it."""
        for part in parts(gap, self.options.patience.part_ids):
            if not self.assembler.wants(part):
                break
            fill = await self._fetch(part)
            self._publish(self.assembler.fill(fill, _now()))
        self.feed.close(gap)
        self._look_up()

    async def _fetch(self, gap: Gap) -> Fill:
        try:
            return await self.backfill.fill(gap)
        except ExchangeError as error:  # asking makes no sense
            log.error("backfill of %s: %s", gap.symbol, error)
            return Fill(msgspec.structs.replace(gap, cause=f"{gap.cause}; {error}"), [])

    async def _pay(self, debt: Debt) -> None:
        """Make bars anew that went out partial, however long it takes."""
        for delay_s in delays_s(self._rng, first_s=2.0, cap_s=300.0):
            try:
                if await self._try_to_pay(debt):
                    return
            except (ExchangeError, DecodeError) as error:
                log.warning("bars of %s are not made anew yet: %s", debt.symbol, error)
            await asyncio.sleep(delay_s)

    async def _try_to_pay(self, debt: Debt) -> bool:
        span = await self._ids_of(debt)
        if span is None:
            return False
        rebuild = Rebuild(debt.symbol, self._interval, self._market, debt.start, debt.end)
        found: list[AggTrade] = []
        whole = Gap(debt.symbol, *span, debt.start, debt.end, "rebuild", _now())
        for part in parts(whole, self.options.patience.part_ids):
            fill = await self.backfill.fill(part)
            if not fill.is_whole and not fill.gap.cause.endswith("unknown to the exchange"):
                return False
            rebuild.add(fill.trades)
            found += [trade for trade in fill.trades if _is_in(trade, debt.gaps)]
        self._publish(self.assembler.pay(debt, rebuild, _now(), found))
        return True

    async def _ids_of(self, debt: Debt) -> tuple[int, int] | None:
        """Ids from the trade before the bars of a debt to the one after; None if not known yet."""
        first = await self._client.first_trade(debt.symbol, debt.start)
        after = await self._client.first_trade(debt.symbol, debt.end)
        last = after or self.assembler.last_trade(debt.symbol)
        if first is None or last is None:
            return None
        return max(0, first.agg_id - 1), max(last.agg_id, first.agg_id)

    async def _ask(self, symbol: str, restart: bool = False) -> None:
        """Ask whether the bar of a silent symbol is over, and whether we have all of it."""
        last, start = self.assembler.last_trade(symbol), self.assembler.open_time(symbol)
        if last is None or not start:
            return
        try:
            bars = await self._client.klines_since(symbol, self._interval, start)
            if self.assembler.last_trade(symbol) is not last:
                return
            for open_time, n_trades in self._quiet.final(bars):
                self._publish(self.assembler.prove(symbol, open_time, n_trades))
                if self.assembler.open_time(symbol) <= open_time:
                    await self._catch_up(symbol, last.agg_id, last.trade_time, "silence", open_time)
                    break
            else:
                return
        except (ExchangeError, DecodeError) as error:
            log.warning("is %s quiet? %s", symbol, error)
        if restart:
            await self.stream.restart([symbol], "silent, though it trades")

    async def _catch_up(
        self, symbol: str, last_id: int, last_time: int, cause: str, over: int | None = None
    ) -> None:
        """Tell a gap if there are trades beyond the last one; close the bar `over` if not."""
        trades = await self._client.next_trades(symbol, last_id + 1)
        now, is_new = _now(), self._is_last(symbol, last_id)
        if not is_new:
            return
        if not trades:
            if over is not None:
                self._publish(self.assembler.prove(symbol, over, None))
            return
        end = trades[-1]
        gap = Gap(
            *(symbol, last_id + 1, end.agg_id, last_time, end.trade_time, cause, now),
            market=self._market,
        )
        self.feed.resume(symbol, end.agg_id, end.last_id, end.trade_time, cause)
        self._publish(self.assembler.update([gap], now))
        self._look_up()

    def _is_last(self, symbol: str, last_id: int) -> bool:
        """Whether nothing has come since the trade `last_id`."""
        last = self.assembler.last_trade(symbol)
        return last is not None and last.agg_id == last_id


def _is_in(trade: AggTrade, gaps: Iterable[Gap]) -> bool:
    return any(gap.from_id <= trade.agg_id <= gap.to_id for gap in gaps)


def _now() -> int:
    return time.time_ns() // 1_000
