"""How much a client may ask: request weight, control messages, dials.

Invariant: counted on the exchange's clock, by its minutes, as Binance counts.

References
----------
Binance, REST general information, "LIMITS"; Web Socket Streams, "WebSocket Limits".
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["BanPolicy", "MessageRate", "Verdict"]

_MINUTE_US: Final = 60_000_000
_SECOND_US: Final = 1_000_000
_FIRST_BAN_US: Final = 120 * _SECOND_US
_LONGEST_BAN_US: Final = 3 * 86_400 * _SECOND_US

Verdict = tuple[int, int]
"""HTTP status, and how long (us) to stay away."""


class BanPolicy:
    """Request weight per minute: 429 beyond it, and 418 for those who do not listen.

    Parameters
    ----------
    limit : int
        Weight per minute.
    patience : int
        Requests answered with 429 in one minute before the address is banned.
    """

    def __init__(self, limit: int = 6_000, patience: int = 10) -> None:
        self.limit, self._patience = limit, patience
        self.used = 0
        self._minute = self._n_refused = 0
        self._banned_until, self._ban_us = 0, _FIRST_BAN_US

    def spend(self, weight: int, now: int) -> Verdict:
        """Count a request at `now` (us) and say what comes of it."""
        if now < self._banned_until:
            return 418, self._banned_until - now
        if now // _MINUTE_US != self._minute:
            self._minute, self.used, self._n_refused = now // _MINUTE_US, 0, 0
        self.used += weight
        if self.used <= self.limit:
            return 200, 0
        self._n_refused += 1
        if self._n_refused <= self._patience:
            return 429, (self._minute + 1) * _MINUTE_US - now
        self._banned_until = now + self._ban_us
        self._ban_us = min(2 * self._ban_us, _LONGEST_BAN_US)
        return 418, self._banned_until - now


class MessageRate:
    """So many events in a window of time, which has passed if either of two clocks says so.

    The exchange's clock may stand still or race, and neither is the client's fault.
    """

    def __init__(self, limit: int, window_us: int = _SECOND_US) -> None:
        self._window_us = window_us
        self._latest: deque[tuple[int, int]] = deque(maxlen=limit)

    def allows(self, now: int, wall_us: int) -> bool:
        """Count one event; False if it is one too many."""
        full = len(self._latest) == self._latest.maxlen
        then, wall_then = self._latest[0] if full else (0, 0)
        self._latest.append((now, wall_us))
        return not full or max(now - then, wall_us - wall_then) >= self._window_us
