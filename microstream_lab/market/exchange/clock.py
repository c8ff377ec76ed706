"""The exchange's own clock: market time, at the speed it is played.

Invariant: it never goes back. It stands still while the market is stopped, and limits recover
meanwhile by the wall clock.
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
        Where it begins (us); it is stopped.
    speed : float
        Seconds of the exchange per second of the wall clock, perhaps infinite.
    wall : callable
        Seconds, ascending.
    """

    def __init__(self, now: int, speed: float, wall: Callable[[], float]) -> None:
        self.now, self.speed, self._wall = now, speed, wall
        self._idle_us = 0
        self._stopped_at: float | None = wall()
        self._since = (wall(), now)

    @property
    def wall_us(self) -> int:
        """The wall clock (us)."""
        return int(self._wall() * _SECOND_US)

    @property
    def limits_us(self) -> int:
        """The clock that limits are counted by: market time, and wall time while it stood still."""
        idle_s = 0.0 if self._stopped_at is None else self._wall() - self._stopped_at
        return self.now + self._idle_us + int(idle_s * _SECOND_US)

    @property
    def is_standing(self) -> bool:
        """Whether it is stopped."""
        return self._stopped_at is not None

    def target(self) -> int:
        """Where the clock ought to be at this moment, at a finite speed."""
        since, start = self._since
        return start + int((self._wall() - since) * self.speed * _SECOND_US)

    def advance(self, now: int) -> None:
        """Be at `now` (us), unless that is in the past."""
        self.now = max(self.now, now)

    def stop(self) -> None:
        """Stand still."""
        if self._stopped_at is None:
            self._stopped_at = self._wall()

    def run(self, speed: float | None = None) -> None:
        """Go on from where it stands, perhaps at another speed."""
        if self._stopped_at is not None:
            self._idle_us += int((self._wall() - self._stopped_at) * _SECOND_US)
            self._stopped_at = None
        self.speed = self.speed if speed is None else speed
        self._since = (self._wall(), self.now)

    def wall_seconds(self, microseconds: int) -> float:
        """About how long `microseconds` on the clock of limits take by the wall clock.

        How long they take while the market races nobody knows: not long.
        """
        if self._stopped_at is None and math.isinf(self.speed):
            return min(1.0, microseconds / _SECOND_US)
        speed = 1.0 if self._stopped_at is not None else self.speed
        return microseconds / _SECOND_US / speed
