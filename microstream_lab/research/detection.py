"""How well and how soon known anomalies are told from all else.

Invariant: events are drawn anew for the intervals, ordinary bars are not; scores that tie are one
threshold, so that a detector gains nothing by not deciding.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from microstream_lab.research.bootstrap import percentiles

__all__ = ["AFTERMATH", "Alarms", "Precision", "alarms_at", "average_precision", "judged_bars"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

AFTERMATH: Final = 10
"""Bars after an event that count neither way: what follows an anomaly is not ordinary."""


class Precision(NamedTuple):
    """Area under the curve of precision over recall, with a 90 % interval."""

    value: float
    low: float
    high: float


class Alarms(NamedTuple):
    """Share of the events with an alarm, and the bars it came after their first, on average."""

    detected: float
    delay: float


def judged_bars(events: Ints) -> npt.NDArray[np.bool_]:
    """Bars of events and ordinary ones; those of the aftermath are left out."""
    inside = events >= 0
    after = np.zeros(len(events), bool)
    for lag in range(1, AFTERMATH + 1):
        after[lag:] |= inside[:-lag]
    return inside | ~after


def average_precision(scores: Floats, events: Ints, n: int = 500, seed: int = 0) -> Precision:
    """Average precision over bars.

    Parameters
    ----------
    scores : ndarray of shape (n_bars,)
        High means anomalous; not NaN.
    events : ndarray of shape (n_bars,)
        Number of the event each bar belongs to, -1 outside.
    n, seed : int
        Resamples of the events.
    """
    inside = events >= 0
    found, ordinary = scores[inside], np.sort(scores[~inside])
    order = np.argsort(-found, kind="stable")
    found, number = found[order], events[inside][order]
    n_events = int(number.max()) + 1
    false = len(ordinary) - np.searchsorted(ordinary, found, side="left")
    last = np.searchsorted(-found, -found, side="right") - 1  # of those that tie
    draws = np.random.default_rng(seed).multinomial(n_events, np.full(n_events, 1 / n_events), n)
    weights = np.vstack([np.ones(n_events, np.int64), draws])[:, number].astype(np.float64)
    true = np.cumsum(weights, axis=1)[:, last]
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=true > 0)
    values = (weights * precision).sum(axis=1) / weights.sum(axis=1)
    between = percentiles(values[1:, None], 0.9, n_events)
    return Precision(float(values[0]), float(between.low[0]), float(between.high[0]))


def alarms_at(scores: Floats, events: Ints, n_false: int) -> Alarms:
    """What is noticed at the threshold that `n_false` of the ordinary bars exceed, or fewer."""
    inside = events >= 0
    ordinary = np.sort(scores[~inside])[::-1]
    threshold = ordinary[n_false] if n_false < len(ordinary) else -np.inf
    first, number = np.flatnonzero(inside), events[inside]
    starts = first[np.searchsorted(number, np.arange(number.max() + 1))]
    raised = first[scores[first] > threshold]
    noticed, where = np.unique(events[raised], return_index=True)
    delays = raised[where] - starts[noticed]
    return Alarms(len(noticed) / len(starts), float(delays.mean()) if len(delays) else np.nan)
