"""Connections come and go; the consumer sees every message, or a mark where some may be missing."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from fake_time import FakeTime, SkippingTime
from hypothesis import given
from hypothesis import strategies as st
from stream_messages import combined, message
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close
from websockets.http11 import Request, Response

from microstream_lab.errors import ExchangeError, GeoBlockedError, OfflineError, SettingsError
from microstream_lab.market.backfill import Backfill
from microstream_lab.market.exchange import Faults, LocalExchange
from microstream_lab.market.feed import Feed, Frame
from microstream_lab.market.feed.records import Cut, Event, Fill
from microstream_lab.market.rest import RestClient
from microstream_lab.market.retry import RateLimit, delays_s
from microstream_lab.market.simulate import simulate_market
from microstream_lab.market.stream import MarketStream, shards, stream_names, stream_url
from microstream_lab.market.stream.connection import Connection
from microstream_lab.market.stream.inbox import Inbox
from microstream_lab.market.stream.link import Timing
from microstream_lab.market.stream.shard import StreamOptions
from microstream_lab.schema import AggTrade, Gap

BASE = "ws://127.0.0.1:9443"
STREAMS = stream_names(["BTCUSDT"])


class FakeConnection:
    """A connection whose other end is the test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent: list[str] = []
        self.close_code: int | None = None
        self._incoming: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    async def take(self) -> list[bytes]:
        item = await self._incoming.get()
        if isinstance(item, Exception):
            self._incoming.put_nowait(item)
            raise item
        return [item]

    async def send(self, message: str) -> None:
        if self.close_code is not None:
            raise ConnectionClosedError(None, None, None)
        self.sent.append(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.lose(code)

    def say(self, *messages: bytes) -> None:
        for text in messages:
            self._incoming.put_nowait(text)

    def lose(self, code: int) -> None:
        if self.close_code is None:
            self.close_code = code
            kind = ConnectionClosedOK if code in (1000, 1001) else ConnectionClosedError
            frame = Close(code, "")
            self._incoming.put_nowait(kind(frame, frame, True))


class FakeNet:
    """Opens fake connections, or fails as told."""

    def __init__(self, time: FakeTime) -> None:
        self.time = time
        self.connections: list[FakeConnection] = []
        self.dialled_at: list[float] = []
        self.failures: list[Exception] = []

    async def connect(self, url: str) -> Connection:
        self.dialled_at.append(self.time.now)
        if self.failures:
            raise self.failures.pop(0)
        self.connections.append(FakeConnection(url))
        return self.connections[-1]


class Consumer:
    """Takes all that comes."""

    def __init__(self, stream: MarketStream) -> None:
        self.frames: list[Frame] = []
        self.task = asyncio.create_task(self._run(stream))

    async def _run(self, stream: MarketStream) -> None:
        async for frames in stream:
            self.frames += frames

    @property
    def contents(self) -> list[bytes | str | Cut]:
        return [content for content, _ in self.frames]

    @property
    def cuts(self) -> list[Cut]:
        return [content for content in self.contents if isinstance(content, Cut)]


class Stage:
    """A stream on a fake net under a fake clock, and its consumer."""

    def __init__(self, stream: MarketStream, net: FakeNet, time: FakeTime) -> None:
        self.stream, self.net, self.time = stream, net, time
        self.consumer = Consumer(stream)

    @property
    def line(self) -> FakeConnection:
        return self.net.connections[-1]


@asynccontextmanager
async def staged(
    streams: list[str] = STREAMS,
    options: StreamOptions | None = None,
    failures: list[Exception] | None = None,
) -> AsyncIterator[Stage]:
    fake = FakeTime()
    net = FakeNet(fake)
    net.failures = failures or []
    timing = Timing(fake.clock, fake.now_us, fake.sleep)
    stream = MarketStream(BASE, streams, options, connect=net.connect, timing=timing, seed=1)
    async with stream:
        stage = Stage(stream, net, fake)
        await fake.settle()
        yield stage


def run(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """The test as a plain function, on a loop of its own."""

    def sync() -> None:
        asyncio.run(asyncio.wait_for(test(), 30))

    sync.__name__ = test.__name__
    return sync


@run
async def test_messages_come_in_order_with_the_time_they_were_received() -> None:
    async with staged() as stage:
        stage.line.say(b"one", b"two")
        await stage.time.settle()
        at = stage.time.now_us()
        assert stage.consumer.frames == [(b"one", at), (b"two", at)]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1009, 1011, 1012])
