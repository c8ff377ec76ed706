"""What a live session tells whoever watches it: small records, each with its time.

Invariant: plain data. Whoever has seen all of them in order knows what the session knows, without
asking it.
"""

from __future__ import annotations

from math import nan
from typing import Literal

import msgspec

from microstream_lab.market.feed.records import Stale
from microstream_lab.schema import Bar, Gap, Signal

__all__ = [
    "Drift",
    "Heard",
    "Link",
    "Model",
    "Note",
    "NoteKind",
    "Scored",
    "Stale",
    "Ticks",
    "Tiding",
]

NoteKind = Literal["note", "banner", "error"]


class Ticks(msgspec.Struct, frozen=True, gc=False):
    """Trades that came together: how many, the last one's price and time, and the forming bar.

    ``sent_at`` (us) is when the last one happened and ``received_at`` when it came, both by the
    clock of this machine; where a market has a clock of its own the two are the same. `spread` is
    the last known one between best bid and ask, in the price's unit, NaN where it is not known.
    """

    n: int
    price: float
    trade_time: int
    sent_at: int
    received_at: int
    forming: Bar | None = None
    spread: float = nan


class Scored(msgspec.Struct, frozen=True):
    """A bar that has closed or was made anew, with its signal where a bundle has seen it."""

    bar: Bar
    signal: Signal | None = None


class Model(msgspec.Struct, frozen=True):
    """From the bar after `since` (us) on, signals come from this bundle.

    `version` is the registry's, empty where the bundle is in no registry; `threshold` is the
    anomaly score from which a bar is flagged; a `provisional` bundle was trained on the spot.
    """

    bundle_id: str
    version: str
    n_regimes: int
    features: tuple[str, ...]
    threshold: float
    since: int = 0
    provisional: bool = False


class Heard(msgspec.Struct, frozen=True, gc=False):
    """What was silent is heard again, at `at` (us); trades say so by themselves."""

    at: int


class Link(msgspec.Struct, frozen=True, gc=False):
    """How often the connection was lost and dialled as of `at` (us), and whether it is cut now."""

    losses: int
    dials: int
    at: int
    is_cut: bool = False


class Note(msgspec.Struct, frozen=True, gc=False):
    """Something to be read by people; a `banner` stays on the screen until the next one."""

    at: int
    text: str
    kind: NoteKind = "note"


class Drift(msgspec.Struct, frozen=True):
    """How far the latest bars are from the training of the bundle, as of `at` (us).

    `psi` is the largest of any feature; `n_bars` of `window` are counted. `alarms` names what is
    beyond its limit and `text` says it in words.
    """

    at: int
    psi: float
    n_bars: int
    window: int
    alarms: tuple[str, ...]
    text: str


Tiding = Ticks | Scored | Model | Link | Note | Stale | Heard | Gap | Drift
