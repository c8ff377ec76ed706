"""Two bundles of a series side by side: settings, training range, figures, and labels.

Invariant: pure; both label the same bars, and what is equal in both is left out of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from microstream_lab.bundle import ModelBundle
from microstream_lab.models.matching import RegimeMatch, match_regimes

__all__ = ["LabelAgreement", "compare_labels", "differences"]

_PARTS: Final = ("feature_set", "features", "window", "options", "training", "versions")


@dataclass(frozen=True)
class LabelAgreement:
    """How far two bundles label the same bars alike; `match` is None if K differs."""

    n_bars: int
    agreement: float
    match: RegimeMatch | None
    start: pd.Timestamp
    end: pd.Timestamp


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> pd.DataFrame:
    """What two ``bundle.json`` say differently of settings, training and the gate's figures.

    Returns
    -------
    DataFrame
        By dotted name, columns ``first`` and ``second``, None where one does not say.
    """
    rows = {}
    told, other = dict(_facts(first)), dict(_facts(second))
    for name in dict.fromkeys((*told, *other)):
        pair = told.get(name), other.get(name)
        if pair[0] != pair[1]:
            rows[name] = pair
    return pd.DataFrame.from_dict(rows, orient="index", columns=["first", "second"], dtype=object)


def compare_labels(first: ModelBundle, second: ModelBundle, bars: pd.DataFrame) -> LabelAgreement:
    """Label the bars with both.

    Raises
    ------
    DataError
        If no bar is labelled by both.
    """
    told, other = first.signals(bars), second.signals(bars)
    both = (told["regime"] >= 0) & (other["regime"] >= 0)
    match = None
    if first.n_regimes == second.n_regimes:
        columns = [f"p_{k}" for k in range(first.n_regimes)]
        match = match_regimes(told[columns], other[columns])
    agreement = float((told["regime"] == other["regime"])[both].mean())
    return LabelAgreement(int(both.sum()), agreement, match, bars.index[0], bars.index[-1])


def _facts(card: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for part in _PARTS:
        yield from _flat(part, card.get(part))
    regimes = card.get("regimes", {})
    for name in ("kind", "occupancy", "expected_durations", "stress_by_regime", "converged"):
        yield from _flat(f"regimes.{name}", regimes.get(name))
    gate = card.get("gate", {})
    for name in ("decision", "champion"):
        yield from _flat(f"gate.{name}", gate.get(name))
    for name, row in gate.get("figures", {}).items():
        yield f"gate.{name}", row.get("challenger")


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    elif isinstance(value, list):
        yield name, " ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in value)
    else:
        yield name, f"{value:.6g}" if isinstance(value, float) else value
