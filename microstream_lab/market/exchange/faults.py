"""What may go wrong on purpose: kinds of faults, how often, and when.

Invariant: a fault changes what is sent, never what has happened; the same seed puts the same faults
on the same messages, however they are batched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microstream_lab.errors import SettingsError
from microstream_lab.schema import as_micros

__all__ = ["DIAL_FAULTS", "REST_FAULTS", "STREAM_FAULTS", "Fault", "FaultLine", "Faults"]

STREAM_FAULTS: Final = (
    "drop",
    "duplicate",
    "reorder",
    "delay",
    "malformed",
    "wrong_type",
    "bad_time",
    "id_jump",
    "oversize",
    "cut",
    "stall",
    "shutdown",
    "day_close",
)
"""What may happen at a message of a stream connection."""
REST_FAULTS: Final = ("slow", "lag", "too_many", "ban")
"""What may happen to a REST request."""
DIAL_FAULTS: Final = ("refuse",)
"""What may happen to an attempt to open a stream connection."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at a certain time.

    Parameters
    ----------
    kind : str
        One of STREAM_FAULTS (met once by every connection that is open then, at its next message),
        REST_FAULTS or DIAL_FAULTS (met by every request or dial while it lasts).
    at : time
        Exchange time.
    for_s : float, optional
        How long it lasts in seconds of the exchange; by default as :class:`Faults` says, and for
        REST and dial faults one second.
    """

    kind: str
    at: object
    for_s: float | None = None

    def __post_init__(self) -> None:
        known = (*STREAM_FAULTS, *REST_FAULTS, *DIAL_FAULTS)
        if self.kind not in known:
            raise SettingsError(f"fault: found {self.kind!r}, expected one of {' '.join(known)}")
        as_micros(self.at)

    @property
    def at_us(self) -> int:
        """Exchange time (us)."""
        return as_micros(self.at)

    def covers(self, now: int) -> bool:
        """Whether it lasts at `now` (us)."""
        length_s = 1.0 if self.for_s is None else self.for_s
        return self.at_us <= now < self.at_us + length_s * 1e6


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong, and how badly.

    Parameters
    ----------
    drop, duplicate, reorder, delay : float
        A message is left out; sent twice; sent up to `reach` messages late; or held back, with all
        behind it, for `delay_s`. These and the following are probabilities per message.
    malformed, wrong_type, bad_time : float
        A message is cut short inside its frame; has a value of another type; or an impossible time.
    id_jump : float
        After a message, one of the last `jump` messages with an id is sent again.
    oversize : float
        After a message comes one of `oversize_bytes`.
    cut : float
        The connection ends in the middle of a frame.
    stall : float
        The connection stays open and loses everything for `stall_s`.
    shutdown : float
        ``serverShutdown`` is announced, and the connection closed `shutdown_s` later.
    day_close : float
        The connection is closed as after its 24 hours.
    refuse : float
        Probability per dial that it is cut before an answer.
    slow, lag, too_many, ban : float
        Per REST request: answered `slow_s` late (by the wall clock); answered as of `lag_s` ago;
        refused with 429, or with 418.
    reach, jump, oversize_bytes : int
        See above.
    delay_s, stall_s, shutdown_s, lag_s : float
        Seconds of the exchange's clock.
    slow_s, retry_after_s : float
        Seconds of the wall clock; `retry_after_s` is what a 429 or 418 out of the blue asks for.
    script : sequence of Fault
        Faults at certain times, besides.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    malformed: float = 0.0
    wrong_type: float = 0.0
    bad_time: float = 0.0
    id_jump: float = 0.0
    oversize: float = 0.0
    cut: float = 0.0
    stall: float = 0.0
    shutdown: float = 0.0
    day_close: float = 0.0
    refuse: float = 0.0
    slow: float = 0.0
    lag: float = 0.0
    too_many: float = 0.0
    ban: float = 0.0
    reach: int = 8
    jump: int = 1_000
    oversize_bytes: int = 4 << 20
    delay_s: float = 1.0
    stall_s: float = 60.0
    shutdown_s: float = 10.0
    lag_s: float = 5.0
    slow_s: float = 0.2
    retry_after_s: float = 1.0
    script: Sequence[Fault] = ()

    def __post_init__(self) -> None:
        for kinds in (STREAM_FAULTS, REST_FAULTS, DIAL_FAULTS):
            rates = {kind: getattr(self, kind) for kind in kinds}
            bad = [kind for kind, rate in rates.items() if not 0 <= rate <= 1]
            if bad:
                raise SettingsError(f"{bad[0]}: found {rates[bad[0]]}, expected 0 .. 1")
            if sum(rates.values()) > 1 + 1e-9:
                found = f"{sum(rates.values()):g} in all"
                raise SettingsError(f"faults {' '.join(kinds)}: found {found}, expected at most 1")
        for field in fields(self)[18:-1]:
            if not getattr(self, field.name) >= 0:
                found = f"{field.name}: found {getattr(self, field.name)}"
                raise SettingsError(f"{found}, expected zero or more")

    def of_kinds(self, kinds: Sequence[str]) -> list[Fault]:
        """The scripted faults of these kinds, in order of time."""
        return sorted((f for f in self.script if f.kind in kinds), key=lambda fault: fault.at_us)


class FaultLine:
    """The faults one connection meets, or all requests together.

    Parameters
    ----------
    faults : Faults
        How often.
    kinds : sequence of str
        Which of them can be met here.
    seed : sequence of int
        Of this line's own generators.
    since : int
        Exchange time (us); what is scripted for earlier is not met.
    """

    def __init__(
        self, faults: Faults, kinds: Sequence[str], seed: Sequence[int], since: int
    ) -> None:
        self.faults, self._kinds = faults, kinds
        self._bounds = np.cumsum([getattr(faults, kind) for kind in kinds])
        # Which fault and how it looks are drawn apart, so that batches do not matter.
        self._which = np.random.default_rng([*seed, 0])
        self.rng = np.random.default_rng([*seed, 1])
        self._script = [fault for fault in faults.of_kinds(kinds) if fault.at_us >= since]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing can go wrong any more."""
        return not self._bounds[-1] and not self._script

    def add(self, fault: Fault) -> None:
        """Put another fault into the script."""
        self._script.append(fault)

    def draw(self, times: NDArray[np.int64]) -> list[tuple[int, Fault]]:
        """Which of the next messages, sent at `times` (us), meet what; in order."""
        hits = list(self._drawn(times)) if self._bounds[-1] else []
        while self._script and len(times) and self._script[0].at_us <= times[-1]:
            fault = self._script.pop(0)
            hits.append((int(np.searchsorted(times, fault.at_us)), fault))
        return sorted(hits, key=lambda hit: hit[0])

    def _drawn(self, times: NDArray[np.int64]) -> Iterator[tuple[int, Fault]]:
        chance = self._which.random(len(times))
        for place in np.flatnonzero(chance < self._bounds[-1]).tolist():
            kind = self._kinds[int(np.searchsorted(self._bounds, chance[place], side="right"))]
            yield place, Fault(kind, int(times[place]))

    def draw_one(self, now: int) -> Fault | None:
        """What the next request or dial meets: what lasts by the script, else what is drawn."""
        drawn = next(self._drawn(np.array([now])), None) if self._bounds[-1] else None
        lasting = [fault for fault in self._script if fault.covers(now)]
        if lasting:
            return lasting[0]
        return drawn[1] if drawn else None
