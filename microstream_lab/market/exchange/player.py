"""The course of the market: what is played when, at which speed, and when it waits.

Invariant: nothing is skipped. Whoever is late to be played is played late.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from microstream_lab.market.exchange.clock import Clock
from microstream_lab.market.exchange.cursors import Market
from microstream_lab.market.exchange.floor import Floor

__all__ = ["Player"]

_SECOND_US: Final = 1_000_000
_SHORTEST_S, _LONGEST_S = 0.002, 0.05
"""Between two looks at the clock: often enough for a trade to be on time, and for pings."""
_TRADES_BEHIND: Final = 32_768


class Player:
    """Plays a market on a floor.

    Parameters
    ----------
    market : Market
        What is played.
    floor : Floor
        For whom.
    end : int, optional
        When the market closes (us).
    unattended_us : int
        At infinite speed the market waits for somebody to listen, and for so long goes on without
        when nobody does any more.
    batch : int
        Trades played at once at infinite speed; a connection that is cut loses the rest of them.
    """

    def __init__(
        self, market: Market, floor: Floor, end: int | None, unattended_us: int, batch: int
    ) -> None:
        self._market, self._floor, self._end = market, floor, end
        self._clock: Clock = floor.clock
        self._races = math.isinf(self._clock.speed)
        self._unattended_us, self._batch = unattended_us, batch
        self._alone_since: int | None = None
        self._was_attended = False
        self.running = asyncio.Event()
        self.running.set()
        self.finished = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    async def skip(self, until: int) -> None:
        """Enter everything up to `until` (us) into the ledgers without telling anyone."""
        while await self._market.load() and self._market.next_due() <= until:
            loaded = min(until, self._market.limit())
            self._floor.play(loaded, self._market.take(loaded))
        self._clock.advance(until)

    async def run(self) -> None:
        """Play to the end, then let time go on."""
        if not self._races:
            self._clock.run()
        while await self._market.load():
            await self._pause()
            await (self._race() if self._races else self._keep_time())
            await self._floor.drain()
        await self._close_market()
        self.finished.set()
        while True:
            await self._pause()
            await asyncio.sleep(_LONGEST_S)
            self._step(max(self._clock.now, self._clock.target()), at_hand=False)

    async def reached(self, time: int) -> None:
        """Return when the market has been played up to `time` (us)."""
        if self._clock.now < time:
            future = asyncio.get_running_loop().create_future()
            self._waiters.append((time, future))
            await future

    def _step(self, until: int, at_hand: bool = True) -> None:
        self._floor.play(until, self._market.take(until) if at_hand else {})
        due = [future for time, future in self._waiters if time <= until]
        self._waiters = [waiter for waiter in self._waiters if waiter[0] > until]
        for future in due:
            if not future.done():
                future.set_result(None)

    async def _pause(self) -> None:
        if not self.running.is_set():
            self._clock.stop()
            await self.running.wait()
            self._clock.run()

    async def _keep_time(self) -> None:
        """Play what is due by now; sleep until the next trade first."""
        clock, market = self._clock, self._market
        ahead_s = (market.next_due() - clock.target()) / _SECOND_US / clock.speed
        await asyncio.sleep(min(max(ahead_s, _SHORTEST_S), _LONGEST_S))
        if not self.running.is_set():
            return
        # Whoever is behind catches up in batches that leave others a turn.
        self._step(max(clock.now, min(clock.target(), market.horizon(_TRADES_BEHIND))))

    async def _race(self) -> None:
        """Play the next batch at once, if somebody listens."""
        until = self._market.horizon(self._batch)
        if not self._floor.has_listeners:
            if self._alone_since is None and self._was_attended:
                self._alone_since = self._clock.now
            allowed = (self._alone_since or -math.inf) + self._unattended_us
            if self._clock.now >= allowed:
                await self._wait_for_listeners()
                return
            until = min(until, max(int(allowed), self._clock.now))
        else:
            self._was_attended, self._alone_since = True, None
            if self._clock.is_standing:
                self._clock.run()
        self._step(until)

    async def _wait_for_listeners(self) -> None:
        self._clock.stop()
        while not self._floor.has_listeners:
            self._floor.news.clear()
            await self._floor.news.wait()
        self._clock.run()

    async def _close_market(self) -> None:
        """Let the time until the market closes pass: after a race at once, and then it is real."""
        end = self._clock.now if self._end is None else self._end
        if self._races:
            self._step(max(end, self._clock.now), at_hand=False)
            self._clock.run(speed=1.0)
        while self._clock.now < end:
            await self._pause()
            await asyncio.sleep(_LONGEST_S)
            self._step(min(end, max(self._clock.now, self._clock.target())), at_hand=False)
