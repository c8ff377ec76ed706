"""The REST client against a local server that answers as Binance does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from archive_server import Answer, ArchiveServer, FakeClock, as_read, kline_row, serve_klines
from factories import make_bars

from microstream_lab.errors import (
    DataError,
    DecodeError,
    ExchangeError,
    GeoBlockedError,
    OfflineError,
    ParameterError,
    RateLimitedError,
    SettingsError,
)
from microstream_lab.market.budget import WeightBudget
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.schema import iter_bars, require_bars
from microstream_lab.settings import Settings

START = "2024-01-01"
MINUTE = 60_000


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def ask(
    server: ArchiveServer,
    clock: FakeClock,
    question: Callable[[RestClient], Awaitable[Any]],
    market: str = "spot",
    limit: int = 6_000,
) -> Any:
    async def run() -> Any:
        budget = WeightBudget(limit, clock, clock.sleep)
        async with RestClient(server.url, budget, market, timeout_s=5.0) as client:
            return await question(client)

    return asyncio.run(run())


def trade_row(agg_id: int) -> dict[str, Any]:
    return {
        "a": agg_id,
        "p": "42000.10000000",
        "q": "0.00100000",
        "f": agg_id * 2,
        "l": agg_id * 2 + 1,
        "T": 1_704_067_200_000 + agg_id,
        "m": agg_id % 2 == 0,
        "M": True,
    }


def serve_trades(server: ArchiveServer, n_trades: int) -> None:
    rows = [trade_row(agg_id) for agg_id in range(n_trades)]

    def agg_trades(query: dict[str, str]) -> Any:
        first, start = int(query.get("fromId", 0)), int(query.get("startTime", 0))
        return [r for r in rows if r["a"] >= first and r["T"] >= start][: int(query["limit"])]

    server.routes["/api/v3/aggTrades"] = agg_trades


def test_klines_over_several_pages_equal_the_bars_served(
    server: ArchiveServer, clock: FakeClock
) -> None:
    bars = make_bars(2_345, start=START)
    serve_klines(server, bars, now="2024-02-01")
    got = ask(server, clock, lambda c: c.klines("BTCUSDT", "1m", START, "2024-01-10"))
    require_bars(got)
    pd.testing.assert_frame_equal(got, as_read(bars), check_exact=True)
    assert len(server.asked("/klines")) == 3


def test_klines_leave_out_the_bar_that_is_still_open(
    server: ArchiveServer, clock: FakeClock
) -> None:
    serve_klines(server, make_bars(10, start=START), now="2024-01-01T00:05:59.999")
    got = ask(server, clock, lambda c: c.klines("BTCUSDT", "1m", START, "2024-01-02"))
    assert got.index[-1] == pd.Timestamp("2024-01-01T00:04", tz="UTC")


def test_klines_of_a_span_without_bars_are_an_empty_frame(
    server: ArchiveServer, clock: FakeClock
) -> None:
    serve_klines(server, make_bars(10, start=START), now="2024-02-01")
    got = ask(server, clock, lambda c: c.klines("BTCUSDT", "1m", "2024-01-05", "2024-01-06"))
    assert got.empty
    assert got.columns.tolist() == make_bars(2).columns.tolist()


def test_klines_of_futures_ask_the_futures_path(server: ArchiveServer, clock: FakeClock) -> None:
    serve_klines(server, make_bars(10, start=START), now="2024-02-01", prefix="/fapi/v1")
    got = ask(server, clock, lambda c: c.klines("BTCUSDT", "1m", START, "2024-01-02"), "um")
    assert got["market"].unique().tolist() == ["um"]


def test_klines_are_checked_like_a_file(server: ArchiveServer, clock: FakeClock) -> None:
    bars = make_bars(10, start=START)
    serve_klines(server, bars.assign(high=bars["low"] / 2), now="2024-02-01")
    with pytest.raises(DataError, match=r"klines, line 1: found open .* expected low <= open"):
        ask(server, clock, lambda c: c.klines("BTCUSDT", "1m", START, "2024-01-02"))


def test_klines_of_another_span_than_asked_for_are_refused(
    server: ArchiveServer, clock: FakeClock
) -> None:
    serve_klines(server, make_bars(10, start=START), now="2024-02-01")
    row = kline_row(next(iter_bars(make_bars(1, start="2023-01-01"))))
    server.routes["/api/v3/klines"] = lambda query: [row]
    with pytest.raises(ExchangeError, match="outside the span"):
        ask(server, clock, lambda c: c.klines("BTCUSDT", "1m", START, "2024-01-02"))


def test_agg_trades_page_by_id_to_the_last_one_wanted(
    server: ArchiveServer, clock: FakeClock
) -> None:
    serve_trades(server, 5_000)
    got = ask(server, clock, lambda c: c.agg_trades("BTCUSDT", from_id=500, to_id=2_600))
    assert [trade.agg_id for trade in got] == list(range(500, 2_601))
    assert (got[0].first_id, got[0].last_id, got[0].buyer_is_maker) == (1_000, 1_001, True)
    assert got[0].trade_time == (1_704_067_200_000 + 500) * 1_000


def test_agg_trades_of_a_time_span_stop_before_its_end(
    server: ArchiveServer, clock: FakeClock
) -> None:
    serve_trades(server, 3_000)
    start, end = (1_704_067_200_000 + n for n in (100, 1_500))
    got = ask(
        server, clock, lambda c: c.agg_trades("BTCUSDT", start=start * 1_000, end=end * 1_000)
    )
    assert [got[0].agg_id, got[-1].agg_id] == [100, 1_499]


def test_agg_trades_not_there_yet_are_simply_not_there(
    server: ArchiveServer, clock: FakeClock
) -> None:
    serve_trades(server, 10)
    got = ask(server, clock, lambda c: c.agg_trades("BTCUSDT", from_id=5, to_id=20))
    assert [trade.agg_id for trade in got] == [5, 6, 7, 8, 9]


def test_agg_trades_that_jump_backwards_are_refused(
    server: ArchiveServer, clock: FakeClock
) -> None:
    server.routes["/api/v3/aggTrades"] = lambda query: [trade_row(5), trade_row(4)]
    with pytest.raises(ExchangeError, match="agg_id 4 after 5"):
        ask(server, clock, lambda c: c.agg_trades("BTCUSDT", from_id=5))


def test_agg_trades_want_a_beginning(server: ArchiveServer, clock: FakeClock) -> None:
    with pytest.raises(ParameterError):
        ask(server, clock, lambda c: c.agg_trades("BTCUSDT"))


def test_time_info_and_ping_are_understood(server: ArchiveServer, clock: FakeClock) -> None:
    server.routes["/api/v3/ping"] = lambda query: {}
    server.routes["/api/v3/time"] = lambda query: {"serverTime": 1_704_067_200_123}
    info = {"symbols": [{"symbol": "BTCUSDT", "status": "TRADING"}]}
    server.routes["/api/v3/exchangeInfo"] = lambda query: info

    async def question(client: RestClient) -> tuple[int, dict[str, Any]]:
        await client.ping()
        return await client.server_time(), await client.exchange_info("BTCUSDT")

    now, entry = ask(server, clock, question)
    assert now == 1_704_067_200_123_000
    assert entry["status"] == "TRADING"


def test_quote_is_understood_and_anything_else_is_an_error(
    server: ArchiveServer, clock: FakeClock
) -> None:
    path = "/api/v3/ticker/bookTicker"
    sides = {"bidPrice": "4.00000000", "bidQty": "431.0", "askPrice": "4.00000200", "askQty": "9.0"}
    server.routes[path] = lambda query: {"symbol": query["symbol"], **sides}
    assert ask(server, clock, lambda c: c.quote("BTCUSDT")) == (4.0, 4.000002)
    server.routes[path] = lambda query: {**sides, "askPrice": "-1"}
    with pytest.raises(DecodeError, match="bookTicker of BTCUSDT"):
        ask(server, clock, lambda c: c.quote("BTCUSDT"))


@pytest.mark.parametrize("status", [429, 418])
def test_retry_after_is_obeyed_by_everybody_who_shares_the_budget(
    server: ArchiveServer, clock: FakeClock, status: int
) -> None:
    server.routes["/api/v3/ping"] = lambda query: {}
    server.faults["/api/v3/ping"].append(Answer(status=status, headers={"Retry-After": "30"}))
    began = clock()
    ask(server, clock, lambda c: c.ping())
    assert clock() - began == pytest.approx(30)


def test_retry_after_that_never_ends_is_raised(server: ArchiveServer, clock: FakeClock) -> None:
    server.faults["/api/v3/ping"] += [Answer(status=429, headers={"Retry-After": "1"})] * 20
    with pytest.raises(RateLimitedError, match="HTTP 429"):
        ask(server, clock, lambda c: c.ping())


@pytest.mark.parametrize("status", [403, 451])
def test_geo_block_names_the_alternatives_in_one_line(
    server: ArchiveServer, clock: FakeClock, status: int
) -> None:
    server.faults["/api/v3/ping"].append(Answer(status=status))
    with pytest.raises(GeoBlockedError) as caught:
        ask(server, clock, lambda c: c.ping())
    text = str(caught.value)
    assert "binance.us" in text
    assert "data-api.binance.vision" in text
    assert "\n" not in text
    assert clock.slept == []


def test_unknown_symbol_is_told_as_such(server: ArchiveServer, clock: FakeClock) -> None:
    body = b'{"code":-1121,"msg":"Invalid symbol."}'
    server.faults["/api/v3/aggTrades"].append(Answer(status=400, body=body))
    with pytest.raises(SettingsError, match="NOPE"):
        ask(server, clock, lambda c: c.agg_trades("NOPE", from_id=0))


def test_refusal_is_told_in_the_words_of_the_exchange(
    server: ArchiveServer, clock: FakeClock
) -> None:
    body = b'{"code":-1100,"msg":"Illegal characters found."}'
    server.faults["/api/v3/ping"].append(Answer(status=400, body=body))
    with pytest.raises(ExchangeError, match=r"Illegal characters found\. \(-1100\)"):
        ask(server, clock, lambda c: c.ping())


@pytest.mark.parametrize("body", [b"<html>", b"[[1,2]]", b'{"a":1}', b"", b"[[1,", b"\xff"])
def test_answer_that_is_no_page_of_klines_is_a_decode_error(
    server: ArchiveServer, clock: FakeClock, body: bytes
) -> None:
    serve_klines(server, make_bars(2, start=START), now="2024-02-01")
    server.routes["/api/v3/klines"] = lambda query: Answer(body=body)
    with pytest.raises(DecodeError):
        ask(server, clock, lambda c: c.klines("BTCUSDT", "1m", START, "2024-01-02"))


def test_budget_waits_for_the_next_minute_when_this_one_is_spent(clock: FakeClock) -> None:
    clock.now = 6_000.0
    budget = WeightBudget(10, clock, clock.sleep)

    async def spend() -> None:
        for _ in range(6):
            await budget.spend(4)

    asyncio.run(spend())
    # Two fit into a minute: six take three minutes, of which two are waited for.
    assert int(clock() // 60) == 6_000 // 60 + 2
    assert budget.used == 8


def test_budget_counts_what_others_at_our_address_have_spent(clock: FakeClock) -> None:
    clock.now = 6_000.0
    budget = WeightBudget(100, clock, clock.sleep)
    budget.observe(99)
    asyncio.run(budget.spend(2))
    assert clock() >= 6_060


def test_budget_is_never_overbooked_by_tasks_that_wait_together(clock: FakeClock) -> None:
    clock.now = 6_000.0
    budget = WeightBudget(10, clock, clock.sleep)
    spent: dict[int, int] = {}

    async def one() -> None:
        await budget.spend(3)
        minute = int(clock() // 60)
        spent[minute] = spent.get(minute, 0) + 3

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(many())
    assert max(spent.values()) <= 10
    assert sum(spent.values()) == 60


def test_used_weight_header_slows_us_down(server: ArchiveServer, clock: FakeClock) -> None:
    header = {"X-MBX-USED-WEIGHT-1M": "5999"}
    server.routes["/api/v3/ping"] = lambda query: Answer(body=b"{}", headers=header)

    async def thrice(client: RestClient) -> None:
        for _ in range(3):
            await client.ping()

    ask(server, clock, thrice)
    assert len(clock.slept) >= 1


def test_impossible_weight_is_refused_instead_of_waited_for(clock: FakeClock) -> None:
    with pytest.raises(SettingsError):
        asyncio.run(WeightBudget(10, clock, clock.sleep).spend(11))


def test_nothing_is_dialled_beyond_this_machine_when_offline() -> None:
    with pytest.raises(OfflineError, match=r"api\.binance\.com"):
        RestClient("https://api.binance.com")


def test_futures_have_a_host_of_their_own_unless_the_user_names_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rest_url(Settings.load(), "um") == "https://fapi.binance.com"
    assert rest_url(Settings.load(), "spot") == "https://api.binance.com"
    monkeypatch.setenv("BINANCE_REST_URL", "http://127.0.0.1:9")
    assert rest_url(Settings.load(), "um") == "http://127.0.0.1:9"
