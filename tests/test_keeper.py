"""What waits to be stored: stored once, tried again, bounded, and never lost silently."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from live_tidings import make_scored

from microstream_lab.errors import StoreLockedError
from microstream_lab.live.keeper import Keeper
from microstream_lab.store import Store


class LockedStore(Store):
    """Somebody else holds it until `is_free`."""

    is_free = False

    def write_bars(self, *args: Any, **options: Any) -> Any:
        if not self.is_free:
            raise StoreLockedError(str(self.path), "PID 7 (another)", 0.0)
        return super().write_bars(*args, **options)


def test_what_could_not_be_stored_is_stored_later(tmp_path: Path) -> None:
    store = LockedStore(tmp_path / "store.duckdb")
    keeper = Keeper(store)
    keeper.add([make_scored(place) for place in range(3)])
    assert "another" in asyncio.run(keeper.flush())
    assert keeper.n_waiting == 3
    keeper.add([make_scored(3)])
    store.is_free = True
    assert asyncio.run(keeper.flush()) == ""
    assert keeper.n_waiting == 0
    assert len(store.bars("BTCUSDT", "1m")) == 4


def test_queue_is_bounded_and_what_is_dropped_is_counted(tmp_path: Path) -> None:
    store = LockedStore(tmp_path / "store.duckdb")
    keeper = Keeper(store, most=5)
    for place in range(12):
        keeper.add([make_scored(place)])
        asyncio.run(keeper.flush())
    assert (keeper.n_waiting, keeper.n_dropped) == (5, 7)
    store.is_free = True
    asyncio.run(keeper.flush())
    assert len(store.bars("BTCUSDT", "1m")) == 5


def test_what_comes_while_it_writes_waits_for_the_next_turn(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb")
    keeper = Keeper(store, most=4)
    keeper.add([make_scored(place) for place in range(4)])

    async def write_and_add() -> None:
        writing = asyncio.create_task(keeper.flush())
        await asyncio.sleep(0)
        keeper.add([make_scored(place) for place in range(4, 6)])
        await writing

    asyncio.run(write_and_add())
    assert (keeper.n_waiting, keeper.n_dropped) == (2, 0)
    asyncio.run(keeper.flush())
    assert len(store.bars("BTCUSDT", "1m")) == 6


def test_without_a_store_nothing_waits() -> None:
    keeper = Keeper(None)
    keeper.add([make_scored(0)])
    assert keeper.n_waiting == 0
