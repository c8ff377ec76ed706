"""Rare events of a simulated market: when they happen and what they do to it.

Invariant: an event is over when it ends. A flash crash gives back its whole fall, so a day with
events joins the next as if there had been none, and prices outside events know nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["EventKind", "Influence", "MarketEvent", "draw_events", "fall", "influence_of"]

EventKind = Literal["flash_crash", "liquidity_void", "fat_finger"]
KINDS: Final[tuple[EventKind, ...]] = ("flash_crash", "liquidity_void", "fat_finger")

_MINUTE = 60_000_000
_DAY_MINUTES = 1440
_LONGEST = 30
_MINUTES: Final[dict[EventKind, tuple[int, int]]] = {
    "flash_crash": (4, 12),
    "liquidity_void": (10, _LONGEST),
    "fat_finger": (1, 1),
}
_DEPTH = (0.02, 0.06)
_FALLING = 0.3  # share of a crash that goes down; the way back takes longer


@dataclass(frozen=True, slots=True)
class MarketEvent:
    """An event in ``[start, end)``, microseconds UTC.

    ``depth`` is the log price fall at the bottom of a flash crash and the misprint of a fat finger.
    """

    kind: EventKind
    start: int
    end: int
    depth: float


@dataclass(frozen=True, slots=True)
class Influence:
    """Factors on the market, one per cell of time; all 1 (and imbalance 0) without an event."""

    arrivals: NDArray[np.float64]
    spread: NDArray[np.float64]
    impact: NDArray[np.float64]
    size: NDArray[np.float64]
    imbalance: NDArray[np.float64]


def draw_events(rng: np.random.Generator, opening: int, per_day: float) -> list[MarketEvent]:
    """Events of the 24 hours from `opening` (us): whole minutes, none overlapping another."""
    n_events = rng.poisson(per_day)
    starts = np.sort(rng.integers(1, _DAY_MINUTES - _LONGEST, n_events))
    events: list[MarketEvent] = []
    for minute in starts.tolist():
        kind = KINDS[rng.integers(len(KINDS))]
        shortest, longest = _MINUTES[kind]
        start = opening + minute * _MINUTE
        end = start + int(rng.integers(shortest, longest + 1)) * _MINUTE
        event = MarketEvent(kind, start, end, float(rng.uniform(*_DEPTH)))
        if not events or events[-1].end <= start:
            events.append(event)
    return events


def influence_of(events: Sequence[MarketEvent], cells: NDArray[np.int64]) -> Influence:
    """What the events do to the cells of time that begin at `cells` (us)."""
    n_cells = len(cells)
    arrivals, spread, impact, size = np.ones((4, n_cells))
    influence = Influence(arrivals, spread, impact, size, imbalance=np.zeros(n_cells))
    for event in events:
        touched = slice(*np.searchsorted(cells, [event.start, event.end]).tolist())
        if event.kind == "flash_crash":
            bottom = event.start + _FALLING * (event.end - event.start)
            falling = cells[touched] < bottom
            influence.arrivals[touched] = np.where(falling, 8.0, 4.0)
            influence.imbalance[touched] = np.where(falling, -0.5, 0.2)
            influence.spread[touched] = 5.0
            influence.size[touched] = 2.0
        elif event.kind == "liquidity_void":
            influence.arrivals[touched] = 0.15
            influence.spread[touched] = 8.0
            influence.impact[touched] = 4.0
    return influence


def fall(events: Sequence[MarketEvent], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log price offset of the flash crashes at `times` (us): 0 or below, and 0 outside them."""
    offset = np.zeros(len(times))
    for event in events:
        if event.kind == "flash_crash":
            touched = slice(*np.searchsorted(times, [event.start, event.end]).tolist())
            done = (times[touched] - event.start) / (event.end - event.start)
            down, back = (done / _FALLING) ** 1.5, ((1 - done) / (1 - _FALLING)) ** 2
            offset[touched] = -event.depth * np.where(done < _FALLING, down, back)
    return offset
