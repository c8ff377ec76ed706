"""Missing trades, fetched over REST until they are all there or known not to exist.

Invariant: what is returned lies in the gap, ascends by id and each trade once; a gap is called
repaired only if every id of it was found. All symbols share one budget, page by page in turn.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from microstream_lab.errors import (
    DecodeError,
    ExchangeError,
    GeoBlockedError,
    OfflineError,
    ParameterError,
)
from microstream_lab.market.budget import Sleep
from microstream_lab.market.feed.records import Fill
from microstream_lab.market.feed.sequence import broken_link
from microstream_lab.market.retry import delays_s
from microstream_lab.schema import AggTrade, Gap

__all__ = ["Backfill", "BackfillCounters", "Pages", "missing_ids", "parts"]

log = logging.getLogger(__name__)

_CONFIRMATIONS: Final = 2
"""How often the exchange must leave ids out, with later ones there, for them not to exist."""


class Pages(Protocol):
    """What a backfill needs of a :class:`~microstream_lab.market.rest.RestClient`."""

    def agg_trade_pages(
        self, symbol: str, from_id: int | None = None
    ) -> AsyncIterator[list[AggTrade]]:
        """Pages of trades from `from_id` on, as far as the exchange has them."""


class BackfillCounters(msgspec.Struct):
    """Gaps that were asked for, repaired and given up; pages read and trades found for them."""

    asked: int = 0
    repaired: int = 0
    given_up: int = 0
    pages: int = 0
    trades: int = 0


class Backfill:
    """Fetches the trades of gaps, one gap per symbol at a time, symbols in turn.

    Parameters
    ----------
    client : RestClient
        With the budget that everybody shares; it obeys Retry-After.
    patience_s : float
        How long without any new trade a gap is asked for before it is given up: REST answers from a
        database that lags behind the stream.
    abreast : int
        Requests under way at a time.
    clock, sleep
        Seconds, ascending, and how to wait for them.
    now_us : callable
        Time of day (us), for ``repaired_at``.
    seed : int, optional
        Of the jitter.

    Attributes
    ----------
    counters : BackfillCounters
        What happened so far.
    """

    def __init__(
        self,
        client: Pages,
        patience_s: float = 60.0,
        abreast: int = 2,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        seed: int | None = None,
    ) -> None:
        self._client, self._patience_s = client, patience_s
        self._clock, self._sleep, self._now_us = clock, sleep, now_us
        self._rng = random.Random(seed)
        self._turns = asyncio.Semaphore(abreast)
        self._symbols: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.counters = BackfillCounters()

    async def fill(self, gap: Gap) -> Fill:
        """Fetch the trades of `gap`.

        Returns
        -------
        Fill
            With all trades and a repaired gap; or with those there are and the gap still open, its
            cause ending with why: ids the exchange does not know, or whatever stood in the way.

        Raises
        ------
        GeoBlockedError, OfflineError
            If asking makes no sense.
        """
        self.counters.asked += 1
        async with self._symbols[gap.symbol]:
            search = _Search(gap)
            await self._search(search)
        return self._told(search)

    async def _search(self, search: _Search) -> None:
        """Ask until every id is accounted for, or nothing new has come for too long."""
        delays, deadline = self._begin_anew()
        while True:
            n_before = len(search.found)
            failure = await self._ask(search)
            if search.is_over:
                return
            if len(search.found) > n_before:
                delays, deadline = self._begin_anew()
            elif self._clock() >= deadline:
                search.given_up = failure or f"not on REST after {self._patience_s:g} s"
                return
            await self._sleep(next(delays))

    def _begin_anew(self) -> tuple[Iterator[float], float]:
        delays = delays_s(self._rng, first_s=0.25, cap_s=5.0)
        return delays, self._clock() + self._patience_s

    async def _ask(self, search: _Search) -> str:
        """Read what there is; return what stood in the way, if anything did."""
        try:
            await self._read(search)
        except (GeoBlockedError, OfflineError):
            raise
        except (ExchangeError, DecodeError) as error:
            log.info("backfill of %s: %s", search.gap.symbol, error)
            return str(error)
        return ""

    async def _read(self, search: _Search) -> None:
        """Read pages from the first missing id on until they pass the gap or end."""
        gap = search.gap
        pages = self._client.agg_trade_pages(gap.symbol, from_id=search.next_id)
        while True:
            async with self._turns:  # first come, first served: no symbol waits for another's gap
                page = await anext(pages, None)
            if page is None:
                return
            self.counters.pages += 1
            search.take(page)
            if page[-1].agg_id >= gap.to_id:
                search.passed += 1
                return

    def _told(self, search: _Search) -> Fill:
        gap, trades = search.gap, search.in_order()
        self.counters.trades += len(trades)
        missing = missing_ids(gap, trades)
        if not missing:
            self.counters.repaired += 1
            repaired = replace(gap, repaired_at=self._now_us(), n_repaired=len(trades))
            self._warn_of_breaks(trades)
            return Fill(repaired, trades)
        self.counters.given_up += 1
        why = search.given_up or "unknown to the exchange"
        spans = " ".join(f"{first}..{last}" for first, last in missing[:3])
        more = " ..." if len(missing) > 3 else ""
        cause = f"{gap.cause}; ids {spans}{more} {why}"
        log.warning("gap of %s stays open: %s", gap.symbol, cause)
        return Fill(replace(gap, cause=cause, n_repaired=len(trades)), trades)

    def _warn_of_breaks(self, trades: list[AggTrade]) -> None:
        """Single trades missing inside what the exchange itself calls complete are its truth."""
        place = broken_link(trades)
        if place is not None:
            trade = trades[place]
            log.warning(
                "%s: the exchange's own agg_id %d does not follow by its single trades",
                trade.symbol,
                trade.agg_id,
            )


class _Search:
    """What was found of a gap so far."""

    def __init__(self, gap: Gap) -> None:
        if gap.to_id < gap.from_id:
            raise ParameterError(f"gap: found ids {gap.from_id} .. {gap.to_id}, expected some")
        self.gap = gap
        self.found: dict[int, AggTrade] = {}
        self.next_id = gap.from_id
        self.passed = 0
        self.given_up = ""

    @property
    def is_over(self) -> bool:
        return self.next_id > self.gap.to_id or self.passed >= _CONFIRMATIONS

    def take(self, page: list[AggTrade]) -> None:
        for trade in page:
            if self.gap.from_id <= trade.agg_id <= self.gap.to_id:
                self.found[trade.agg_id] = trade
        while self.next_id in self.found:
            self.next_id += 1

    def in_order(self) -> list[AggTrade]:
        return [self.found[agg_id] for agg_id in sorted(self.found)]


def missing_ids(gap: Gap, trades: Iterable[AggTrade]) -> list[tuple[int, int]]:
    """Spans of ids (first, last) of `gap` that `trades`, ascending, do not have."""
    spans, next_id = [], gap.from_id
    for trade in trades:
        if trade.agg_id > next_id:
            spans.append((next_id, trade.agg_id - 1))
        next_id = trade.agg_id + 1
    if next_id <= gap.to_id:
        spans.append((next_id, gap.to_id))
    return spans


def parts(gap: Gap, max_ids: int = 50_000) -> list[Gap]:
    """A long gap as several that follow each other, so that none needs much memory at once.

    All carry the times of the whole, as nothing is known about what lies between.
    """
    starts = range(gap.from_id, gap.to_id + 1, max_ids)
    return [
        replace(gap, from_id=start, to_id=min(start + max_ids - 1, gap.to_id)) for start in starts
    ]
