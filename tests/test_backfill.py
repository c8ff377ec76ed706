"""Gaps are filled page by page, patiently, fairly, and never beyond what the exchange has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from fake_time import SkippingTime
from hypothesis import given
from hypothesis import strategies as st
from stream_messages import make_trade

from microstream_lab.errors import ExchangeError, GeoBlockedError, ParameterError
from microstream_lab.market.backfill import Backfill, missing_ids, parts
from microstream_lab.market.feed.records import Fill
from microstream_lab.schema import AggTrade, Gap

PAGE = 10


@dataclass
class Books:
    """The exchange's books, as REST shows them: some ids lack, the newest come late."""

    time: SkippingTime
    known: dict[str, set[int]]
    page: int = PAGE
    lags_until: float = 0.0
    lag_from: int = 10**9
    failures: list[Exception] = field(default_factory=list)
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def agg_trade_pages(
        self, symbol: str, from_id: int | None = None
    ) -> AsyncIterator[list[AggTrade]]:
        cursor = from_id or 0
        while True:
            self.asked.append((symbol, cursor))
            await asyncio.sleep(0)
            if self.failures:
                raise self.failures.pop(0)
            end = self.lag_from if self.time.now < self.lags_until else 10**9
            ids = sorted(n for n in self.known[symbol] if cursor <= n < end)[: self.page]
            if ids:
                yield [make_trade(n, symbol) for n in ids]
            if len(ids) < self.page:
                return
            cursor = ids[-1] + 1


def gap_of(first: int, last: int, symbol: str = "BTCUSDT") -> Gap:
    return Gap(symbol, first, last, 0, 1, "stream", 2)


def books(*missing: int, n: int = 100, symbols: tuple[str, ...] = ("BTCUSDT",)) -> Books:
    return Books(SkippingTime(), {symbol: set(range(n)) - set(missing) for symbol in symbols})


def backfill_of(source: Books, abreast: int = 1) -> Backfill:
    time = source.time
    return Backfill(source, 60.0, abreast, time.clock, time.sleep, time.now_us, seed=0)


def fill(source: Books, gap: Gap) -> Fill:
    return asyncio.run(backfill_of(source).fill(gap))


