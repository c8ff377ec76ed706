"""What has to be looked up at the exchange for bars to be whole, and how it is answered.

Invariant: an errand ends with an answer to whoever wanted it, or goes on asking; it never fails for
what can pass by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable

import msgspec

from microstream_lab.errors import DecodeError, ExchangeError
from microstream_lab.live.assembler import Assembler
from microstream_lab.live.quiet import QuietWatch
from microstream_lab.live.rebuild import Rebuild
from microstream_lab.live.records import UNKNOWN, Batch, Debt, Opening
from microstream_lab.market.backfill import Backfill, parts
from microstream_lab.market.feed import Feed
from microstream_lab.market.feed.records import Fill
from microstream_lab.market.rest import RestClient
from microstream_lab.market.retry import delays_s
from microstream_lab.market.stream import MarketStream
from microstream_lab.schema import AggTrade, Gap

__all__ = ["Errands", "now_us"]

log = logging.getLogger(__name__)


class Errands:
    """Asks the exchange on behalf of an assembler.

    Parameters
    ----------
    assembler : Assembler
        Who wants to know.
    feed : Feed
        To be told what was fetched.
    stream : MarketStream
        To be restarted where it is silent although there is trade.
    client : RestClient
        Whom to ask.
    backfill : Backfill
        Fetches gaps.
    publish : callable
        Takes what answers bring about, and has the assembler's next wishes looked up.
    rng : random.Random
        Of the jitter.
    """

    def __init__(
        self,
        assembler: Assembler,
        feed: Feed,
        stream: MarketStream,
        client: RestClient,
        backfill: Backfill,
        publish: Callable[[Batch], None],
        rng: random.Random,
    ) -> None:
        self._assembler, self._feed, self._stream = assembler, feed, stream
        self._client, self._backfill = client, backfill
        self._publish, self._rng = publish, rng
        self._interval, self._market = assembler.interval, assembler.market
        self._part_ids = assembler.patience.part_ids

    async def open(self, opening: Opening) -> None:
        """Find the first trade of the first bar."""
        first: AggTrade | None = None
        for delay_s in delays_s(self._rng, cap_s=5.0):
            try:
                first = await self._client.first_trade(opening.symbol, opening.open_time)
            except (ExchangeError, DecodeError) as error:
                log.warning("first trade of %s: %s", opening.symbol, error)
            if first is not None or self._assembler.last_trade(opening.symbol) is not None:
                break
            await asyncio.sleep(delay_s)
        first_id = None if first is None else first.agg_id
        self._publish(self._assembler.open(opening, first_id, now_us()))

    async def repair(self, gap: Gap) -> None:
        """Fetch a gap, part by part, for as long as somebody waits for it."""
        for part in parts(gap, self._part_ids):
            if not self._assembler.wants(part):
                break
            fill = await self._fetch(part)
            self._publish(self._assembler.fill(fill, now_us()))
        self._feed.close(gap)

    async def _fetch(self, gap: Gap) -> Fill:
        try:
            return await self._backfill.fill(gap)
        except ExchangeError as error:  # asking makes no sense
            log.error("backfill of %s: %s", gap.symbol, error)
            return Fill(msgspec.structs.replace(gap, cause=f"{gap.cause}; {error}"), [])

    async def pay(self, debt: Debt) -> None:
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
        before = await self._client.next_trades(debt.symbol, max(0, span[0] - 1))
        rebuild.add(trade for trade in before if trade.agg_id < span[0])
        n_found = 0
        whole = Gap(debt.symbol, *span, debt.start, debt.end, "rebuild", now_us())
        for part in parts(whole, self._part_ids):
            fill = await self._backfill.fill(part)
            if not fill.is_whole and not fill.gap.cause.endswith(UNKNOWN):
                return False
            rebuild.add(fill.trades)
            found = [trade for trade in fill.trades if _is_in(trade, debt.gaps)]
            n_found += len(found)
            if self._assembler.keeps_trades:
                self._publish(Batch(trades=found))
        self._publish(self._assembler.pay(debt, rebuild, now_us(), n_found))
        return True

    async def _ids_of(self, debt: Debt) -> tuple[int, int] | None:
        """Ids from the first trade in the bars of a debt to the one after; None if unknown yet."""
        first = await self._client.first_trade(debt.symbol, debt.start)
        after = await self._client.first_trade(debt.symbol, debt.end)
        last = after or self._assembler.last_trade(debt.symbol)
        if first is None or last is None:
            return None
        return first.agg_id, max(last.agg_id, first.agg_id)

    async def ask(self, symbol: str, restart: bool = False) -> None:
        """Ask whether the bar of a silent symbol is over, and whether we have all of it."""
        last, start = self._assembler.last_trade(symbol), self._assembler.open_time(symbol)
        if last is None or not start:
            return
        try:
            bars = await self._client.klines_since(symbol, self._interval, start)
            if self._assembler.last_trade(symbol) is not last:
                return
            for open_time, n_trades in QuietWatch.final(bars):
                self._publish(self._assembler.prove(symbol, open_time, n_trades))
                if self._assembler.open_time(symbol) <= open_time:
                    await self.catch_up(symbol, last.agg_id, last.trade_time, "silence", open_time)
                    break
            else:
                return
        except (ExchangeError, DecodeError) as error:
            log.warning("is %s quiet? %s", symbol, error)
        if restart:
            await self._stream.restart([symbol], "silent, though it trades")

    async def catch_up(
        self, symbol: str, last_id: int, last_time: int, cause: str, over: int | None = None
    ) -> None:
        """Tell a gap up to the newest trade there is; close the bar `over` if there is none.

        An exchange whose answer lags behind the stream, and does not know the last trade yet, has
        said nothing.
        """
        end, now = await self._client.newest_trade(symbol), now_us()
        if end is None or end.agg_id < last_id or not self._is_last(symbol, last_id):
            return
        if end.agg_id == last_id:
            if over is not None:
                self._publish(self._assembler.prove(symbol, over, None))
            return
        gap = Gap(
            *(symbol, last_id + 1, end.agg_id, last_time, end.trade_time, cause, now),
            market=self._market,
        )
        self._feed.resume(symbol, end.agg_id, end.last_id, end.trade_time, cause)
        self._publish(self._assembler.update([gap], now))

    def _is_last(self, symbol: str, last_id: int) -> bool:
        """Whether nothing has come since the trade `last_id`."""
        last = self._assembler.last_trade(symbol)
        return last is not None and last.agg_id == last_id


def _is_in(trade: AggTrade, gaps: Iterable[Gap]) -> bool:
    return any(gap.from_id <= trade.agg_id <= gap.to_id for gap in gaps)


def now_us() -> int:
    """Time of day in microseconds."""
    return time.time_ns() // 1_000
