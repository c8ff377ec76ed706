"""What a live session was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from microstream_lab.live.drift_desk import OnDrift
from microstream_lab.live.sources import SourceName

if TYPE_CHECKING:
    from microstream_lab.bundle import ModelBundle

__all__ = ["CourseOptions"]


@dataclass(frozen=True, slots=True)
class CourseOptions:
    """See :class:`~microstream_lab.live.session.LiveSession` for what each means."""

    symbol: str
    interval: str
    source: SourceName
    bundle: ModelBundle | str | None
    market: str
    window: int
    speed: float
    start: object
    end: object
    seed: int
    stores: bool = True
    on_drift: OnDrift | None = None

    @property
    def series(self) -> tuple[str, str, str]:
        """Market, symbol and interval as they were asked for."""
        return self.market, self.symbol, self.interval
