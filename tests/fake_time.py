"""A clock that goes only when told, for tests that never wait."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

_SETTLED = 40


class FakeTime:
    """Seconds that pass by :meth:`advance` alone; whoever sleeps wakes in order."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def clock(self) -> float:
        return self.now

    def now_us(self) -> int:
        return int(self.now * 1e6)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        waking = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), waking))
        await waking

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and everything happen that is due."""
        end = self.now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, waking = heapq.heappop(self._sleepers)
            if not waking.done():
                waking.set_result(None)
            await self.settle()
        self.now = end

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(_SETTLED):
            await asyncio.sleep(0)


class SkippingTime(FakeTime):
    """Time that passes by itself as soon as somebody sleeps; for one sleeper at a time."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 0.0)
        await asyncio.sleep(0)
