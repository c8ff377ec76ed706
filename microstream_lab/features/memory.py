"""What features remember of earlier bars: decaying means and sliding sums, each with two faces.

Invariant: both faces do the same float operations in the same order and agree in every bit; a NaN
is not observed, changes nothing, and what was known is told again. Sums are made of additions only,
so a burst that has left the window leaves no rounding behind and a window of zeros sums to zero.
"""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Decay", "FloatArray", "SlidingSum", "column", "log_ratio", "ratio"]

FloatArray = npt.NDArray[np.float64]


def column(bars: pd.DataFrame, name: str) -> FloatArray:
    """A column of a bars frame as contiguous floats, shape ``(n_bars,)``."""
    return _fixed(bars[name].to_numpy(np.float64))


def log_ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """``ln(a / b)`` of each pair, in every bit what :func:`math.log` gives."""
    from microstream_lab.features.recursions import log_ratios  # numba loads with the first batch

    logs = np.empty(len(numerator))
    log_ratios(_fixed(numerator), _fixed(denominator), logs)
    return logs


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """``a / b`` of each pair, NaN where b is not above zero: undefined, and never infinite."""
    defined = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=defined, where=denominator > 0)
    return defined


class Decay:
    """Mean of the observations so far, each worth half as much a half-life of observations later.

    The weights are normalised, as by ``adjust=True`` in pandas, so that the mean is unbiased from
    the first observation on.

    Parameters
    ----------
    half_life : float
        Observations after which one counts half.
    least : int
        Observations before which the mean is NaN.
    """

    def __init__(self, half_life: float, least: int = 1) -> None:
        self.factor = 0.5 ** (1.0 / half_life)
        self.least = least
        self._total = self._weight = 0.0
        self._seen = 0

    def batch(self, values: FloatArray) -> FloatArray:
        """The mean after each of a whole series of observations, shape ``(n_bars,)``."""
        from microstream_lab.features.recursions import decaying_means

        means = np.empty(len(values))
        decaying_means(_fixed(values), self.factor, self.least, means)
        return means

    def update(self, value: float) -> float:
        """The mean after the next observation."""
        if not isnan(value):
            self._total = self.factor * self._total + value
            self._weight = self.factor * self._weight + 1.0
            self._seen += 1
        return self._total / self._weight if self._seen >= self.least else nan


class SlidingSum:
    """Sum of the last `length` observations, NaN before there are so many.

    The observations lie in blocks of that length: a window is the end of one block, whose sums are
    known from its last observation backwards, and the beginning of the next.

    Parameters
    ----------
    length : int
        Observations in the window.

    References
    ----------
    van Herk (1992), A fast algorithm for local minimum and maximum filters on rectangular and
    octagonal kernels, Pattern Recognition Letters 13, for the blocks.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._block: list[float] = []
        self._tails: list[float] = []
        self._running = 0.0
        self._total = nan

    def batch(self, values: FloatArray) -> FloatArray:
        """The sum after each of a whole series of observations, shape ``(n_bars,)``."""
        from microstream_lab.features.recursions import sliding_sums

        sums = np.empty(len(values))
        sliding_sums(_fixed(values), self.length, sums)
        return sums

    def update(self, value: float) -> float:
        """The sum after the next observation."""
        if isnan(value):
            return self._total
        self._running = self._running + value if self._block else value
        self._block.append(value)
        if len(self._block) == self.length:
            self._total = self._running
            self._turn()
        elif self._tails:
            self._total = self._running + self._tails[len(self._block)]
        return self._total

    def _turn(self) -> None:
        """Sum the full block from its end backwards and begin the next."""
        tails, tail = [0.0] * self.length, 0.0
        for place in range(self.length - 1, -1, -1):
            tail += self._block[place]
            tails[place] = tail
        self._tails, self._block = tails, []


def _fixed(values: FloatArray) -> FloatArray:
    """Contiguous and read-only, always: every other layout would be compiled for anew."""
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view
