"""How a live session is doing, in one record for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from microstream_lab.live.bulletin import Bulletin
    from microstream_lab.live.course import Course
    from microstream_lab.live.state import Picture

__all__ = ["SessionStatus", "told_of"]


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


def told_of(course: Course, bulletin: Bulletin, picture: Picture) -> SessionStatus:
    """How a session with this course and bulletin is doing, by the picture of the moment."""
    model, health = picture.model, picture.health
    return SessionStatus(
        bulletin.phase,
        *course.series,
        bars=course.n_bars,
        trades=course.n_trades,
        gaps_open=health.gaps_open,
        gaps_repaired=health.gaps_repaired,
        reconnects=health.reconnects,
        version=(model.version or model.bundle_id) if model else "",
        provisional=bool(model and model.provisional),
        error=str(bulletin.failure or ""),
        abandoned=bulletin.abandoned,
    )