def test_any_close_that_we_did_not_ask_for_is_marked_and_reconnected(code: int) -> None:
    async def scenario() -> None:
        async with staged() as stage:
            stage.line.say(b"one")
            stage.line.lose(code)
            await stage.time.advance(1)
            stage.line.say(b"two")
            await stage.time.settle()
            assert len(stage.net.connections) == 2
            first, cut, last = stage.consumer.contents
            assert (first, last) == (b"one", b"two")
            assert isinstance(cut, Cut)
            assert cut.symbols == ("BTCUSDT",)
            assert str(code) in cut.cause
            assert stage.stream.status.losses == 1

    asyncio.run(scenario())


@run
async def test_leaving_closes_and_does_not_come_back() -> None:
    async with staged() as stage:
        line = stage.line
    await stage.time.advance(100)
    assert line.close_code == 1000
    assert len(stage.net.connections) == 1
    assert stage.consumer.cuts == []
    await stage.consumer.task


@run
async def test_failed_dials_are_repeated_ever_more_slowly_up_to_a_cap() -> None:
    failures: list[Exception] = [OSError("refused"), TimeoutError(), *[OSError("refused")] * 18]
    async with staged(failures=failures) as stage:
        await stage.time.advance(700)
        waits = [b - a for a, b in itertools.pairwise(stage.net.dialled_at[:21])]
        assert waits[0] <= 0.5
        assert all(15 <= wait <= 30 for wait in waits[7:])
        assert stage.stream.status.failures == 20


@run
async def test_delays_begin_anew_after_a_good_connection() -> None:
    async with staged(failures=[OSError("refused")] * 12) as stage:
        while not stage.net.connections:
            await stage.time.advance(1)
        for _ in range(30):
            stage.line.say(b"x")
            await stage.time.advance(1)
        stage.line.lose(1006)
        await stage.time.advance(0.5)
        assert len(stage.net.connections) == 2


@run
async def test_connections_that_end_at_once_are_not_hammered() -> None:
    async with staged() as stage:
        for _ in range(600):
            stage.line.lose(1008)
            await stage.time.advance(0.5)
        assert len(stage.net.connections) < 30


@run
async def test_silent_connection_is_replaced() -> None:
    async with staged() as stage:
        for _ in range(60):
            stage.line.say(b"x" * 200)
            await stage.time.advance(0.1)
        await stage.time.advance(70)
        assert len(stage.net.connections) >= 2
        assert stage.net.connections[0].close_code == 1000
        assert "silent for" in stage.consumer.cuts[0].cause


@run
async def test_connection_is_renewed_before_its_day_ends_without_a_hole() -> None:
    options = StreamOptions(max_age_s=100, overlap_s=5)
    async with staged(options=options) as stage:
        old = stage.line
        for second in range(103):
            old.say(b"old %d" % second)
            await stage.time.advance(1)
        assert len(stage.net.connections) == 2
        assert old.close_code is None
        stage.line.say(b"new")
        old.say(b"both are read")
        await stage.time.advance(5)
        assert old.close_code == 1000
        assert stage.consumer.contents[-2:] == [b"new", b"both are read"]
        assert stage.consumer.cuts == []
        assert stage.stream.status.renewals == 1


@pytest.mark.parametrize("stream", ["!serverShutdown", ""])
def test_server_shutdown_opens_another_connection_at_once(stream: str) -> None:
    async def scenario() -> None:
        async with staged() as stage:
            old, data = stage.line, {"e": "serverShutdown", "E": 1_723_161_255_342}
            old.say(combined(data, stream) if stream else json.dumps(data).encode())
            await stage.time.settle()
            assert len(stage.net.connections) == 2
            assert old.close_code is None
            old.lose(1012)
            await stage.time.advance(10)
            assert len(stage.net.connections) == 2
            assert stage.consumer.cuts == []

    asyncio.run(scenario())


