"""When to try again, and how often at most.

Invariant: delays grow to a cap and are jittered, so that many clients do not return at once; a
limited action never happens more often than its limit, over any window of time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterator

from microstream_lab.market.budget import Sleep

__all__ = ["RateLimit", "delays_s"]


def delays_s(
    rng: random.Random, first_s: float = 0.5, factor: float = 2.0, cap_s: float = 30.0
) -> Iterator[float]:
    """Seconds to wait before each next try, without end.

    Each is drawn evenly between half of and the whole of a delay that begins at `first_s` and grows
    by `factor` up to `cap_s`.
    """
    delay_s = first_s
    while True:
        yield rng.uniform(delay_s / 2, delay_s)
        delay_s = min(delay_s * factor, cap_s)


class RateLimit:
    """At most `limit` times in any `period_s` seconds; whoever comes too early waits, in order.

    Parameters
    ----------
    limit : int
        How often.
    period_s : float
        In how long.
    clock, sleep
        Seconds, ascending, and how to wait for them.
    """

    def __init__(
        self,
        limit: int,
        period_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._period_s, self._clock, self._sleep = period_s, clock, sleep
        self._times: deque[float] = deque(maxlen=limit)
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        """Return when it may happen once more, and count it."""
        async with self._turn:
            if len(self._times) == self._times.maxlen:
                while (left := self._times[0] + self._period_s - self._clock()) > 0:
                    await self._sleep(left)
            self._times.append(self._clock())
