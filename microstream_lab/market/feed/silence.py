"""When silence is news: a watchdog scaled to how often something is usually heard.

Invariant: a pure function of the times it is told; it reads no clock.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Silence"]

_S: Final = 1_000_000


class Silence:
    """Tells when a source has been silent for longer than its own rate explains.

    Parameters
    ----------
    patience : float
        How many mean intervals of silence are too many. Trades come in bursts, so this is far more
        than the twenty that would do for arrivals independent of each other.
    floor_us, ceiling_us : int
        No silence shorter than the one and every silence longer than the other is too long.
    unknown_us : int
        The limit as long as nothing at all was heard.
    memory_us : int
        How long the rate remembers.

    Notes
    -----
    After each alarm the limit doubles until something is heard again: a market that is really
    halted costs ever fewer reconnections.
    """

    __slots__ = (
        "_alarms",
        "_ceiling",
        "_floor",
        "_looked_at",
        "_memory",
        "_patience",
        "_rate",
        "_since",
        "_started_at",
        "_unknown",
    )

    def __init__(
        self,
        patience: float = 50.0,
        floor_us: int = 10 * _S,
        ceiling_us: int = 600 * _S,
        unknown_us: int = 60 * _S,
        memory_us: int = 600 * _S,
    ) -> None:
        self._patience, self._floor, self._ceiling = patience, floor_us, ceiling_us
        self._unknown, self._memory = unknown_us, memory_us
        self._rate = 0.0  # per microsecond
        self._started_at: int | None = None
        self._looked_at = self._since = 0
        self._alarms = 0

    @property
    def limit_us(self) -> int:
        """How long a silence may last now, in microseconds."""
        limit = self._unknown
        if self._rate > 0:
            usual = min(self._patience / self._rate, self._ceiling)
            limit = max(int(usual), self._floor)
        return limit << min(self._alarms, 20)

    def look(self, now: int, heard: int) -> int | None:
        """Take note of what was heard since the last look.

        Parameters
        ----------
        now : int
            Time (us) of this look.
        heard : int
            How often something was heard since the last look.

        Returns
        -------
        int or None
            The beginning (us) of a silence that has just become too long, else None.
        """
        if self._started_at is None:
            self._started_at = self._looked_at = self._since = now
        if heard:
            self._learn(now, heard)
            self._since, self._alarms = now, 0
            return None
        if now - self._since <= self.limit_us:
            return None
        self._alarms += 1
        return self._since

    def _learn(self, now: int, heard: int) -> None:
        elapsed = now - self._looked_at
        if elapsed <= 0 or self._started_at is None:
            return
        # A plain mean while young, then one that forgets.
        young = elapsed / (now - self._started_at)
        weight = max(young, 1 - math.exp(-elapsed / self._memory))
        self._rate += weight * (heard / elapsed - self._rate)
        self._looked_at = now