@run
async def test_old_connection_is_kept_if_its_successor_ends_early() -> None:
    async with staged(options=StreamOptions(max_age_s=100)) as stage:
        old = stage.line
        for _ in range(102):
            old.say(b"x")
            await stage.time.advance(1)
        assert len(stage.net.connections) == 2
        stage.line.lose(1006)
        await stage.time.settle()
        assert old.close_code is None
        await stage.time.advance(7)
        assert len(stage.net.connections) == 3
        assert old.close_code == 1000


@run
async def test_old_connection_that_ends_before_its_successor_opens_leaves_a_mark() -> None:
    async with staged(options=StreamOptions(max_age_s=100)) as stage:
        stage.net.failures = [OSError("refused")] * 3
        for _ in range(101):
            stage.line.say(b"x")
            await stage.time.advance(1)
        stage.line.lose(1001)
        await stage.time.advance(10)
        assert len(stage.consumer.cuts) == 1
        assert len(stage.net.connections) == 2


@run
async def test_restart_replaces_only_connections_of_the_symbol() -> None:
    names = stream_names([f"S{n}USDT" for n in range(1_500)])
    async with staged(names) as stage:
        assert len(stage.net.connections) == 2
        await stage.stream.restart(["S3USDT"], "stale")
        await stage.time.advance(2)
        assert [line.close_code for line in stage.net.connections] == [1000, None, None]
        assert [cut.cause for cut in stage.consumer.cuts] == ["stale"]


@run
async def test_streams_beyond_the_address_are_subscribed_at_most_five_a_second() -> None:
    names = stream_names([f"SYMBOL{n}USDT" for n in range(1_024)])
    async with staged(names) as stage:
        assert len(stage.line.url) < 8_000
        await stage.time.settle()
        assert len(stage.line.sent) <= 5
        await stage.time.advance(5)
        asked = [json.loads(text) for text in stage.line.sent]
        in_url = stage.line.url.split("streams=")[1].split("&")[0].split("/")
        assert in_url + [name for request in asked for name in request["params"]] == names
        assert {request["method"] for request in asked} == {"SUBSCRIBE"}
        assert [request["id"] for request in asked] == [*range(1, len(asked) + 1)]


