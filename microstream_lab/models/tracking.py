"""Following a series bar by bar: regime probabilities, and the regime that is told.

Invariant: all that is remembered of the rows so far lies in ``state``, so that a tracker with the
same state goes on in the same way.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from microstream_lab.models.filter import GaussianChain, RegimeFilter

__all__ = ["FilterTracker", "Tracker", "most_probable"]

FloatArray = npt.NDArray[np.float64]
Regimes = npt.NDArray[np.int8]


class Tracker(Protocol):
    """What the engine asks of a regime model's memory."""

    state: FloatArray

    def track(self, rows: Any, steps: Any = None) -> tuple[FloatArray, Regimes]:
        """Filtered probabilities ``(n_rows, K)`` and regimes ``(n_rows,)`` of the next rows.

        Parameters
        ----------
        rows : array of shape (n_rows, n_features)
            Standardised features; a row with a NaN has NaN probabilities and the regime -1.
        steps : array of int of shape (n_rows,), optional
            Grid steps since the row before, 1 where none is missing; 0 starts a new sequence.
        """

    def prepare(self, rows: Any) -> FloatArray:
        """The part of :meth:`track` that remembers nothing: rows may be shared out for it."""

    def follow(self, prepared: FloatArray, steps: Any = None) -> tuple[FloatArray, Regimes]:
        """The rest of :meth:`track`, for what :meth:`prepare` made of the next rows."""


class FilterTracker:
    """Regimes that are simply the most probable ones."""

    def __init__(self, chain: GaussianChain, max_hole: int = 20) -> None:
        self.filter = RegimeFilter(chain, max_hole)

    @property
    def state(self) -> FloatArray:
        """The filter's."""
        return self.filter.state

    def track(self, rows: Any, steps: Any = None) -> tuple[FloatArray, Regimes]:
        """See :class:`Tracker`."""
        return self.follow(self.prepare(rows), steps)

    def prepare(self, rows: Any) -> FloatArray:
        """Densities."""
        return self.filter.densities(rows)

    def follow(self, prepared: FloatArray, steps: Any = None) -> tuple[FloatArray, Regimes]:
        """See :class:`Tracker`."""
        probs, _ = self.filter.follow(prepared, steps)
        return probs, most_probable(probs)


def most_probable(probs: FloatArray) -> Regimes:
    """Regime of the highest probability in each row, -1 for a row of NaN."""
    unknown = np.isnan(probs[:, 0])
    return np.where(unknown, -1, probs.argmax(axis=1)).astype(np.int8)