@given(st.integers(0, 90), st.integers(0, 40), st.integers(1, 12))
def test_gap_is_filled_with_exactly_its_trades(first: int, length: int, page: int) -> None:
    source = books(n=140)
    source.page = page
    gap = gap_of(first, first + length)
    found = fill(source, gap)
    assert found.trades == [make_trade(n) for n in range(first, first + length + 1)]
    assert found.is_whole
    assert (found.gap.repaired_at, found.gap.n_repaired) == (source.time.now_us(), length + 1)
    assert (found.gap.from_id, found.gap.to_id, found.gap.cause) == (
        first,
        first + length,
        "stream",
    )
    assert source.time.slept == []
    assert len(source.asked) == -(-(length + 1) // page)


def test_rest_behind_the_stream_is_asked_until_it_has_the_last_id() -> None:
    source = books()
    source.lag_from, source.lags_until = 25, source.time.now + 20
    found = fill(source, gap_of(20, 30))
    assert found.is_whole
    assert source.time.now >= source.lags_until
    assert all(wait <= 5 for wait in source.time.slept)
    assert {("BTCUSDT", 20), ("BTCUSDT", 25)} <= set(source.asked)


def test_ids_the_exchange_does_not_know_leave_the_gap_open_with_the_rest_found() -> None:
    source = books(22, 23, 27)
    found = fill(source, gap_of(20, 30))
    assert not found.is_whole
    assert [trade.agg_id for trade in found.trades] == [20, 21, 24, 25, 26, 28, 29, 30]
    assert found.gap.cause == "stream; ids 22..23 27..27 unknown to the exchange"
    assert found.gap.n_repaired == 8
    assert sum(source.time.slept) < 5  # later ids are there: nothing to wait for


def test_an_id_that_comes_after_later_ones_is_found_by_asking_again() -> None:
    source = books(22)
    pages = source.agg_trade_pages

    def appearing(symbol: str, from_id: int | None = None) -> AsyncIterator[list[AggTrade]]:
        if source.time.slept:
            source.known[symbol].add(22)
        return pages(symbol, from_id)

    source.agg_trade_pages = appearing  # type: ignore[method-assign]
    assert fill(source, gap_of(20, 24)).is_whole


def test_what_never_comes_is_given_up_after_the_declared_patience() -> None:
    source = books(n=20)
    began = source.time.now
    found = fill(source, gap_of(25, 26))
    assert found.trades == []
    assert found.gap.repaired_at is None
    assert found.gap.cause == "stream; ids 25..26 not on REST after 60 s"
    assert 60 <= source.time.now - began <= 66


def test_patience_begins_anew_with_every_trade_that_is_found() -> None:
    source = books(n=10)
    pages = source.agg_trade_pages

    def growing(symbol: str, from_id: int | None = None) -> AsyncIterator[list[AggTrade]]:
        source.known[symbol] = set(range(10 + int(source.time.now - 1_000) // 40))
        return pages(symbol, from_id)

    source.agg_trade_pages = growing  # type: ignore[method-assign]
    assert fill(source, gap_of(5, 15)).is_whole
    assert source.time.now - 1_000 > 200


def test_failures_that_may_pass_are_waited_out() -> None:
    source = books()
    source.failures = [ExchangeError("HTTP 503")] * 4
    assert fill(source, gap_of(20, 30)).is_whole


def test_failures_that_do_not_pass_are_the_cause_why_the_gap_stays_open() -> None:
    source = books()
    source.failures = [ExchangeError("HTTP 503")] * 1_000
    found = fill(source, gap_of(20, 30))
    assert found.gap.cause == "stream; ids 20..30 HTTP 503"


def test_geo_block_is_raised_at_once() -> None:
    source = books()
    source.failures = [GeoBlockedError("not here")]
    with pytest.raises(GeoBlockedError):
        fill(source, gap_of(20, 30))
    assert source.time.slept == []


def test_gap_without_ids_is_refused() -> None:
    with pytest.raises(ParameterError, match="5"):
        fill(books(), gap_of(5, 4))


def test_a_short_gap_does_not_wait_behind_a_long_one_of_another_symbol() -> None:
    source = books(n=1_000, symbols=("BTCUSDT", "ETHUSDT"))
    ended: list[str] = []

    async def scenario() -> None:
        backfill = backfill_of(source)

        async def one(gap: Gap) -> None:
            assert (await backfill.fill(gap)).is_whole
            ended.append(gap.symbol)

        await asyncio.gather(one(gap_of(0, 899)), one(gap_of(500, 529, "ETHUSDT")))

    asyncio.run(scenario())
    assert ended == ["ETHUSDT", "BTCUSDT"]
    assert [symbol for symbol, _ in source.asked[:6]] == ["BTCUSDT", "ETHUSDT"] * 3


def test_gaps_of_one_symbol_are_filled_one_after_the_other() -> None:
    source = books(n=1_000)

    async def scenario() -> list[Fill]:
        backfill = backfill_of(source, abreast=4)
        return await asyncio.gather(*(backfill.fill(gap_of(a, a + 49)) for a in (0, 200, 100)))

    fills = asyncio.run(scenario())
    assert all(found.is_whole for found in fills)
    assert [cursor // 100 for _, cursor in source.asked] == [0] * 5 + [2] * 5 + [1] * 5


def test_counters_tell_what_was_done() -> None:
    source = books(22)

    async def scenario() -> Backfill:
        backfill = backfill_of(source)
        await backfill.fill(gap_of(0, 14))
        await backfill.fill(gap_of(20, 24))
        return backfill

    counters = asyncio.run(scenario()).counters
    assert (counters.asked, counters.repaired, counters.given_up) == (2, 1, 1)
    assert (counters.trades, counters.pages) == (19, 4)


@given(st.sets(st.integers(10, 40)))
def test_missing_ids_are_those_not_among_the_trades(present: set[int]) -> None:
    spans = missing_ids(gap_of(10, 40), [make_trade(n) for n in sorted(present)])
    missing = {n for first, last in spans for n in range(first, last + 1)}
    assert missing == set(range(10, 41)) - present
    assert all(first - 1 not in missing and last + 1 not in missing for first, last in spans)


@given(st.integers(0, 100), st.integers(0, 300), st.integers(1, 50))
def test_parts_of_a_gap_follow_each_other_and_cover_it(first: int, n: int, size: int) -> None:
    pieces = parts(gap_of(first, first + n), size)
    ids = [agg_id for gap in pieces for agg_id in range(gap.from_id, gap.to_id + 1)]
    assert ids == [*range(first, first + n + 1)]
    assert all(gap.to_id - gap.from_id < size for gap in pieces)