@given(st.integers(1, 5_000), st.integers(1, 1_024))
def test_shards_hold_every_stream_once_and_none_too_many(n: int, limit: int) -> None:
    names = [str(place) for place in range(n)]
    parts = shards(names, limit)
    assert [name for part in parts for name in part] == names
    assert max(map(len, parts)) <= limit
    assert len(parts) == -(-n // limit)


def test_address_asks_for_microseconds() -> None:
    url, rest = stream_url(BASE, stream_names(["BTCUSDT", "ETHUSDT"], ["aggTrade", "kline_1m"]))
    names = "btcusdt@aggTrade/btcusdt@kline_1m/ethusdt@aggTrade/ethusdt@kline_1m"
    assert url == f"{BASE}/stream?streams={names}&timeUnit=MICROSECOND"
    assert rest == []


def test_delays_grow_to_a_cap_with_jitter() -> None:
    delays = list(itertools.islice(delays_s(random.Random(0), 1.0, 2.0, 8.0), 200))
    for delay, top in zip(delays, [1, 2, 4, *[8] * 197], strict=True):
        assert top / 2 <= delay <= top
    assert len(set(delays)) == 200


@given(st.lists(st.floats(0, 20), max_size=40), st.integers(1, 5))
def test_rate_limit_holds_over_any_window(pauses: list[float], limit: int) -> None:
    time = SkippingTime()
    times = []

    async def scenario() -> None:
        rate = RateLimit(limit, 10.0, time.clock, time.sleep)
        for pause in pauses:
            time.now += pause
            await rate.wait()
            times.append(time.now)

    asyncio.run(scenario())
    for early, late in zip(times, times[limit:], strict=False):
        assert late - early >= 10.0 - 1e-6


@run
async def test_full_inbox_drops_what_comes_and_says_so_after_what_it_kept() -> None:
    inbox = Inbox(max_frames=2)
    for place in range(5):
        inbox.put([b"%d" % place], place, ("BTCUSDT",))
    assert await inbox.take() == [(b"0", 0), (b"1", 1), (Cut(("BTCUSDT",), "overflow"), 2)]
    assert (inbox.received, inbox.dropped) == (5, 3)
    inbox.put([b"5"], 5, ("BTCUSDT",))
    assert await inbox.take() == [(b"5", 5)]


@run
async def test_inbox_is_bounded_in_bytes_too() -> None:
    inbox = Inbox(max_bytes=1_000)
    for _ in range(10):
        inbox.put([b"x" * 400], 0, ())
    assert inbox.dropped == 7


@run
async def test_hole_of_an_overflow_is_put_down_to_it() -> None:
    inbox, feed = Inbox(max_frames=3), Feed(["BTCUSDT"])
    for agg_id in range(6):
        inbox.put([message(agg_id)], 0, ("BTCUSDT",))
    feed.drain(await inbox.take())
    inbox.put([message(6)], 0, ("BTCUSDT",))
    gap = feed.drain(await inbox.take())[0]
    assert isinstance(gap, Gap)
    assert (gap.from_id, gap.to_id, gap.cause) == (3, 5, "overflow")


def test_forbidden_address_is_refused_before_anything_is_dialled() -> None:
    with pytest.raises(OfflineError, match="binance"):
        MarketStream("wss://stream.binance.com:9443", STREAMS)
    with pytest.raises(SettingsError, match="streams"):
        MarketStream(BASE, [])


Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, status: int | None = None) -> AsyncIterator[str]:
    """A server on loopback; with `status`, one that refuses the handshake."""

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        return None if status is None else connection.respond(HTTPStatus(status), "no\n")

    async with serve(handler, "127.0.0.1", 0, process_request=refuse) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


