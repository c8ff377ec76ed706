"""The causal filter: what is known of the regime once a bar has closed, and no later.

Invariant: the output for a prefix of the rows is the prefix of the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from microstream_lab.models.kernels import filter_rows, gaussian_log_densities

__all__ = ["GaussianChain", "RegimeFilter", "sequence_steps"]

FloatArray = npt.NDArray[np.float64]


class GaussianChain(Protocol):
    """Parameters of a hidden Markov chain with Gaussian emissions, K regimes, D features."""

    startprob_: FloatArray
    transmat_: FloatArray
    means_: FloatArray
    covars_: FloatArray


class RegimeFilter:
    """Filtered regime probabilities of one series, for many rows or one after another.

    Parameters
    ----------
    chain : GaussianChain
        A fitted :class:`~microstream_lab.models.regime.RegimeModel`, or anything like it.
    max_hole : int
        Unobserved steps in a row that are predicted through; after more the filter starts anew.

    Attributes
    ----------
    state : ndarray of shape (K + 1,)
        Last filtered probabilities and the unobserved steps since; enough to go on later.
    parameters : tuple of tuples of ndarray
        What the kernels take: emission (means, whiteners, log norms) and chain (start, moves).
    """

    def __init__(self, chain: GaussianChain, max_hole: int = 20) -> None:
        self.max_hole = max_hole
        self.state = np.append(np.zeros(len(chain.startprob_)), -1.0)
        lower = np.linalg.cholesky(chain.covars_)
        log_determinants = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        log_norms = -log_determinants - 0.5 * chain.means_.shape[1] * np.log(2 * np.pi)
        emission = (chain.means_, np.linalg.inv(lower), log_norms)
        self.parameters = (_plain(emission), _plain((chain.startprob_, chain.transmat_)))

    def update(self, row: Any, steps: int = 1) -> FloatArray:
        """Filtered probabilities after the next row, shape ``(K,)``; NaN for a NaN row."""
        probs, _ = self.filter(np.asarray(row, dtype=np.float64)[None], np.array([steps]))
        return np.asarray(probs[0])

    def filter(self, X: Any, steps: Any = None) -> tuple[FloatArray, FloatArray]:
        """Filtered probabilities ``(n_rows, K)`` and log likelihood ``(n_rows,)`` of more rows.

        A step of 0 starts a new sequence. The state is left ready for the row after the last.
        """
        return self.follow(self.densities(X), steps)

    def densities(self, X: Any) -> FloatArray:
        """Log density of each row under each regime, shape ``(n_rows, K)``; remembers nothing."""
        rows = np.ascontiguousarray(X, dtype=np.float64)
        return np.asarray(gaussian_log_densities(rows, *self.parameters[0]))

    def follow(self, densities: FloatArray, steps: Any = None) -> tuple[FloatArray, FloatArray]:
        """What :meth:`filter` returns, for the next rows' densities."""
        steps = np.ones(len(densities), np.int64) if steps is None else np.asarray(steps, np.int64)
        # A new sequence is one after a hole too long to be predicted through.
        steps = np.where(steps == 0, self.max_hole + 2, steps)
        probs, log_likelihood = filter_rows(
            densities, steps, *self.parameters[1], self.max_hole, self.state
        )
        return probs, log_likelihood


def _plain(arrays: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
    """Contiguous floats, whatever they were loaded as: a kernel is compiled for each layout."""
    return tuple(np.array(array, dtype=np.float64, order="C") for array in arrays)


def sequence_steps(lengths: Sequence[int] | None) -> npt.NDArray[np.int64] | None:
    """Grid steps that tell a filter where each of the sequences begins."""
    if lengths is None:
        return None
    steps = np.ones(sum(lengths), np.int64)
    steps[np.cumsum([0, *lengths[:-1]])] = 0
    return steps
