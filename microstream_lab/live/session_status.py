"""How a live session is doing, in one record for people and programs."""

from __future__ import annotations

import msgspec

__all__ = ["SessionStatus"]


class SessionStatus(msgspec.Struct, frozen=True):
    """How a session is doing.

    ``phase`` is new, starting, live, stopped, ended (a replay that is over) or failed, and `error`
    then says why; ``abandoned`` names what a stop did not wait for. ``bars`` closed since the
    start, ``trades`` taken, gaps ``open`` and ``repaired``; the bundle's ``version`` (or id) and
    whether it is provisional.
    """

    phase: str
    market: str
    symbol: str
    interval: str
    bars: int
    trades: int
    gaps_open: int
    gaps_repaired: int
    reconnects: int
    version: str
    provisional: bool
    error: str = ""
    abandoned: tuple[str, ...] = ()
