"""What the gate asks, and what it answers: rules, checks and the verdict, in words and as data.

Invariant: plain data; whatever is told here can be written into a ``bundle.json``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

__all__ = ["Answer", "Check", "Decision", "GateRules", "Verdict"]

Decision: TypeAlias = Literal["promote", "hold", "reject"]
Answer: TypeAlias = Literal["pass", "hold", "reject"]


@dataclass(frozen=True)
class GateRules:
    """What is asked of a challenger.

    Attributes
    ----------
    min_coverage : float
        Share of the bars from the first of the training to the last of the window.
    recent_days, max_hole_hours : float
        Longest hole allowed among the newest days.
    min_variance_ratio : float
        See :func:`microstream_lab.research.soundness.variance_ratios`.
    min_occupancy, max_occupancy : float
        Share of the training time that each regime holds.
    min_blocks : int
        Blocks that the window must have, for a difference to have an interval worth the name.
    block_hours : float
        Length of a block; never less than six of the horizons that an outcome looks ahead.
    min_agreement : float
        Share of the window's bars that champion and challenger label alike.
    min_auc : float
        Ranking of the worst 5 % of hours; one half is no ranking at all.
    max_bias : float
        Mean error of the expected log volatility; 0.7 is a factor of two.
    eta_squared, r_squared, stress_error : float
        How much worse than the champion's a figure may be; also the lower end of its interval.
    level, n_resamples, seed
        Of the bootstrap intervals.
    """

    min_coverage: float = 0.97
    recent_days: float = 7.0
    max_hole_hours: float = 6.0
    min_variance_ratio: float = 0.2
    min_occupancy: float = 0.01
    max_occupancy: float = 0.95
    min_blocks: int = 10
    block_hours: float = 6.0
    min_agreement: float = 0.6
    min_auc: float = 0.55
    max_bias: float = 0.7
    eta_squared: float = 0.05
    r_squared: float = 0.05
    stress_error: float = 0.03
    level: float = 0.9
    n_resamples: int = 500
    seed: int = 0


@dataclass(frozen=True)
class Check:
    """One thing asked, what came of it, and the words for it."""

    name: str
    answer: Answer
    text: str


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the gate decides.

    Attributes
    ----------
    decision : {"promote", "hold", "reject"}
        A challenger that is held is kept, and may be promoted by hand; a rejected one is unfit.
    champion : str
        The version it was judged against, empty if there was none.
    checks : tuple of Check
    figures : DataFrame
        See :func:`microstream_lab.research.duel.duel`.
    start, end : Timestamp
        The window: its first and last bar.
    rules : GateRules
    """

    decision: Decision
    champion: str
    checks: tuple[Check, ...]
    figures: pd.DataFrame
    start: pd.Timestamp
    end: pd.Timestamp
    rules: GateRules

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why: what did not pass, or that everything did."""
        failed = [check.text for check in self.checks if check.answer != "pass"]
        beside = f"beside {self.champion}" if self.champion else "the first of its series"
        if self.decision == "promote":
            return (f"fit to be used, {beside}", *(f"told, not held: {text}" for text in failed))
        return tuple(failed)

    def summary(self) -> str:
        """Decision and reasons, a line each."""
        return "\n".join([f"{self.decision}:", *(f"- {reason}" for reason in self.reasons)])

    def table(self) -> pd.DataFrame:
        """Every check in words."""
        rows = [(check.name, check.answer, check.text) for check in self.checks]
        return pd.DataFrame(rows, columns=["check", "answer", "why"]).set_index("check")

    def describe(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        figures = {
            str(name): {key: None if np.isnan(x) else round(x, 6) for key, x in row.items()}
            for name, row in self.figures.to_dict("index").items()
        }
        return {
            "decision": self.decision,
            "champion": self.champion or None,
            "reasons": list(self.reasons),
            "window": {
                "start": self.start.isoformat(),
                "end": self.end.isoformat(),
                **self.figures.attrs,
            },
            "checks": [asdict(check) for check in self.checks],
            "figures": figures,
            "rules": asdict(self.rules),
        }
