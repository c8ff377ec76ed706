"""How often we may ask: request weight per minute, and leaving an exchange alone when told to.

Invariant: over one of the exchange's minutes no more than the limit is spent, and nobody asks
before a Retry-After has passed; all requests to one host share one budget.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from microstream_lab.errors import SettingsError

__all__ = ["FUTURES_LIMIT", "SPOT_LIMIT", "Gate", "Sleep", "WeightBudget"]

Sleep = Callable[[float], Awaitable[None]]

SPOT_LIMIT: Final = 6_000
FUTURES_LIMIT: Final = 2_400
_MINUTE_S: Final = 60.0
_SKEW_S: Final = 0.5
"""Wait this much beyond the full minute, as the exchange's clock is not ours."""


class Gate:
    """Shut for a while when the exchange asks for it; everybody waits outside.

    Parameters
    ----------
    clock : callable
        Seconds, ascending.
    sleep : async callable
        Waits for seconds of that clock.
    """

    def __init__(self, clock: Callable[[], float] = time.time, sleep: Sleep = asyncio.sleep):
        self.clock, self.sleep = clock, sleep
        self._open_at = float("-inf")

    def shut(self, seconds: float) -> None:
        """Let nobody pass for `seconds` from now; a longer wait already ordered stands."""
        self._open_at = max(self._open_at, self.clock() + seconds)

    async def wait(self) -> None:
        """Return when the gate is open."""
        while (left := self._open_at - self.clock()) > 0:
            await self.sleep(left)


class WeightBudget:
    """Request weight per minute, shared by all who ask one host.

    Parameters
    ----------
    limit : int
        Weight allowed a minute.
    clock, sleep
        As for :class:`Gate`; the clock is wall time, as the exchange counts by its minutes.
    """

    def __init__(
        self,
        limit: int = SPOT_LIMIT,
        clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.limit = limit
        self.gate = Gate(clock, sleep)
        self._minute = -1
        self._used = 0

    @property
    def used(self) -> int:
        """Weight spent in the current minute, by us or by others at our address."""
        minute = int(self.gate.clock() // _MINUTE_S)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        return self._used

    async def spend(self, weight: int) -> None:
        """Wait until `weight` fits into the minute and the gate is open, then book it."""
        if weight > self.limit:
            raise SettingsError(f"weight: found {weight}, expected at most {self.limit} a minute")
        await self.gate.wait()
        # Nothing is awaited between the look and the booking, so tasks cannot overbook.
        while self.used + weight > self.limit:
            now = self.gate.clock()
            await self.gate.sleep((self._minute + 1) * _MINUTE_S - now + _SKEW_S)
            await self.gate.wait()
        self._used += weight

    def observe(self, used: int) -> None:
        """Take the exchange's own count (``X-MBX-USED-WEIGHT-1M``), which includes others."""
        self._used = max(self.used, used)