async def wait_open(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def take(stream: MarketStream, n: int) -> list[Frame]:
    """The first `n` frames."""
    frames: list[Frame] = []
    async for batch in stream:
        frames += batch
        if len(frames) >= n:
            break
    return frames


@pytest.mark.parametrize("status", [403, 451])
def test_geo_block_is_told_in_one_line_with_what_else_there_is(status: int) -> None:
    async def scenario() -> None:
        async with serving(wait_open, status) as url, MarketStream(url, STREAMS) as stream:
            await take(stream, 1)

    with pytest.raises(GeoBlockedError) as caught:
        asyncio.run(scenario())
    text = str(caught.value)
    assert "\n" not in text
    for host in ("data-stream.binance.vision", "stream.binance.us", "stream.binance.com"):
        assert host in text


def test_refusal_for_good_reaches_the_consumer() -> None:
    async def scenario() -> None:
        async with serving(wait_open, 404) as url, MarketStream(url, STREAMS) as stream:
            await take(stream, 1)

    with pytest.raises(ExchangeError, match="404"):
        asyncio.run(scenario())


@run
async def test_real_connection_is_read_pinged_and_reopened() -> None:
    paths: list[str] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        await (await connection.ping(b"echo this"))
        await connection.send(message(len(paths)).decode())
        if len(paths) < 3:
            await connection.close(1000 + len(paths) - 1)
        await connection.wait_closed()

    async with serving(handler) as url, MarketStream(url, STREAMS, seed=0) as stream:
        frames = await take(stream, 5)
    contents = [content for content, _ in frames if not isinstance(content, Cut)]
    assert contents == [message(n) for n in (1, 2, 3)]
    assert set(paths) == {"/stream?streams=btcusdt@aggTrade&timeUnit=MICROSECOND"}


@run
async def test_oversize_message_ends_the_connection_and_not_the_stream() -> None:
    n_dials = 0

    async def handler(connection: ServerConnection) -> None:
        nonlocal n_dials
        n_dials += 1
        await connection.send("x" * (2_000 if n_dials == 1 else 10))
        await connection.wait_closed()

    options = StreamOptions(max_message_bytes=1_000)
    async with serving(handler) as url, MarketStream(url, STREAMS, options) as stream:
        (cut, _), (content, _) = await take(stream, 2)
    assert isinstance(cut, Cut)
    assert "1009" in cut.cause
    assert content == b"x" * 10


FAST = Timing(
    clock=lambda: 200 * time.monotonic(),
    now_us=lambda: int(2e8 * time.monotonic()),
    sleep=lambda seconds: asyncio.sleep(seconds / 200),
)
"""Two hundred seconds a second, so that nobody waits long between two connections."""

FAULTS = Faults(
    drop=0.01,
    duplicate=0.01,
    reorder=0.01,
    malformed=0.005,
    wrong_type=0.005,
    bad_time=0.005,
    id_jump=0.01,
    cut=0.002,
    shutdown=0.001,
    day_close=0.001,
    oversize=0.001,
    lag=0.2,
    lag_s=600,
    too_many=0.005,
    retry_after_s=0.05,
)


class Bookkeeper:
    """Keeps each trade once, whichever way it comes."""

    def __init__(self, feed: Feed, backfill: Backfill) -> None:
        self.feed, self.backfill = feed, backfill
        self.trades: dict[int, AggTrade] = {}
        self.open: set[tuple[int, int]] = set()
        self.fetches: list[asyncio.Task[None]] = []

    def keep(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, AggTrade):
                self.add([event])
            elif isinstance(event, Fill):
                self.open.remove((event.gap.from_id, event.gap.to_id))
                self.add(event.trades)
            elif isinstance(event, Gap):
                self.open.add((event.from_id, event.to_id))
                self.fetches.append(asyncio.create_task(self.fetch(event)))

    def add(self, trades: list[AggTrade]) -> None:
        for trade in trades:
            assert trade.agg_id not in self.trades
            self.trades[trade.agg_id] = trade

    async def fetch(self, gap: Gap) -> None:
        fill = await self.backfill.fill(gap)
        assert fill.is_whole
        if (gap.from_id, gap.to_id) in self.open:
            self.open.remove((gap.from_id, gap.to_id))
            self.feed.close(gap)
            self.add(fill.trades)


@run
async def test_stream_feed_and_backfill_lose_nothing_on_a_bad_line() -> None:
    market = simulate_market("2024-01-01", 300, "1m", seed=3)
    truth, symbol = market.trades, str(market.trades["symbol"].iloc[0])
    last_id = int(truth["agg_id"].iloc[-1])
    feed = Feed([symbol], "sim")
    async with (
        LocalExchange(market, speed=None, faults=FAULTS, seed=5) as exchange,
        RestClient(exchange.rest_url, market="sim") as client,
        MarketStream(exchange.ws_url, stream_names([symbol]), timing=FAST, seed=5) as stream,
    ):
        backfill = Backfill(client, clock=FAST.clock, sleep=FAST.sleep, seed=5)
        books = Bookkeeper(feed, backfill)

        async def end() -> None:
            """What was lost at the very end no later trade reveals: ask for it."""
            await exchange.finished()
            while (next_id := feed.next_id(symbol)) <= last_id:
                books.keep(feed.offer(await client.agg_trades(symbol, from_id=next_id), 0))
            stream.inbox.close()

        ending = asyncio.create_task(end())
        async for frames in stream:
            books.keep(feed.drain(frames))
        await asyncio.gather(ending, *books.fetches)
    rows = truth.set_index("agg_id")
    assert [*sorted(books.trades)] == [*range(min(books.trades), last_id + 1)]
    for agg_id, trade in books.trades.items():
        assert (trade.price, trade.quantity) == tuple(rows.loc[agg_id, ["price", "quantity"]])
    assert len(books.trades) > 0.9 * len(truth)
    assert feed.counters.malformed > 10
    assert feed.counters.duplicates > 10
    assert feed.counters.gaps > 10
