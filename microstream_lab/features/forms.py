"""What a feature does at each bar, said in figures that one compiled loop reads.

A form is a kind of recurrence over measures of the bar. The plain ``update`` of a feature stays
what it is defined by, and its form is another way to the same number.

Invariant: a form does the float operations of ``update`` in the same order, so both agree in every
bit.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from microstream_lab.features.memory import Decay, SlidingSum

__all__ = ["FORM", "Form", "Kind", "Measure", "mean", "ratio", "share", "span", "surprise", "value"]


class Measure(IntEnum):
    """What is measured of every bar, by its place among all measures."""

    HIGH = 0
    LOW = 1
    VOLUME = 2
    QUOTE_VOLUME = 3
    TRADES = 4
    TIME_OF_WEEK = 5
    LOG_CHANGE = 6  # ln(C_t/C_{t-1}), NaN where no bar came just before
    RANGE = 7  # (H - L) / O
    LOG_RANGE = 8  # ln(H/L)
    IMPACT = 9  # |ln(C_t/C_{t-1})| per million of quote volume
    RANGE_PER_ROOT = 10  # ln(H/L) / sqrt(N), as the two below
    BODY_PER_ROOT = 11  # ln(C/O)
    WICK_PER_ROOT = 12  # ln(H/L) - |ln(C/O)|


class Kind(IntEnum):
    """The recurrences there are."""

    PLAIN = 0  # none: Python computes the value
    VALUE = 1  # the measure itself
    MEAN = 2  # its decaying mean
    RATIO = 3  # a decaying mean over another
    SURPRISE = 4  # the measure over the decaying mean of another until the bar before
    SHARE = 5  # the measure over its mean in a window
    SPAN = 6  # ln(max/min) of two measures in a window


class Form(NamedTuple):
    """A recurrence and its figures; see the functions below, one for each kind.

    ``n_bars`` is the length of a window, or the observations before which a mean is NaN, and
    ``warm_up`` the bars for which a ratio is; ``size`` floats are remembered, all zero at first.
    """

    kind: Kind
    value: Measure
    usual: Measure
    factor: float = 0.0
    usual_factor: float = 0.0
    n_bars: int = 0
    warm_up: int = 0
    size: int = 0


FORM: Final = np.dtype(
    [(name, "f8" if "factor" in name else "i8") for name in (*Form._fields, "place", "forgets")]
)
"""A form in a table: with the place of its memory, and whether that is forgotten at a gap."""


def value(measure: Measure) -> Form:
    """The measure itself."""
    return Form(Kind.VALUE, measure, measure)


def mean(measure: Measure, decay: Decay) -> Form:
    """The decaying mean of a measure."""
    return Form(Kind.MEAN, measure, measure, decay.factor, n_bars=decay.least, size=3)


def ratio(measure: Measure, now: Decay, usual: Decay, warm_up: int = 0) -> Form:
    """One decaying mean of a measure over another, NaN for the first bars and over zero."""
    figures = now.factor, usual.factor, now.least, warm_up
    return Form(Kind.RATIO, measure, measure, *figures, size=7)


def surprise(measure: Measure, usual: Measure, decay: Decay) -> Form:
    """A measure over the decaying mean of another until the bar before, NaN over zero."""
    return Form(Kind.SURPRISE, measure, usual, decay.factor, n_bars=decay.least, size=3)


def share(measure: Measure, window: SlidingSum) -> Form:
    """A measure over its mean in a window, NaN over zero and until the window is full."""
    return Form(Kind.SHARE, measure, measure, n_bars=window.length, size=4 + 2 * window.length)


def span(high: Measure, low: Measure, length: int) -> Form:
    """Log of the highest over the lowest in the last `length` bars, or in those there are."""
    return Form(Kind.SPAN, high, low, n_bars=length, size=1 + 2 * length)
