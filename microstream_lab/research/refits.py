"""Signals of many trainers over the same bars: fitted once before them, or refitted on the way.

Invariant: no signal comes from a fit that saw its bar.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from microstream_lab.research.folds import Span
from microstream_lab.research.lineup import Estimator, Trainer, fit_all
from microstream_lab.research.walkforward import WalkForward, walk_forward
from microstream_lab.schema import as_micros, interval_us, series_key

__all__ = ["contenders", "expanding_walk"]


def contenders(
    trainers: Mapping[str, Trainer],
    bars: pd.DataFrame,
    start: object,
    refit: Span | None = None,
) -> tuple[dict[str, Estimator | pd.DataFrame], dict[str, str]]:
    """What each trainer has to say on the bars from `start` on, and why some say nothing.

    Parameters
    ----------
    trainers : mapping
        By name.
    bars : DataFrame
        Bars frame; those before `start` train.
    start : time
        First bar to be judged.
    refit : int, str or Timedelta, optional
        Refit on all bars so far as often as this; once, on those before `start`, unless given.

    Returns
    -------
    estimates : dict
        Fitted estimators or, where refitted, signals, ready for ``evaluate``.
    skipped : dict
        Trainers whose library is missing, and which.
    """
    first = pd.Timestamp(as_micros(start), unit="us", tz="UTC")
    if refit is None:
        fitted, skipped = fit_all(trainers, bars.iloc[: bars.index.searchsorted(first)])
        return dict(fitted), skipped
    signals: dict[str, Estimator | pd.DataFrame] = {}
    skipped = {}
    for name, trainer in trainers.items():
        try:
            signals[name] = expanding_walk(trainer, bars, start, refit).signals
        except ImportError as error:
            skipped[name] = f"{error.name or error} is not installed: pip install .[peers]"
    return signals, skipped


def expanding_walk(trainer: Trainer, bars: pd.DataFrame, start: object, refit: Span) -> WalkForward:
    """Walk forward from `start` on, each fit on all bars before its test window."""
    first = pd.Timestamp(as_micros(start), unit="us", tz="UTC")
    step = pd.Timedelta(interval_us(series_key(bars)[2]), unit="us")
    window = int((first - bars.index[0]) // step)
    return walk_forward(bars, window, refit, expanding=True, trainer=trainer)
