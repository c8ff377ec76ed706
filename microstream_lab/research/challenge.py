"""A challenger on its way through the gate: judged, saved with the verdict, promoted if it may be.

Invariant: what is promoted was judged against the version that it takes the place of; two trainings
of one series are judged one after the other, and one that is killed leaves the pointer as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import pandas as pd

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import BundleError, ParameterError, PromotionError
from microstream_lab.registry import Registry
from microstream_lab.research.gate import judge
from microstream_lab.research.metrics import Metric
from microstream_lab.research.verdict import Decision, GateRules, Verdict

__all__ = ["PROMOTE", "Challenge", "Promote", "challenge", "require_promote"]

Promote: TypeAlias = Literal["auto", "always", "never"]
PROMOTE: Final[tuple[str, ...]] = get_args(Promote)


@dataclass(frozen=True, eq=False)
class Challenge:
    """What became of a challenger.

    Attributes
    ----------
    version : str
        Its version; it is kept whatever was decided.
    promoted : bool
        Whether it is the current one now.
    verdict : Verdict
    notes : tuple of str
        What is to be said beside the verdict.
    """

    version: str
    promoted: bool
    verdict: Verdict
    notes: tuple[str, ...] = ()

    @property
    def decision(self) -> Decision:
        """The gate's."""
        return self.verdict.decision

    def summary(self) -> str:
        """What happened and why, a line each."""
        what = "is current now" if self.promoted else "is kept, not promoted"
        head = f"{self.version} {what}; the gate says {self.decision}:"
        return "\n".join([head, *(f"- {line}" for line in (*self.notes, *self.verdict.reasons))])

    def metrics(self) -> dict[str, Metric]:
        """For the run table."""
        return {
            "version": self.version,
            "decision": self.decision,
            "promoted": self.promoted,
            "champion": self.verdict.champion or None,
            "reasons": "; ".join((*self.notes, *self.verdict.reasons)),
        }


def require_promote(promote: str) -> None:
    """Refuse what is no way to promote, with :class:`ParameterError`."""
    if promote not in PROMOTE:
        raise ParameterError(f"promote: found {promote!r}, expected one of {' '.join(PROMOTE)}")


def challenge(
    bundle: ModelBundle,
    bars: pd.DataFrame,
    window_start: object,
    registry: Registry,
    promote: str = "auto",
    rules: GateRules | None = None,
    end: object | None = None,
) -> Challenge:
    """Judge a bundle beside the current one, save it, and promote it if it may be.

    Parameters
    ----------
    bundle, bars, window_start, rules, end
        See :func:`microstream_lab.research.gate.judge`.
    registry : Registry
        Where the champion is, and the challenger goes.
    promote : {"auto", "always", "never"}
        ``auto`` promotes what the gate lets pass. ``always`` promotes whatever it says and
        ``never`` nothing; the verdict is written down all the same.

    Raises
    ------
    ParameterError
        At another value of `promote`.
    """
    require_promote(promote)
    key = (bundle.symbol, bundle.interval, bundle.market)
    with registry.deciding(*key):
        current, champion, notes = _champion(registry, *key)
        verdict = judge(bundle, champion, bars, window_start, rules, current or "", end)
        told = {**verdict.describe(), "notes": notes, "promote": promote}
        version = registry.save(bundle, told)
        wanted = promote == "always" or (promote == "auto" and verdict.decision == "promote")
        promoted = False
        if wanted:
            try:
                series = (bundle.symbol, bundle.interval, version, bundle.market)
                registry.promote(*series, instead_of=current)
                promoted = True
            except PromotionError as error:  # by hand, while this one was judged
                notes.append(str(error))
    if promote == "always" and verdict.decision != "promote":
        notes.append("promoted because it was asked for, not because the gate let it pass")
    return Challenge(version, promoted, verdict, tuple(notes))


def _champion(
    registry: Registry, symbol: str, interval: str, market: str
) -> tuple[str | None, ModelBundle | None, list[str]]:
    """The current version, its bundle, and a word if that cannot be used."""
    current = registry.current(symbol, interval, market)
    if current is None:
        return None, None, []
    try:
        return current, registry.load(symbol, interval, current, market), []
    except BundleError as error:
        return current, None, [f"the current version cannot be used: {error}"]
