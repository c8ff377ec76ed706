"""Injected anomalies, who notices them, and how soon.

Invariant: a detector is trained on bars before `start`, which hold no injection, and everybody
scores the very same injected bars from then on. Same seed, same table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import numpy as np
import pandas as pd

from microstream_lab.research.anomaly_rivals import Scorer, Trainer, contestants
from microstream_lab.research.detection import alarms_at, average_precision, judged_bars
from microstream_lab.research.injections import KINDS, STRENGTHS, Injected, inject
from microstream_lab.schema import as_micros, interval_us, series_key

__all__ = ["FALSE_ALARMS", "anomaly_parts", "anomaly_table", "detection_row", "standings"]

FALSE_ALARMS: Final = (1, 5)
"""A day, at which alarms are judged."""
_LEAD: Final = 3000  # bars before the start that scores may remember
_DAY: Final = 86_400_000_000


def anomaly_table(
    bars: pd.DataFrame,
    start: object,
    trainers: Mapping[str, Trainer] | None = None,
    *,
    n_events: int = 100,
    strengths: Iterable[str] = STRENGTHS,
    seed: int = 0,
) -> pd.DataFrame:
    """How well each detector tells injected anomalies from the bars of a market.

    Parameters
    ----------
    bars : DataFrame
        A bars frame, one series.
    start : timestamp or str
        Training is on the bars before, injections are in those from it on.
    trainers : mapping, optional
        Trainers by name; the default detector and its rivals unless given.
    n_events : int
        Events of each kind and strength.
    strengths : iterable of str
        Any of :data:`~microstream_lab.research.injections.STRENGTHS`.
    seed : int
        Of injections, detectors and intervals.

    Returns
    -------
    DataFrame
        A row for each ``kind``, ``strength`` and ``detector``: ``precision`` (average, over bars)
        with ``low`` and ``high`` (90 %, over events), and at one and five false alarms a day the
        share of events ``detected`` and the mean ``delay`` in bars of those that were.
    """
    parts = anomaly_parts(bars, start, trainers, n_events=n_events, strengths=strengths, seed=seed)
    return pd.concat([part() for part in parts], ignore_index=True)


def anomaly_parts(
    bars: pd.DataFrame,
    start: object,
    trainers: Mapping[str, Trainer] | None = None,
    *,
    n_events: int = 100,
    strengths: Iterable[str] = STRENGTHS,
    seed: int = 0,
) -> list[partial[pd.DataFrame]]:
    """The rows of each detector as a function without parameters, to run side by side."""
    known = contestants(seed) if trainers is None else trainers
    task = (bars, start, n_events, tuple(strengths), seed)
    return [partial(_of_one, name, trainer, *task) for name, trainer in known.items()]


def _of_one(
    name: str,
    trainer: Trainer,
    bars: pd.DataFrame,
    start: object,
    n_events: int,
    strengths: tuple[str, ...],
    seed: int,
) -> pd.DataFrame:
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    begins = int(np.searchsorted(times, as_micros(start)))
    scorer = trainer(bars.iloc[:begins])
    lead, later = bars.iloc[max(0, begins - _LEAD) : begins], bars.iloc[begins:]
    rows = []
    for kind in KINDS:
        for strength in strengths:
            injected = inject(later, kind, strength, n_events, seed)
            place = {"kind": kind, "strength": strength, "detector": name}
            rows.append(place | detection_row(scorer, lead, injected, seed))
    return pd.DataFrame(rows)


def detection_row(
    scorer: Scorer, lead: pd.DataFrame, injected: Injected, seed: int = 0
) -> dict[str, float]:
    """Figures of one detector for one injected series; `lead` are the bars before it."""
    whole = pd.concat([lead, injected.bars])
    judged = judged_bars(injected.events)
    scores = scorer.scores(whole)[len(lead) :][judged]
    scores, events = np.nan_to_num(scores, nan=-np.inf), injected.events[judged]
    row: dict[str, float] = average_precision(scores, events, seed=seed)._asdict()
    row = {"precision": row.pop("value"), **row}
    days = len(injected.bars) * interval_us(series_key(injected.bars)[2]) / _DAY
    for a_day in FALSE_ALARMS:
        alarms = alarms_at(scores, events, int(a_day * days))
        row |= {f"detected, {a_day} a day": alarms.detected, f"delay, {a_day} a day": alarms.delay}
    return row | {"events": float(injected.n_events)}


def standings(table: pd.DataFrame) -> pd.DataFrame:
    """Average precision as read: a row for each kind and strength, a column for each detector."""
    wide = table.set_index(["kind", "strength", "detector"])["precision"].unstack("detector")  # noqa: PD010
    order = [name for name in table["detector"].unique() if name in wide]
    places = table[["kind", "strength"]].drop_duplicates().itertuples(index=False, name=None)
    return wide.loc[list(places), order]
