"""The local exchange's REST interface and archive, asked by httpx and the project's own clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from exchange_client import dialled, receive, run_async

from microstream_lab.market.archive import Archive
from microstream_lab.market.exchange import EndlessMarket, Fault, Faults, LocalExchange, Manners
from microstream_lab.market.exchange.limits import BanPolicy, MessageRate
from microstream_lab.market.files import read_agg_trades, read_klines
from microstream_lab.market.rest import RestClient
from microstream_lab.market.simulate import SimulatedMarket, simulate_market
from microstream_lab.schema import as_micros

START = "2025-01-01"
START_US = as_micros(START)
MINUTE = 60_000_000


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market(START, 1440 + 60)


@asynccontextmanager
async def asked(
    market: object, **options: Any
) -> AsyncIterator[tuple[LocalExchange, httpx.AsyncClient]]:
    """An exchange where everything has traded, and a client."""
    options = {"play_from": START_US + 1500 * MINUTE, "speed": 1e-6, **options}
    async with (
        LocalExchange(market, **options) as exchange,
        httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False) as client,
    ):
        yield exchange, client


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    return (await client.get(f"/api/v3/{path}", params=params)).json()


def ids(page: list[dict[str, Any]]) -> list[int]:
    return [trade["a"] for trade in page]


@run_async
async def test_agg_trades_are_paged_by_id_and_by_time_as_documented(
    market: SimulatedMarket,
) -> None:
    times = pd.DatetimeIndex(market.trades["trade_time"]).as_unit("us").asi8
    n_trades = len(times)
    async with asked(market) as (_, client):

        async def page(**params: Any) -> list[int]:
            return ids(await get(client, "aggTrades", symbol="SIMUSDT", **params))

        assert await page(fromId=7, limit=3) == [7, 8, 9]
        assert await page(fromId=1) == list(range(1, 501))
        assert len(await page(fromId=1, limit=5000)) == 1000
        assert await page(fromId=n_trades, limit=10) == [n_trades]
        assert await page(fromId=n_trades + 1) == []
        assert await page(limit=2) == [n_trades - 1, n_trades]
        start, end = int(times[100]), int(times[140])
        assert (await page(startTime=start, limit=1000))[0] == 101 - (times[:100] == start).sum()
        assert await page(startTime=start, endTime=end) == [
            k + 1 for k, t in enumerate(times.tolist()) if start <= t <= end
        ]
        by_millisecond = await page(startTime=start // 1000, endTime=end // 1000)
        assert by_millisecond == [
            k + 1 for k, t in enumerate(times.tolist()) if start // 1000 <= t // 1000 <= end // 1000
        ]
        assert (await page(endTime=end, limit=5))[-1] == int((times <= end).sum())
        assert len(await page(startTime=0, limit=7)) == 7


@run_async
async def test_agg_trades_are_those_of_the_stream_in_every_field(market: SimulatedMarket) -> None:
    async with asked(market, speed=None, play_from=None) as (exchange, client):
        async with dialled(exchange, "/ws/simusdt@aggTrade") as connection:
            streamed = await receive(connection, 600)
        page = await get(client, "aggTrades", symbol="SIMUSDT", fromId=1, limit=600)
    keys = ("a", "p", "q", "f", "l", "T", "m", "M")
    assert list(page[0]) == list(keys)
    assert page == [{key: message[key] for key in keys} for message in streamed]


@run_async
async def test_klines_are_the_bars_made_elsewhere_and_the_last_one_is_forming(
    market: SimulatedMarket,
) -> None:
    bars = market.bars
    now = START_US + 1000 * MINUTE + MINUTE // 2
    async with asked(market, play_from=now) as (_, client):

        async def page(**params: Any) -> list[list[Any]]:
            answer: list[list[Any]] = await get(
                client, "klines", symbol="SIMUSDT", interval="1m", **params
            )
            return answer

        rows = await page(startTime=START_US // 1000, limit=1000)
        assert [row[0] for row in rows] == [(START_US + k * MINUTE) // 1000 for k in range(1000)]
        assert [row[6] - row[0] for row in rows] == [59_999] * 1000
        columns = (1, "open"), (2, "high"), (3, "low"), (4, "close"), (5, "volume")
        sums = (7, "quote_volume"), (9, "taker_buy_base"), (10, "taker_buy_quote")
        for place, name in (*columns, *sums):
            assert [row[place] for row in rows] == [f"{v:.8f}" for v in bars[name].iloc[:1000]]
        assert [row[8] for row in rows] == bars["trades"].iloc[:1000].tolist()
        assert {row[11] for row in rows} == {"0"}
        latest = await page(limit=3)
        assert [row[0] for row in latest] == [
            (START_US + k * MINUTE) // 1000 for k in (998, 999, 1000)
        ]
        assert latest[-1][8] <= bars["trades"].iloc[1000]
        assert len(await page()) == 500
        middle = await page(
            startTime=(START_US + 1) // 1000 + 1, endTime=(START_US + 5 * MINUTE) // 1000
        )
        assert [row[0] for row in middle] == [(START_US + k * MINUTE) // 1000 for k in range(1, 6)]


@run_async
async def test_unit_header_switches_times_to_microseconds(market: SimulatedMarket) -> None:
    async with asked(market) as (exchange, client):
        answer = await client.get("/api/v3/time", headers={"X-MBX-TIME-UNIT": "MICROSECOND"})
        assert answer.json()["serverTime"] // 1000 == exchange.now // 1000
        params = {"symbol": "SIMUSDT", "interval": "1m", "limit": "1"}
        headers = {"X-MBX-TIME-UNIT": "MICROSECOND"}
        (row,) = (await client.get("/api/v3/klines", params=params, headers=headers)).json()
        assert row[6] - row[0] == 59_999_999
        bad = await client.get("/api/v3/time", headers={"X-MBX-TIME-UNIT": "FORTNIGHT"})
        assert bad.status_code == 400


@run_async
async def test_what_is_asked_wrongly_is_answered_with_the_exchanges_codes(
    market: SimulatedMarket,
) -> None:
    wrong = [
        ("aggTrades", {"symbol": "NOSUCH"}, -1121),
        ("klines", {"symbol": "NOSUCH", "interval": "1m"}, -1121),
        ("exchangeInfo", {"symbol": "NOSUCH"}, -1121),
        ("aggTrades", {}, -1102),
        ("aggTrades", {"symbol": "simusdt"}, -1100),
        ("aggTrades", {"symbol": "SIMUSDT", "fromId": "x"}, -1100),
        ("aggTrades", {"symbol": "SIMUSDT", "limit": "0"}, -1130),
        ("aggTrades", {"symbol": "SIMUSDT", "fromId": 1, "startTime": 1}, -1128),
        ("aggTrades", {"symbol": "SIMUSDT", "startTime": 9, "endTime": 1}, -1127),
        ("klines", {"symbol": "SIMUSDT", "interval": "7m"}, -1120),
        ("klines", {"symbol": "SIMUSDT"}, -1102),
        ("time", {"colour": "red"}, -1104),
    ]
    async with asked(market) as (_, client):
        for endpoint, params, code in wrong:
            answer = await client.get(f"/api/v3/{endpoint}", params=params)
            assert (answer.status_code, answer.json()["code"]) == (400, code), (endpoint, params)
        assert (await client.get("/api/v3/depth")).status_code == 404
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/api/v3/time")).status_code == 405
        assert (await client.head("/api/v3/time")).content == b""


@run_async
async def test_exchange_info_tells_limits_and_the_grids_of_what_trades(
    market: SimulatedMarket,
) -> None:
    async with asked(market) as (_, client):
        info = await get(client, "exchangeInfo")
        assert await get(client, "exchangeInfo", symbols='["SIMUSDT"]') == info
    (entry,) = info["symbols"]
    assert (entry["baseAsset"], entry["quoteAsset"]) == ("SIM", "USDT")
    filters = {f["filterType"]: f for f in entry["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert info["rateLimits"][0]["limit"] == 6000


@run_async
async def test_weight_is_counted_and_who_exceeds_it_is_refused_then_banned(
    market: SimulatedMarket,
) -> None:
    async with asked(market, manners=Manners(weight_limit=30), speed=1.0) as (_, client):
        used = []
        for path in (
            "ping",
            "time",
            "klines?symbol=SIMUSDT&interval=1m",
            "aggTrades",
            "exchangeInfo",
        ):
            answer = await client.get(f"/api/v3/{path}")
            used.append(answer.headers["X-MBX-USED-WEIGHT-1M"])
        assert used == ["1", "2", "4", "8", "28"]
        statuses = [await client.get("/api/v3/aggTrades") for _ in range(12)]
    assert [answer.status_code for answer in statuses] == [429] * 10 + [418] * 2
    assert {answer.json()["code"] for answer in statuses} == {-1003}
    assert 0 < int(statuses[0].headers["Retry-After"]) <= 60
    assert 60 < int(statuses[-1].headers["Retry-After"]) <= 120


def test_weight_is_free_again_with_the_next_minute_and_bans_grow() -> None:
    policy = BanPolicy(limit=10, patience=1)
    assert [policy.spend(4, MINUTE + k)[0] for k in range(3)] == [200, 200, 429]
    assert policy.spend(4, 2 * MINUTE) == (200, 0)
    assert policy.spend(7, 2 * MINUTE) == (429, MINUTE)
    assert policy.spend(1, 2 * MINUTE) == (418, 2 * MINUTE)
    assert policy.spend(1, 3 * MINUTE) == (418, MINUTE)
    assert policy.spend(11, 4 * MINUTE)[0] == 429
    assert policy.spend(1, 4 * MINUTE) == (418, 4 * MINUTE)


def test_rate_is_exceeded_only_if_both_clocks_say_so() -> None:
    still, racing = MessageRate(2), MessageRate(2)
    assert [still.allows(0, wall * 600_000) for wall in range(4)] == [True] * 4
    assert [racing.allows(market * 600_000, 0) for market in range(4)] == [True] * 4
    strict = MessageRate(2)
    assert [strict.allows(k, k) for k in (0, 1, 2, 1_000_001, 2_000_002)] == [
        True,
        True,
        False,
        True,
        True,
    ]


@run_async
async def test_faults_of_rest_are_met_and_counted(market: SimulatedMarket) -> None:
    expected = {"too_many": 429, "ban": 418}
    for kind, status in expected.items():
        async with asked(market, faults=Faults(**{kind: 1.0}, retry_after_s=3)) as (
            exchange,
            client,
        ):
            answer = await client.get("/api/v3/ping")
            assert (answer.status_code, answer.headers["Retry-After"]) == (status, "3")
            assert exchange.fault_counts == {kind: 1}
    async with asked(market, faults=Faults(slow=1.0, slow_s=0.15)) as (exchange, client):
        assert (await client.get("/api/v3/ping")).elapsed.total_seconds() >= 0.15
        assert exchange.fault_counts == {"slow": 1}
    async with asked(market, faults=Faults(lag=1.0, lag_s=120)) as (exchange, client):
        served = await get(client, "aggTrades", symbol="SIMUSDT", limit=1)
        assert served[0]["T"] * 1000 <= exchange.now - 120_000_000
        assert served[0]["a"] < exchange.n_trades("SIMUSDT")


@run_async
async def test_scripted_fault_of_rest_lasts_as_long_as_it_says(market: SimulatedMarket) -> None:
    script = [Fault("too_many", START_US + 10 * MINUTE, for_s=60)]
    for minute, status in ((9, 200), (10, 429), (11, 200)):
        moment = START_US + minute * MINUTE + MINUTE // 2
        async with asked(market, play_from=moment, faults=Faults(script=script)) as (_, client):
            assert (await client.get("/api/v3/ping")).status_code == status


@run_async
async def test_the_projects_own_client_reads_trades_and_bars_from_it(
    market: SimulatedMarket,
) -> None:
    end = START_US + 1500 * MINUTE
    async with asked(market) as (exchange, _):
        async with RestClient(exchange.rest_url, market="sim") as rest:
            bars = await rest.klines("SIMUSDT", "1m", START_US, end)
            page = await rest.agg_trades("SIMUSDT", from_id=1, to_id=2500)
        pd.testing.assert_frame_equal(bars, market.bars)
        pd.testing.assert_frame_equal(bars, exchange.bars("SIMUSDT", "1m"))
    assert [trade.agg_id for trade in page] == list(range(1, 2501))
    assert [trade.price for trade in page] == market.trades["price"].iloc[:2500].tolist()


@run_async
async def test_archive_has_the_days_that_are_over_and_its_files_read_back_as_the_truth(
    market: SimulatedMarket, tmp_path: Path
) -> None:
    async with asked(market) as (exchange, client):
        archive = Archive(exchange.archive_url, tmp_path)
        klines = await archive.download("SIMUSDT", "1m", START, "2025-01-03")
        trades = await archive.download("SIMUSDT", None, START, "2025-01-02")
        path = "/data/spot/daily/klines/SIMUSDT/1m/SIMUSDT-1m-2025-01-01.zip"
        whole = await client.get(path)
        headers = {"Range": "bytes=100-199", "If-Range": whole.headers["ETag"]}
        part = await client.get(path, headers=headers)
        changed = await client.get(path, headers={**headers, "If-Range": '"other"'})
        beyond = await client.get(path, headers={"Range": f"bytes={len(whole.content)}-"})
        absent = [
            await client.get(f"/data/spot/{name}")
            for name in (
                "monthly/klines/SIMUSDT/1m/SIMUSDT-1m-2025-01.zip",
                "daily/klines/NOSUCH/1m/NOSUCH-1m-2025-01-01.zip",
                "daily/klines/SIMUSDT/1m/SIMUSDT-1m-2024-12-31.zip",
                "daily/klines/SIMUSDT/1m/../../../../etc/passwd",
                "daily/klines/SIMUSDT/1m/SIMUSDT-1m-2025-13-01.zip",
            )
        ]
    assert [day.isoformat() for day in klines.missing] == ["2025-01-02"]
    day = read_klines(klines.files[0], market="sim")
    pd.testing.assert_frame_equal(day, market.bars.iloc[:1440])
    first_day = read_agg_trades(trades.files[0], market="sim")
    expected = market.trades[market.trades["trade_time"] < pd.Timestamp("2025-01-02", tz="UTC")]
    pd.testing.assert_frame_equal(first_day, expected)
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert (changed.status_code, changed.content) == (200, whole.content)
    assert beyond.status_code == 416
    assert {answer.status_code for answer in absent} == {404}


@run_async
async def test_history_of_an_endless_market_is_there_from_the_beginning() -> None:
    source = EndlessMarket(start=START)
    async with asked(source, play_from=START_US + 2 * 1440 * MINUTE) as (exchange, client):
        rows = await get(client, "klines", symbol="SIMUSDT", interval="1h")
        assert len(rows) == 49
        assert exchange.now >= START_US + 2 * 1440 * MINUTE


@run_async
async def test_bytes_that_are_no_request_end_the_connection(market: SimulatedMarket) -> None:
    import asyncio

    async with LocalExchange(market, speed=1e-6) as exchange:
        host, port = exchange.rest_url.removeprefix("http://").split(":")
        for junk in (b"\x16\x03\x01\r\n\r\n", b"GET /" + b"x" * 70_000, b"GET / HTTP/9\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(junk + b"\r\n\r\n")
            assert await reader.read() == b""
            writer.close()
