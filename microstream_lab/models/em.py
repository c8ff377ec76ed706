"""hmmlearn's Gaussian HMM with a compiled E-step; everything else is hmmlearn's.

Invariant: parameters, statistics and convergence history are those of hmmlearn, to rounding. What
the compiled pass cannot answer exactly it leaves to hmmlearn, errors included.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from hmmlearn._utils import split_X_lengths
from hmmlearn.hmm import GaussianHMM

from microstream_lab.models.kernels.expectation import backward_pass, filter_block, weigh
from microstream_lab.models.sizes import Size, size_for

__all__ = ["FastGaussianHMM"]

FloatArray = npt.NDArray[np.float64]
Emission = tuple[FloatArray, FloatArray, FloatArray]
_MANY: Final = 32_768
_BLOCK: Final = 4_096
_SCALING_FLOOR: Final = log(1e-300)
"""hmmlearn's "scaling" gives up on a row that is less likely than this."""


class FastGaussianHMM(GaussianHMM):  # type: ignore[misc]
    """:class:`hmmlearn.hmm.GaussianHMM`, fitted in a sixth to a fourteenth of the time.

    Takes the same parameters, of every covariance type. ``implementation="scaling"`` refuses what
    hmmlearn's does, and ``"log"`` nothing; either costs the same.

    Notes
    -----
    Densities are computed by whitening with Cholesky factors, the recursions are scaled by each
    row's largest density and mass, and the statistics are summed in the pass backwards, without
    any array of smoothed probabilities. A fit releases the interpreter lock, so threads may share
    out its starts.
    """

    def fit(self, X: Any, lengths: Sequence[int] | None = None) -> FastGaussianHMM:
        """Estimate the parameters from `X`, shape ``(n_rows, n_features)``; see hmmlearn."""
        try:
            super().fit(X, lengths)
        finally:
            self.__dict__.pop("_room", None)
        return self

    def _do_estep(
        self, X: FloatArray, lengths: Sequence[int] | None
    ) -> tuple[dict[str, Any], float]:
        emission = self._emission()
        statistics, log_likelihood = self._initialize_sufficient_statistics(), 0.0
        for rows in split_X_lengths(X, lengths):
            found = self._estep_of(rows, emission) if emission and len(rows) else None
            part, gain = found or super()._do_estep(rows, [len(rows)])
            log_likelihood += gain
            for name in statistics:
                statistics[name] = statistics[name] + part[name]
        return statistics, log_likelihood

    def _estep_of(self, X: FloatArray, emission: Emission) -> tuple[dict[str, Any], float] | None:
        """Statistics and log likelihood of one sequence; None if hmmlearn has to answer."""
        rows = np.ascontiguousarray(X, dtype=np.float64)
        sizes = [size_for(n, len(rows), _MANY) for n in (self.n_components, rows.shape[1])]
        start = np.array(self.startprob_, dtype=np.float64)
        transitions = np.array(self.transmat_, dtype=np.float64)
        filtered = self._room_for(len(rows))
        log_likelihood, floor = _forward(rows, emission, start, transitions, filtered, *sizes)
        refused = self.implementation == "scaling" and not floor > _SCALING_FLOOR
        if refused or not np.isfinite(log_likelihood):
            return None
        sums = backward_pass(rows, transitions, filtered, *sizes)
        if not all(np.isfinite(each).all() for each in sums):
            return None
        return self._statistics(*sums), log_likelihood

    def _statistics(
        self,
        first: FloatArray,
        moves: FloatArray,
        mass: FloatArray,
        sums: FloatArray,
        squares: FloatArray,
    ) -> dict[str, Any]:
        """Statistics by their names in hmmlearn; those that no fitted parameter needs are zero."""
        statistics: dict[str, Any] = self._initialize_sufficient_statistics()
        statistics["nobs"] = 1
        if "s" in self.params:
            statistics["start"] = first
        if "t" in self.params:
            statistics["trans"] = moves
        if "m" in self.params:
            statistics["post"], statistics["obs"] = mass, sums
        if "c" in self.params and self.covariance_type in ("tied", "full"):
            lower = np.tril(squares, -1)
            statistics["obs*obs.T"] = squares + lower.transpose(0, 2, 1)
        elif "c" in self.params:
            statistics["obs**2"] = np.diagonal(squares, axis1=1, axis2=2)
        return statistics

    def _emission(self) -> Emission | None:
        """Means, whitening matrices and log norms; None where a covariance has no factor."""
        means = np.array(self.means_, dtype=np.float64)
        try:
            lower = np.linalg.cholesky(np.asarray(self.covars_, dtype=np.float64))
        except np.linalg.LinAlgError:
            return None
        log_determinants = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        log_norms = -log_determinants - 0.5 * means.shape[1] * np.log(2 * np.pi)
        return means, np.ascontiguousarray(np.linalg.inv(lower)), log_norms

    def _room_for(self, n_rows: int) -> FloatArray:
        """An array of shape ``(n_rows, K)`` that all iterations of a fit share."""
        room: FloatArray | None = self.__dict__.get("_room")
        if room is None or len(room) < n_rows:
            room = self._room = np.empty((n_rows, self.n_components))
        return room[:n_rows]


def _forward(
    rows: FloatArray,
    emission: Emission,
    start: FloatArray,
    transitions: FloatArray,
    filtered: FloatArray,
    regimes: Size,
    dims: Size,
) -> tuple[float, float]:
    """Fill `filtered`, a block of rows after the other, in what the processor's cache holds.

    Returns the log likelihood, and what no row's is below; both are -inf for a row that no regime
    in reach explains.
    """
    ahead, log_likelihood, floor = start.copy(), 0.0, np.inf
    n_parts = len(dims) + len(regimes) + 1
    for begin in range(0, len(rows), _BLOCK):
        block = rows[begin : begin + _BLOCK]
        parts = np.empty((n_parts, len(block)))
        columns, below, heights = parts[: len(dims)], parts[len(dims) : -1], parts[-1]
        weigh(block, *emission, columns, below, heights, regimes, dims)
        np.exp(below, out=below)
        target = filtered[begin : begin + _BLOCK]
        gain, least = filter_block(below, heights, transitions, ahead, target, regimes)
        log_likelihood, floor = log_likelihood + gain, min(floor, least)
        if not np.isfinite(gain):
            break
    return log_likelihood, floor
