"""What is lost, what cannot be opened and what falls silent is told once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from microstream_lab.live import links
from microstream_lab.live.tidings import Heard, Link, Stale, Tiding
from microstream_lab.market.feed.records import Counters
from microstream_lab.market.stream.shard import StreamStatus


class Watch:
    """A pipeline of nothing but its counters, and what is told of it."""

    def __init__(self, status: StreamStatus) -> None:
        self.status, self.told = status, list[Tiding]()
        self.counters = Counters()
        self.pipeline: Any = SimpleNamespace(
            stream=SimpleNamespace(status=status),
            feed=SimpleNamespace(counters=self.counters),
            assembler=SimpleNamespace(last_trade=lambda symbol: None),
        )

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(
            links.watch_links(self.pipeline, "BTCUSDT", self.told.extend)
        )
        await self.looks()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def looks(self) -> list[Tiding]:
        """Let it look several times; what it has told since."""
        n_told = len(self.told)
        for _ in range(5):
            await asyncio.sleep(0)
        return self.told[n_told:]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_LOOK_S", 0)


def kinds(tidings: list[Tiding]) -> list[type]:
    return [type(each) for each in tidings]


def test_lost_connection_is_told_once_and_cut_until_another_is_open() -> None:
    async def steps() -> None:
        async with Watch(StreamStatus(dials=1, openings=1)) as watch:
            assert [each.is_cut for each in watch.told if isinstance(each, Link)] == [False]
            watch.status.losses += 1
            told = await watch.looks()
            assert kinds(told) == [Stale, Link]
            assert told[1].is_cut
            assert await watch.looks() == []
            watch.status.dials += 1
            assert [each.is_cut for each in await watch.looks()] == [True]
            watch.status.openings += 1
            assert [each.is_cut for each in await watch.looks()] == [False]

    asyncio.run(steps())


def test_renewed_connection_is_never_cut() -> None:
    async def steps() -> None:
        async with Watch(StreamStatus(dials=1, openings=1)) as watch:
            watch.status.dials += 1
            watch.status.openings += 1
            watch.status.renewals += 1
            assert [each.is_cut for each in await watch.looks()] == [False]

    asyncio.run(steps())


def test_silence_is_told_once() -> None:
    async def steps() -> None:
        async with Watch(StreamStatus(dials=1, openings=1)) as watch:
            watch.counters.stale += 1
            assert kinds(await watch.looks()) == [Stale]
            assert await watch.looks() == []

    asyncio.run(steps())


def test_connection_that_cannot_be_opened_is_told_once_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def steps() -> None:
        async with Watch(StreamStatus(dials=1)) as watch:
            assert kinds(watch.told) == [Link]
            monkeypatch.setattr(links, "_PATIENCE_US", -1)
            assert kinds(await watch.looks()) == [Stale]
            assert await watch.looks() == []

    asyncio.run(steps())


def test_recorder_that_falls_silent_is_told_once_and_so_is_that_it_is_heard_again() -> None:
    listener = links.Listener("BTCUSDT", patience_us=10, now=0)
    assert listener.look(False, 10) == []
    assert listener.look(False, 11) == [Stale("BTCUSDT", 0, 11)]
    assert listener.look(False, 30) == []
    assert listener.look(True, 31) == [Heard(31)]
    assert listener.look(True, 40) == []
    assert listener.look(False, 50) == []
    assert listener.look(False, 51) == [Stale("BTCUSDT", 40, 51)]
