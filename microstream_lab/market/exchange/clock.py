"""The exchange's own clock: market time, at the speed it is played.

Invariant: it never goes back. While nothing is played it stands still, or goes on with the wall
clock once the market is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from microstream_lab.errors import SettingsError

__all__ = ["Clock", "as_speed"]

_SECOND_US: Final = 1_000_000


def as_speed(speed: float | None) -> float:
    """A speed as a factor of real time; None is as fast as the clients take it."""
    factor = math.inf if speed is None else float(speed)
    if not factor > 0:
        raise SettingsError(f"speed: found {speed!r}, expected a factor above zero, or None")
    return factor


class Clock:
    """Exchange time.

    Parameters
    ----------
    now : int
        Where it begins (us).
    speed : float
        Seconds of the exchange per second of the wall clock, perhaps infinite.
    wall : callable
        Seconds, ascending.
    """

    def __init__(self, now: int, speed: float, wall: Callable[[], float]) -> None:
        self.now, self.speed, self._wall = now, speed, wall
        self._idle_us = 0
        self._from = (wall(), now)

    @property
    def wall_us(self) -> int:
        """The wall clock (us)."""
        return int(self._wall() * _SECOND_US)

    @property
    def limits_us(self) -> int:
        """The clock that limits are counted by: market time, and wall time while it stood still."""
        return self.now + self._idle_us

    def target(self) -> int:
        """Where the clock ought to be at this moment, at a finite speed."""
        since, start = self._from
        return start + int((self._wall() - since) * self.pace * _SECOND_US)

    @property
    def pace(self) -> float:
        """Speed at which time passes while there is nothing to play: never infinite."""
        return self.speed if math.isfinite(self.speed) else 1.0

    def advance(self, now: int) -> None:
        """Be at `now` (us), unless that is in the past."""
        self.now = max(self.now, now)

    def resume(self) -> None:
        """Count from here and now, after the clock stood still."""
        self._from = (self._wall(), self.now)

    def stood_still(self, seconds: float) -> None:
        """Let limits recover over `seconds` of the wall clock in which nothing was played."""
        self._idle_us += int(seconds * _SECOND_US)

    def wall_seconds(self, microseconds: float) -> float:
        """How long `microseconds` of the exchange take by the wall clock."""
        return microseconds / _SECOND_US / self.speed
