"""When a picture is worth calling somebody: rules, and which of them have just come true.

Invariant: pure. A rule speaks once when it becomes true and again only after it was false.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from microstream_lab import theme
from microstream_lab.live.state import Picture

__all__ = ["Alert", "AlertBook", "AlertRule", "AnomalyStreak", "FeedStale", "RegimeEntered"]


@dataclass(frozen=True, slots=True)
class Alert:
    """What is to be told, numbered from 1 in the order it came."""

    number: int
    text: str
    color: str


class AlertRule(Protocol):
    """Looks at a picture and says in words what is wrong, or nothing."""

    def __call__(self, picture: Picture) -> str:
        """What to say; empty if all is well."""


@dataclass(frozen=True, slots=True)
class RegimeEntered:
    """The market is in a regime; -1 counts from the worst."""

    regime: int = -1

    def __call__(self, picture: Picture) -> str:
        """Name of the regime while it lasts."""
        if picture.model is None or picture.regime < 0:
            return ""
        n_regimes = picture.model.n_regimes
        if picture.regime != self.regime % n_regimes:
            return ""
        return f"regime: {theme.regime_styles(n_regimes)[picture.regime][0]}"


@dataclass(frozen=True, slots=True)
class AnomalyStreak:
    """The last `n` bars were all flagged."""

    n: int = 3

    def __call__(self, picture: Picture) -> str:
        """How many bars in a row."""
        flagged = picture.columns["is_anomaly"][-self.n :]
        is_streak = len(flagged) == self.n and bool((flagged == 1).all())
        return f"{self.n} anomalous bars in a row" if is_streak else ""


@dataclass(frozen=True, slots=True)
class FeedStale:
    """No trades come any more."""

    def __call__(self, picture: Picture) -> str:
        """That the feed is stale."""
        return "the feed is stale" if picture.health.stale_since is not None else ""


class AlertBook:
    """Which rules are true, and which have just become so.

    Parameters
    ----------
    rules : iterable of AlertRule
        What to look for.
    """

    def __init__(self, rules: Iterable[AlertRule]) -> None:
        self._rules = tuple(rules)
        self._said = [""] * len(self._rules)
        self._number = 0
        self._is_first = True

    def update(self, picture: Picture) -> list[Alert]:
        """The alerts that are new with `picture`; the first one only shows how things stand."""
        alerts = []
        for place, rule in enumerate(self._rules):
            text = rule(picture)
            if text and text != self._said[place] and not self._is_first:
                self._number += 1
                alerts.append(Alert(self._number, text, theme.ANOMALY))
            self._said[place] = text
        self._is_first = self._is_first and picture.model is None
        return alerts
