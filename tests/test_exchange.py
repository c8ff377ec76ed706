"""The local exchange as its clients see it over plain WebSocket connections."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from exchange_client import dialled, raw_client, receive, receive_all, run_async
from websockets.exceptions import ConnectionClosed, InvalidStatus

from microstream_lab.errors import SettingsError
from microstream_lab.market.exchange import (
    EndlessMarket,
    LocalExchange,
    Manners,
    Rules,
    as_source,
)
from microstream_lab.market.rest import RestClient
from microstream_lab.market.simulate import Scenario, SimulatedMarket, simulate_market
from microstream_lab.schema import as_micros

START = "2024-01-01"


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market(START, 120)


def micros(times: pd.Series[Any]) -> list[int]:
    return pd.DatetimeIndex(times).as_unit("us").asi8.tolist()


@run_async
async def test_agg_trade_stream_carries_every_trade_once_in_the_exchanges_own_form(
    market: SimulatedMarket,
) -> None:
    trades = market.trades
    async with (
        LocalExchange(market, speed=None) as exchange,
        dialled(exchange, "/ws/simusdt@aggTrade") as connection,
    ):
        received = await receive(connection, len(trades))
    assert list(received[0]) == ["e", "E", "s", "a", "p", "q", "f", "l", "T", "m", "M"]
    assert {m["e"] for m in received} == {"aggTrade"}
    assert {m["s"] for m in received} == {"SIMUSDT"}
    assert {m["M"] for m in received} == {True}
    for key, column in (("a", "agg_id"), ("f", "first_id"), ("l", "last_id")):
        assert [m[key] for m in received] == trades[column].tolist()
    assert [m["m"] for m in received] == trades["buyer_is_maker"].tolist()
    assert [m["p"] for m in received] == [f"{p:.8f}" for p in trades["price"]]
    assert [m["q"] for m in received] == [f"{q:.8f}" for q in trades["quantity"]]
    assert [m["T"] for m in received] == [t // 1000 for t in micros(trades["trade_time"])]
    assert all(m["E"] >= m["T"] for m in received)


@run_async
async def test_combined_stream_wraps_and_microseconds_are_served_when_asked_for(
    market: SimulatedMarket,
) -> None:
    path = "/stream?streams=simusdt@aggTrade/simusdt@trade&timeUnit=MICROSECOND"
    async with LocalExchange(market, speed=None) as exchange, dialled(exchange, path) as connection:
        received = await receive(connection, 50)
    names = Counter(message["stream"] for message in received)
    assert set(names) == {"simusdt@aggTrade", "simusdt@trade"}
    first = next(m["data"] for m in received if m["stream"].endswith("aggTrade"))
    assert first["T"] == micros(market.trades["trade_time"])[0]


@run_async
async def test_single_trades_add_up_to_their_aggregates(market: SimulatedMarket) -> None:
    trades = market.trades
    n_single = int((trades["last_id"] - trades["first_id"] + 1).sum())
    async with (
        LocalExchange(market, speed=None) as exchange,
        dialled(exchange, "/ws/simusdt@trade") as connection,
    ):
        received = await receive(connection, n_single)
    assert list(received[0]) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
    assert [m["t"] for m in received] == list(range(1, n_single + 1))
    by_id = {m["t"]: Decimal(m["q"]) for m in received}
    for first, last, quantity in zip(
        trades["first_id"], trades["last_id"], trades["quantity"], strict=True
    ):
        assert sum(by_id[k] for k in range(first, last + 1)) == Decimal(f"{quantity:.8f}")


@run_async
@pytest.mark.parametrize(("interval", "n_bars"), [("1m", 120), ("5m", 24), ("1s", 7200)])
async def test_closed_klines_equal_the_bars_made_elsewhere_and_forming_ones_only_grow(
    market: SimulatedMarket, interval: str, n_bars: int
) -> None:
    from microstream_lab.bars import bars_from_trades

    closed, forming = [], []
    async with (
        LocalExchange(market, speed=None) as exchange,
        dialled(exchange, f"/ws/simusdt@kline_{interval}") as connection,
    ):
        while not closed or closed[-1]["T"] < (as_micros(START) + 7200_000_000) // 1000 - 1:
            (message,) = await receive(connection, 1)
            (closed if message["k"]["x"] else forming).append(message["k"])
    end = as_micros(START) + 7200_000_000
    bars = bars_from_trades(market.trades, interval, until=end)
    first = int(bars.index[0].timestamp() * 1000)
    closed = [kline for kline in closed if kline["t"] >= first]
    assert len(closed) == len(bars) <= n_bars
    columns = (*bars.columns[:6], "taker_buy_base", "taker_buy_quote")
    for key, column in zip("ohlcvqVQ", columns, strict=True):
        assert [k[key] for k in closed] == [f"{value:.8f}" for value in bars[column]], column
    assert [k["n"] for k in closed] == bars["trades"].tolist()
    assert all(k["T"] + 1 - k["t"] == closed[0]["T"] + 1 - closed[0]["t"] for k in closed)
    for before, after in pairwise(forming):
        if before["t"] == after["t"]:
            assert before["n"] < after["n"]
            assert before["o"] == after["o"]


@run_async
async def test_kline_of_a_late_subscriber_holds_the_whole_bar(market: SimulatedMarket) -> None:
    middle = as_micros(START) + 90 * 60_000_000 + 30_000_000
    async with (
        LocalExchange(market, speed=None, play_from=middle) as exchange,
        dialled(exchange, "/ws/simusdt@kline_1m") as connection,
    ):
        message = {"k": {"x": False}}
        while not message["k"]["x"]:
            (message,) = await receive(connection, 1)
    assert message["k"]["v"] == f"{market.bars['volume'].iloc[90]:.8f}"
    assert message["k"]["n"] == market.bars["trades"].iloc[90]


@run_async
async def test_book_ticker_never_crosses_and_has_no_time(market: SimulatedMarket) -> None:
    n_trades = len(market.trades)
    async with (
        LocalExchange(market, speed=None) as exchange,
        dialled(exchange, "/ws/simusdt@bookTicker") as connection,
        RestClient(exchange.rest_url, market="sim") as client,
    ):
        quotes = await receive(connection, n_trades)
        asked = await client.quote("SIMUSDT")
    assert set(quotes[0]) == {"u", "s", "b", "B", "a", "A"}
    assert all(Decimal(quote["b"]) < Decimal(quote["a"]) for quote in quotes)
    assert all(before["u"] < after["u"] for before, after in pairwise(quotes))
    sold = market.trades["buyer_is_maker"]
    traded_at = ["b" if is_sale else "a" for is_sale in sold]
    prices = [f"{price:.8f}" for price in market.trades["price"]]
    assert [q[side] for q, side in zip(quotes, traded_at, strict=True)] == prices
    assert asked == (float(quotes[-1]["b"]), float(quotes[-1]["a"]))


@run_async
async def test_messages_of_several_symbols_come_in_order_of_time() -> None:
    source = EndlessMarket(("AAAUSDT", "BBBUSDT", "CCCUSDT"), START)
    path = "/stream?streams=aaausdt@aggTrade/bbbusdt@aggTrade/cccusdt@aggTrade"
    async with LocalExchange(source, speed=None) as exchange, dialled(exchange, path) as connection:
        received = [m["data"] for m in await receive(connection, 20_000)]
    assert all(before["T"] <= after["T"] for before, after in pairwise(received))
    for symbol in exchange.symbols:
        ids = [m["a"] for m in received if m["s"] == symbol]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) > 1000


@run_async
async def test_control_messages_are_carried_out_and_answered(market: SimulatedMarket) -> None:
    async def ask(method: str, **fields: Any) -> Any:
        await connection.send(json.dumps({"method": method, **fields}))
        return json.loads(await connection.recv())

    rules = Rules(messages_per_s=1000)
    async with (
        LocalExchange(market, speed=1e-6, manners=Manners(rules=rules)) as exchange,
        dialled(exchange, "/ws/quiet@aggTrade") as connection,
    ):
        exchange.pause()
        added = ["simusdt@kline_1M", "nosuch@trade"]
        assert await ask("SUBSCRIBE", params=added, id=1) == {"result": None, "id": 1}
        listed = await ask("LIST_SUBSCRIPTIONS", id="x")
        assert listed == {"result": ["quiet@aggTrade", *added], "id": "x"}
        await ask("UNSUBSCRIBE", params=["quiet@aggTrade"], id=2)
        assert (await ask("LIST_SUBSCRIPTIONS", id=3))["result"] == added
        assert (await ask("GET_PROPERTY", params=["combined"], id=4))["result"] is False
        assert (await ask("SET_PROPERTY", params=["combined", True], id=5))["result"] is None
        assert (await ask("GET_PROPERTY", params=["combined"], id=6))["result"] is True
        assert await ask("SET_PROPERTY", params=["colour", True], id=7) == {
            "code": 0,
            "msg": "Unknown property",
            "id": 7,
        }
        assert (await ask("SET_PROPERTY", params=["combined", 1], id=8))["code"] == 1
        assert (await ask("SUBSCRIBE", params=[1], id=9))["code"] == 2
        assert (await ask("SHOUT", id=10))["code"] == 2
        assert (await ask("SUBSCRIBE", params=["x@trade"], id=-1))["code"] == 2
        await connection.send("{not json")
        assert json.loads(await connection.recv())["code"] == 3
        many = [f"s{k}usdt@trade" for k in range(1024)]
        assert (await ask("SUBSCRIBE", params=many, id=11))["code"] == 2
        assert (await ask("LIST_SUBSCRIPTIONS", id=12))["result"] == added


@run_async
async def test_subscribing_starts_the_flow_and_unsubscribing_ends_it(
    market: SimulatedMarket,
) -> None:
    async with (
        LocalExchange(market, speed=None) as exchange,
        dialled(exchange, "/ws") as connection,
    ):
        name = ["simusdt@aggTrade"]
        await connection.send(json.dumps({"method": "SUBSCRIBE", "params": name, "id": 1}))
        assert (await receive(connection, 2))[1]["a"] == 1
        await connection.send(json.dumps({"method": "UNSUBSCRIBE", "params": name, "id": 2}))
        message: dict[str, Any] = {}
        while message.get("id") != 2:
            (message,) = await receive(connection, 1)
        exchange.inject("day_close")  # strikes at the next message, and none may come
        await connection.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 3}))
        assert await receive(connection, 1) == [{"result": [], "id": 3}]


@run_async
async def test_sixth_control_message_within_a_second_closes_the_connection(
    market: SimulatedMarket,
) -> None:
    async with (
        LocalExchange(market, speed=1e-6) as exchange,
        dialled(exchange, "/ws") as connection,
    ):
        for number in range(6):
            await connection.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        replies, code = await receive_all(connection)
    assert [json.loads(reply)["id"] for reply in replies] == [0, 1, 2, 3, 4]
    assert code == 1008


@run_async
async def test_address_with_too_many_streams_or_another_path_is_refused(
    market: SimulatedMarket,
) -> None:
    async with LocalExchange(market, speed=None) as exchange:
        names = "/".join(f"s{k}@trade" for k in range(1024))
        async with dialled(exchange, f"/stream?streams={names}"):
            assert exchange.n_connections == 1
        for path, status in ((f"/stream?streams={names}/one@trade", 400), ("/nowhere", 404)):
            with pytest.raises(InvalidStatus) as refused:
                async with dialled(exchange, path):
                    pass
            assert refused.value.response.status_code == status


@run_async
async def test_client_that_does_not_answer_pings_is_closed(market: SimulatedMarket) -> None:
    rules = Rules(ping_s=0.05, pong_s=0.05)
    async with (
        LocalExchange(market, speed=1.0, manners=Manners(rules=rules)) as exchange,
        raw_client(exchange, "/ws/nosuch@trade") as (reader, _),
    ):
        ping = await reader.readexactly(2)
        assert ping[0] == 0x89
        await reader.readexactly(ping[1])
        close = await reader.readexactly(2 + 2 + len("Pong timeout"))
        assert (close[0], close[2:]) == (0x88, b"\x03\xf0Pong timeout")  # 1008


@run_async
async def test_client_that_answers_pings_stays_until_it_is_too_old(
    market: SimulatedMarket,
) -> None:
    rules = Rules(ping_s=0.02, pong_s=0.1, max_age_s=0.5, messages_per_s=1000)
    async with (
        LocalExchange(market, speed=1.0, manners=Manners(rules=rules)) as exchange,
        dialled(exchange, "/ws/nosuch@trade") as connection,
    ):
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "24 hours have passed")


@run_async
async def test_market_keeps_time_at_a_finite_speed(market: SimulatedMarket) -> None:
    loop = asyncio.get_running_loop()
    async with LocalExchange(market, speed=1200.0) as exchange:
        began, opened = loop.time(), exchange.now
        await exchange.reached(opened + 600_000_000)
        took_s = loop.time() - began
        assert took_s >= 0.49
        assert exchange.now - opened <= 1.05 * (loop.time() - began + 0.1) * 1200e6


@run_async
async def test_paused_market_stands_still_and_goes_on_where_it_was() -> None:
    async with (
        LocalExchange(EndlessMarket(start=START), speed=None) as exchange,
        dialled(exchange, "/ws/simusdt@aggTrade") as connection,
    ):
        await receive(connection, 1)
        exchange.pause()
        n_played, now = exchange.n_trades("SIMUSDT"), exchange.now
        received = await receive(connection, n_played - 1)
        assert received[-1]["a"] == n_played
        await connection.ping()
        assert (exchange.n_trades("SIMUSDT"), exchange.now) == (n_played, now)
        exchange.resume()
        assert (await receive(connection, 1))[0]["a"] == n_played + 1


@run_async
async def test_race_waits_for_listeners_and_goes_on_only_a_little_without_them() -> None:
    source = EndlessMarket(start=START)
    async with LocalExchange(source, speed=None, unattended_s=600) as exchange:
        assert exchange.n_trades("SIMUSDT") == 0
        assert exchange.is_standing
        async with dialled(exchange, "/ws/simusdt@aggTrade") as connection:
            await receive(connection, 10)
            exchange.pause()
            left = exchange.now
        exchange.resume()
        await exchange.reached(left + 600_000_000)
        while not exchange.is_standing:
            await asyncio.sleep(0)
        assert exchange.now == left + 600_000_000
        n_played = exchange.n_trades("SIMUSDT")
        async with dialled(exchange, "/ws/simusdt@aggTrade") as connection:
            (first,) = await receive(connection, 1)
        assert first["a"] == n_played + 1


@run_async
async def test_endless_market_is_played_in_bounded_memory() -> None:
    source = EndlessMarket(start=START, scenario=Scenario(events_per_day=0))
    async with (
        LocalExchange(source, speed=None, keep=5_000) as exchange,
        raw_client(exchange, "/ws/simusdt@aggTrade") as (reader, _),
    ):
        while exchange.n_trades("SIMUSDT") < 150_000:
            assert await reader.read(1 << 20)
        ledger = exchange._floor.ledgers["SIMUSDT"]
        assert 5_000 <= len(exchange.trades("SIMUSDT")) <= 10_000 + 4_096
        assert ledger.n_bytes <= 8 * 8 * 40_000
        bars = exchange.bars("SIMUSDT", "1m")
        assert 20 < len(bars) < 2000
        assert (bars["quality"] == "complete").all()


@run_async
async def test_client_that_takes_nothing_is_treated_as_declared() -> None:
    market = simulate_market(START, 3000)
    tight = {"max_backlog": 100_000, "patience_s": 0.2}
    close, drop = (Manners(slow_clients=policy, **tight) for policy in ("close", "drop"))
    async with (
        LocalExchange(market, speed=1e6, manners=close) as exchange,
        raw_client(exchange, "/ws/simusdt@aggTrade"),
    ):
        await exchange.finished()
        assert exchange.n_connections == 0
    async with (
        LocalExchange(market, speed=1e6, manners=drop) as exchange,
        raw_client(exchange, "/ws/simusdt@aggTrade"),
    ):
        await exchange.finished()
        assert exchange.n_connections == 1
        assert exchange.n_dropped > 0
    async with (
        LocalExchange(
            market, speed=None, manners=Manners(slow_clients="wait", patience_s=0.2)
        ) as exchange,
        raw_client(exchange, "/ws/simusdt@aggTrade") as (_, writer),
    ):
        writer.transport.pause_reading()
        await exchange._floor.news.wait()
        while exchange.n_connections:
            exchange._floor.news.clear()
            await exchange._floor.news.wait()
        assert exchange.n_trades("SIMUSDT") < len(market.trades)


@run_async
async def test_nobody_beyond_this_machine_can_dial_unless_asked_for(
    market: SimulatedMarket,
) -> None:
    async with LocalExchange(market) as exchange:
        (socket,) = exchange._server.sockets
        assert socket.getsockname()[0] == "127.0.0.1"
        assert exchange.ws_url.startswith("ws://127.0.0.1:")
        assert exchange.rest_url == exchange.archive_url


@run_async
async def test_error_in_the_source_reaches_whoever_waits_for_the_market() -> None:
    class Broken(EndlessMarket):
        def blocks(self, symbol: str) -> Any:
            yield from ()
            raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        async with LocalExchange(Broken(), speed=None) as exchange:
            await exchange.finished()


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_speed_that_is_none_is_refused(market: SimulatedMarket, speed: float) -> None:
    with pytest.raises(SettingsError, match="speed"):
        LocalExchange(market, speed)


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(SettingsError, match="source: found int"):
        as_source(7)
    with pytest.raises(SettingsError, match="each once"):
        EndlessMarket(("AUSDT", "AUSDT"))
