"""What a score means: its place among the scores of a reference that is frozen.

Invariant: quantiles never fall where scores rise, and one score gives in every bit what it gives
among many.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from microstream_lab.models.buckets import bucketed

__all__ = ["ScoreReference"]

FloatArray = npt.NDArray[np.float64]
_LEVELS: Final = 1001
_MANY: Final = 4096
"""Scores from which on buckets are worth while."""
_BUCKETS: Final = 16_384


@dataclass(frozen=True, eq=False)
class ScoreReference:
    """Scores at a thousand and one evenly spaced quantiles, straight lines between them.

    Attributes
    ----------
    scores : ndarray of shape (1001,)
        Ascending; the least and the highest score of the reference are the ends. Empty where the
        reference is not known: then no quantile is.
    """

    scores: FloatArray

    @classmethod
    def of(cls, scores: FloatArray) -> ScoreReference:
        """The reference that these scores are, in any order."""
        return cls(np.quantile(scores, np.linspace(0.0, 1.0, _LEVELS)))

    def quantiles(self, scores: FloatArray) -> FloatArray:
        """Share of the reference that scored no higher, 0 .. 1; NaN for NaN.

        All that is beyond the reference is 0 or 1: there the score itself tells more.
        """
        if not len(self.scores):
            return np.full(np.shape(scores), nan)
        if np.ndim(scores) != 1 or len(scores) < _MANY:
            return np.asarray(np.interp(scores, self.scores, self._levels))
        from microstream_lab.models.kernels.quantiles import interpolate

        quantiles = np.empty(len(scores))
        interpolate(np.asarray(scores, np.float64), *self._lines, quantiles)
        return quantiles

    def quantile(self, score: float) -> float:
        """The same of one score."""
        scores, levels = self._lists
        if isnan(score) or not scores:
            return nan
        right = bisect_right(scores, score)
        if right == 0:
            return levels[0]
        left = right - 1
        if right == len(scores) or scores[left] == score:
            return levels[left]
        slope = (levels[right] - levels[left]) / (scores[right] - scores[left])
        return slope * (score - scores[left]) + levels[left]

    def __getstate__(self) -> dict[str, FloatArray]:
        return {"scores": self.scores}  # all else follows

    @cached_property
    def _lines(self) -> tuple[Any, ...]:
        with np.errstate(divide="ignore"):  # between equal scores: nothing is ever looked up there
            slopes = np.diff(self._levels) / np.diff(self.scores)
        return self.scores, self._levels, slopes, *bucketed(self.scores, _BUCKETS)

    @cached_property
    def _levels(self) -> FloatArray:
        return np.linspace(0.0, 1.0, len(self.scores))

    @cached_property
    def _lists(self) -> tuple[list[float], list[float]]:
        return self.scores.tolist(), self._levels.tolist()
