"""Following a series bar by bar: regime probabilities, and the regime that is told.

Invariant: all that is remembered of the rows so far lies in ``state``, so that a tracker with the
same state goes on in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import mul
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from microstream_lab.models.filter import GaussianChain, RegimeFilter

__all__ = ["FilterTracker", "Track", "Tracker", "expectation", "most_probable"]

FloatArray = npt.NDArray[np.float64]
Regimes = npt.NDArray[np.int8]
_Number = TypeVar("_Number", float, FloatArray)


class Track(NamedTuple):
    """What is known at each row of a series.

    Filtered probabilities of the regimes ``(n_rows, K)``, the regimes told ``(n_rows,)``, and the
    filtered probabilities of the chain's states ``(n_rows, n_states)``: levels, or of a plain HMM
    the regimes. A row with a NaN has NaN probabilities and the regime -1.
    """

    probs: FloatArray
    regimes: Regimes
    states: FloatArray


class Tracker(Protocol):
    """What the engine asks of a regime model's memory."""

    state: FloatArray
    """Begins with the last filtered probabilities of the chain's states."""
    n_regimes: int

    @property
    def parameters(self) -> tuple[Any, ...]:
        """What the kernels of :mod:`microstream_lab.models.kernels.judgement` take of a model."""

    def track(self, rows: Any, steps: Any = None) -> Track:
        """What is known at each of the next rows.

        Parameters
        ----------
        rows : array of shape (n_rows, n_features)
            Standardised features.
        steps : array of int of shape (n_rows,), optional
            Grid steps since the row before, 1 where none is missing; 0 starts a new sequence.
        """

    def prepare(self, rows: Any) -> FloatArray:
        """The part of :meth:`track` that remembers nothing: rows may be shared out for it."""

    def follow(self, prepared: FloatArray, steps: Any = None) -> Track:
        """The rest of :meth:`track`, for what :meth:`prepare` made of the next rows."""


class FilterTracker:
    """Regimes that are simply the most probable ones."""

    def __init__(self, chain: GaussianChain, max_hole: int = 20) -> None:
        self.filter = RegimeFilter(chain, max_hole)
        self.n_regimes = len(chain.startprob_)

    @property
    def parameters(self) -> tuple[Any, ...]:
        """See :class:`Tracker`."""
        return *self.filter.parameters, self.filter.max_hole

    @property
    def state(self) -> FloatArray:
        """The filter's."""
        return self.filter.state

    def track(self, rows: Any, steps: Any = None) -> Track:
        """See :class:`Tracker`."""
        return self.follow(self.prepare(rows), steps)

    def prepare(self, rows: Any) -> FloatArray:
        """Densities."""
        return self.filter.densities(rows)

    def follow(self, prepared: FloatArray, steps: Any = None) -> Track:
        """See :class:`Tracker`."""
        probs, _ = self.filter.follow(prepared, steps)
        return Track(probs, most_probable(probs), probs)


def expectation(states: Iterable[_Number], values: Iterable[float]) -> _Number:
    """Expected value under the probabilities of the states, of one row or of many at once.

    Parameters
    ----------
    states : iterable of n_states floats, or arrays of shape (n_rows,)
    values : iterable of n_states floats
        What is to be expected in each state.
    """
    # Added up in one order for both, so that a row gives in every bit what it gives among many.
    expected: _Number = sum(map(mul, states, values))
    return expected


def most_probable(probs: FloatArray) -> Regimes:
    """Regime of the highest probability in each row, -1 for a row of NaN."""
    regimes = np.zeros(len(probs), np.int8)
    highest = probs[:, 0].copy()
    for k in range(1, probs.shape[1]):
        regimes[probs[:, k] > highest] = k
        np.maximum(highest, probs[:, k], out=highest)
    regimes[np.isnan(probs[:, 0])] = -1
    return regimes
