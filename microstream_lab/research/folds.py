"""Where the folds of a walk-forward begin and end.

Windows are cut in time, not in rows, so that a missing day shortens a window's data and moves no
boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.schema import as_micros, interval_us, series_key

__all__ = ["Fold", "Span", "even_windows", "fold_windows", "span_us"]

Span: TypeAlias = int | str | pd.Timedelta
"""A number of bars, or a duration such as ``"90D"``."""


@dataclass(frozen=True)
class Fold:
    """Boundaries of one fold; each window holds the bars with ``start <= open_time < end``."""

    number: int
    train_start: pd.Timestamp
    train_end: pd.Timestamp
    test_start: pd.Timestamp
    test_end: pd.Timestamp


def fold_windows(
    bars: pd.DataFrame, train: Span, test: Span, embargo: Span = 0, *, expanding: bool = False
) -> list[Fold]:
    """Boundaries of all folds whose test window holds at least one bar.

    Raises
    ------
    DataError
        If there is no such fold.
    SettingsError
        If a length cannot be read, is not positive, or is no multiple of the interval.
    """
    step = interval_us(series_key(bars)[2])
    train_us, test_us = span_us(train, step, "train", 1), span_us(test, step, "test", 1)
    pause_us = span_us(embargo, step, "embargo")
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    first, end = int(times[0]), int(times[-1]) + step
    if first + train_us + pause_us >= end:
        found = f"{len(bars)} bars from {bars.index[0]} to {bars.index[-1]}"
        needed = pd.Timedelta(train_us + pause_us + step, unit="us")
        raise DataError("walk_forward", found, f"at least {needed} for train, embargo and a test")
    folds: list[Fold] = []
    for test_start in range(first + train_us + pause_us, end, test_us):
        train_end = test_start - pause_us
        train_start = first if expanding else train_end - train_us
        test_end = min(test_start + test_us, end)
        if np.searchsorted(times, test_start) < np.searchsorted(times, test_end):
            moments = (train_start, train_end, test_start, test_end)
            folds.append(Fold(len(folds), *map(_stamp, moments)))
    return folds


def span_us(span: Span, step_us: int, name: str, minimum_bars: int = 0) -> int:
    """Microseconds of a number of bars or a duration, checked against the bars' `step_us`."""
    try:
        if isinstance(span, int) and not isinstance(span, bool):
            length = span * step_us
        else:
            length = pd.Timedelta(span) // pd.Timedelta(1, unit="us")
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"{name}: found {span!r}, expected a number of bars or a duration such as '90D'"
        ) from error
    if length < minimum_bars * step_us or length % step_us:
        step = pd.Timedelta(step_us, unit="us")
        raise SettingsError(
            f"{name}: found {span!r}, expected a multiple of {step}, {minimum_bars} or more of it"
        )
    return length


def even_windows(
    bars: pd.DataFrame, start: object = None, n_folds: int = 4, embargo: Span = 0
) -> tuple[int, int]:
    """Lengths, in bars, of a first training window up to `start` and of `n_folds` test windows.

    Parameters
    ----------
    bars : DataFrame
        Bars frame.
    start : time, optional
        Where testing begins; in the middle of the bars unless given.
    n_folds : int
        Test windows that the rest is divided into.
    embargo : int, str or Timedelta
        Pause between training and test, which is taken off the training.

    Raises
    ------
    DataError
        If no training window is left before `start`, or nothing to test after it.
    SettingsError
        If there is to be no fold at all.
    """
    if n_folds < 1:
        raise SettingsError(f"n_folds: found {n_folds}, expected at least 1")
    step = interval_us(series_key(bars)[2])
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    n_steps = int(times[-1] - times[0]) // step + 1
    n_before = n_steps // 2 if start is None else (as_micros(start) - int(times[0])) // step
    train = n_before - span_us(embargo, step, "embargo") // step
    test = -(-(n_steps - n_before) // n_folds)
    if train < 1 or test < 1:
        found = f"bars from {bars.index[0]} to {bars.index[-1]}"
        expected = f"some to train on before {start} and to test on after it"
        raise DataError("walk_forward", found, expected)
    return train, test


def _stamp(micros: int) -> pd.Timestamp:
    return pd.Timestamp(micros, unit="us", tz="UTC")
