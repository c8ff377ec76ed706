"""Every kind of fault, as a client sees it on the wire, and that none of them touches the truth."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from exchange_client import dialled, raw_client, receive, receive_all, run_async
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from microstream_lab.errors import DecodeError, SettingsError
from microstream_lab.market.exchange import (
    DIAL_FAULTS,
    REST_FAULTS,
    STREAM_FAULTS,
    EndlessMarket,
    Fault,
    Faults,
    LocalExchange,
)
from microstream_lab.market.simulate import SimulatedMarket, simulate_market
from microstream_lab.market.wire import to_micros
from microstream_lab.schema import as_micros

START = "2024-01-01"
CLOSERS = {"cut", "shutdown", "day_close"}
PATH = "/ws/simusdt@aggTrade"


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market(START, 300)


async def heard(market: SimulatedMarket, faults: Faults, seed: int = 0) -> tuple[Any, ...]:
    """What one client hears of a whole market, and what the exchange says went wrong."""
    async with LocalExchange(market, speed=None, faults=faults, seed=seed) as exchange:
        texts: list[str] = []
        while exchange.n_trades("SIMUSDT") < len(market.trades):
            async with dialled(exchange, PATH, max_size=None) as connection:
                task = asyncio.ensure_future(receive_all(connection))
                await asyncio.wait(
                    {task, asyncio.ensure_future(exchange.finished())},
                    return_when=asyncio.FIRST_COMPLETED,
                )
                await connection.close()
                texts += (await task)[0]
        assert exchange.trades("SIMUSDT").equals(market.trades)
        pd.testing.assert_frame_equal(exchange.bars("SIMUSDT", "1m"), market.bars)
        return texts, exchange.fault_counts


def ids_of(texts: list[str]) -> list[int]:
    return [json.loads(text)["a"] for text in texts]


@run_async
async def test_dropped_messages_are_missing_and_all_others_are_there(
    market: SimulatedMarket,
) -> None:
    texts, counts = await heard(market, Faults(drop=0.05))
    ids = ids_of(texts)
    assert counts["drop"] == len(market.trades) - len(ids) > 200
    assert ids == sorted(set(ids))


@run_async
async def test_duplicated_messages_come_twice_in_a_row(market: SimulatedMarket) -> None:
    texts, counts = await heard(market, Faults(duplicate=0.05))
    n_twice = Counter(Counter(texts).values())[2]
    assert counts["duplicate"] == n_twice == len(texts) - len(market.trades) > 200


@run_async
async def test_reordered_messages_come_a_few_places_late_and_none_is_lost(
    market: SimulatedMarket,
) -> None:
    texts, counts = await heard(market, Faults(reorder=0.02, reach=5))
    ids = ids_of(texts)
    assert len(set(ids)) == len(ids) >= len(market.trades) - 5
    n_late = sum(1 for before, after in pairwise(ids) if after < before)
    assert 0.7 * counts["reorder"] < n_late <= counts["reorder"]
    newest = pd.Series(ids).cummax()
    assert 1 <= (newest - pd.Series(ids)).max() <= 15


@run_async
async def test_id_jumps_send_an_earlier_trade_again(market: SimulatedMarket) -> None:
    texts, counts = await heard(market, Faults(id_jump=0.05, jump=50))
    ids = ids_of(texts)
    backwards = [b - a for a, b in pairwise(ids) if b < a]
    assert counts["id_jump"] == len(backwards) > 200
    assert min(backwards) >= -50
    assert len(set(texts)) == len(market.trades)  # what comes again is what came before


@run_async
async def test_malformed_messages_are_whole_frames_of_broken_json(
    market: SimulatedMarket,
) -> None:
    texts, counts = await heard(market, Faults(malformed=0.05))
    n_broken = 0
    for text in texts:
        try:
            json.loads(text)
        except json.JSONDecodeError:
            n_broken += 1
    assert counts["malformed"] == n_broken > 200


@run_async
async def test_wrong_types_and_bad_times_can_be_told_from_good_values(
    market: SimulatedMarket,
) -> None:
    sound = {"p": str, "q": str, "a": int, "f": int, "l": int, "T": int, "m": bool}
    texts, counts = await heard(market, Faults(wrong_type=0.05))
    messages = [json.loads(text) for text in texts]
    wrong = [
        m for m in messages if any(type(m[k]) is not t or m[k] == "abc" for k, t in sound.items())
    ]
    assert counts["wrong_type"] == len(wrong) > 200
    texts, counts = await heard(market, Faults(bad_time=0.05))
    n_impossible = 0
    for text in texts:
        try:
            to_micros(json.loads(text)["T"])
        except DecodeError:
            n_impossible += 1
    assert counts["bad_time"] == n_impossible > 200


@run_async
async def test_oversize_frame_is_more_than_a_client_takes(market: SimulatedMarket) -> None:
    moment = as_micros(market.trades["trade_time"].iloc[10])
    faults = Faults(script=[Fault("oversize", moment)], oversize_bytes=3 << 20)
    async with LocalExchange(market, speed=None, faults=faults, unattended_s=0) as exchange:
        async with dialled(exchange, PATH, max_size=1 << 20) as connection:
            with pytest.raises(ConnectionClosed) as closed:
                await receive(connection, 20)
        assert closed.value.sent is not None
        assert closed.value.sent.code == 1009
        async with dialled(exchange, PATH, max_size=4 << 20) as connection:
            await receive(connection, 1)


@run_async
async def test_cut_ends_the_connection_inside_a_frame(market: SimulatedMarket) -> None:
    moment = as_micros(market.trades["trade_time"].iloc[100])
    faults = Faults(script=[Fault("cut", moment)])
    async with LocalExchange(market, speed=None, faults=faults) as exchange:
        async with raw_client(exchange, PATH) as (reader, _):
            received = await reader.read()
        assert exchange.fault_counts == {"cut": 1}
    at = n_frames = 0
    while at + 4 <= len(received) and at + 4 + int.from_bytes(received[at + 2 : at + 4]) <= len(
        received
    ):
        at, n_frames = at + 4 + int.from_bytes(received[at + 2 : at + 4]), n_frames + 1
    assert n_frames == 100
    assert received[at : at + 2] == b"\x81\x7e"
    assert at < len(received)


@run_async
async def test_stall_loses_messages_on_a_connection_that_stays_open(
    market: SimulatedMarket,
) -> None:
    times = pd.DatetimeIndex(market.trades["trade_time"]).as_unit("us").asi8
    moment = int(times[100])
    faults = Faults(script=[Fault("stall", moment, for_s=600)])
    texts, counts = await heard(market, faults)
    ids = ids_of(texts)
    assert counts == {"stall": 1}
    lost = (times >= moment) & (times < moment + 600_000_000)
    assert ids == [k + 1 for k in range(len(times)) if not lost[k]]


@run_async
async def test_race_waits_for_a_client_that_is_stalled_for_good_to_dial_again() -> None:
    async with (
        LocalExchange(EndlessMarket(start=START), speed=None) as exchange,
        dialled(exchange, PATH) as connection,
    ):
        await receive(connection, 1)
        exchange.inject("stall", for_s=float("inf"))
        while not exchange.is_standing:
            await asyncio.sleep(0)
        assert exchange.n_connections == 1
        n_played = exchange.n_trades("SIMUSDT")
        async with dialled(exchange, PATH) as again:
            assert (await receive(again, 1))[0]["a"] == n_played + 1


@run_async
async def test_delay_holds_everything_back_and_keeps_the_order() -> None:
    source = EndlessMarket(start=START)
    async with (
        LocalExchange(source, speed=20_000.0, faults=Faults(delay=0.001, delay_s=3600)) as exchange,
        dialled(exchange, PATH) as connection,
    ):
        ids = [message["a"] for message in await receive(connection, 10_000)]
        assert ids == list(range(ids[0], ids[0] + 10_000))
        assert exchange.fault_counts["delay"] > 5


@run_async
@pytest.mark.parametrize("combined", [False, True])
async def test_shutdown_is_announced_and_then_happens(
    market: SimulatedMarket, combined: bool
) -> None:
    path = "/stream?streams=simusdt@aggTrade" if combined else PATH
    async with LocalExchange(market, speed=600.0, play_from=START) as exchange:
        async with dialled(exchange, path) as connection:
            exchange.inject("shutdown", for_s=120)
            texts, code = await receive_all(connection)
        assert exchange.fault_counts == {"shutdown": 1}
    events = [json.loads(text) for text in texts]
    told = [e for e in events if (e["data"] if combined else e)["e"] == "serverShutdown"]
    assert len(told) == 1
    assert told[0].get("stream") == ("!serverShutdown" if combined else None)
    assert code == 1001
    after = events[events.index(told[0]) + 1 :]
    assert after, "trading goes on until the server is down"


@run_async
async def test_day_close_and_refused_dials_end_what_they_should(market: SimulatedMarket) -> None:
    async with LocalExchange(market, speed=60.0, play_from=START) as exchange:
        async with dialled(exchange, PATH) as connection:
            exchange.inject("day_close")
            _, code = await receive_all(connection)
        assert code == 1001
        exchange.inject("refuse", for_s=3600)
        for _ in range(2):
            with pytest.raises((InvalidHandshake, OSError, EOFError)):
                async with dialled(exchange, PATH):
                    pass
        assert exchange.fault_counts == {"day_close": 1, "refuse": 2}


@run_async
async def test_same_seed_spoils_the_same_messages_and_another_seed_others(
    market: SimulatedMarket,
) -> None:
    kinds = ("drop", "duplicate", "reorder", "malformed", "wrong_type", "bad_time", "id_jump")
    faults = Faults(**dict.fromkeys(kinds, 0.01))
    first, second, other = [await heard(market, faults, seed) for seed in (1, 1, 2)]
    assert first == second
    assert first[0] != other[0]


@run_async
async def test_every_kind_happens_by_the_hundred_and_the_truth_stays_the_truth() -> None:
    market = simulate_market(START, 1440)
    rates = {kind: 0.001 if kind in CLOSERS else 0.01 for kind in STREAM_FAULTS}
    faults = Faults(**rates, stall_s=5.0, delay_s=10.0, oversize_bytes=1000, shutdown_s=1.0)
    _, counts = await heard(market, faults)
    assert set(counts) == set(STREAM_FAULTS)
    assert all(n >= (10 if kind in CLOSERS else 200) for kind, n in counts.items()), counts


def test_fault_draws_do_not_depend_on_how_messages_are_batched() -> None:
    import numpy as np

    from microstream_lab.market.exchange.faults import FaultLine

    faults = Faults(drop=0.1, cut=0.05, script=[Fault("stall", 500)])
    times = np.arange(1000)
    whole = FaultLine(faults, STREAM_FAULTS, [3], 0).draw(times)
    parts = FaultLine(faults, STREAM_FAULTS, [3], 0)
    pieces = [(0, 1), (1, 400), (400, 507), (507, 1000)]
    joined = [(a + place, f) for a, b in pieces for place, f in parts.draw(times[a:b])]
    assert joined == whole
    assert 100 < len(whole) < 200


@pytest.mark.parametrize("kind", [*STREAM_FAULTS, *REST_FAULTS, *DIAL_FAULTS])
def test_every_kind_of_fault_has_a_rate_and_can_be_scripted(kind: str) -> None:
    assert getattr(Faults(**{kind: 0.5}), kind) == 0.5
    assert Faults(script=[Fault(kind, START)]).of_kinds([kind])


def test_impossible_faults_are_refused() -> None:
    for wrong in ({"drop": 1.5}, {"drop": 0.6, "cut": 0.6}, {"slow": -1}, {"stall_s": -1}):
        with pytest.raises(SettingsError):
            Faults(**wrong)
    with pytest.raises(SettingsError, match="explode"):
        Fault("explode", START)
