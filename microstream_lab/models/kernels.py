"""Compiled hot loops: isolation-forest scores and the hidden Markov forward filter.

Invariant: a kernel computes what scikit-learn or hmmlearn would, to the last few bits, and the same
kernel serves one row and many, so that live and historical figures cannot drift apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["filter_rows", "forest_depths", "gaussian_log_densities"]

_compiled: Any = njit(cache=True, nogil=True)


@_compiled
def forest_depths(rows, roots, feature, threshold, left, right, depth):  # type: ignore[no-untyped-def]
    """Depth of each row summed over all trees, shape ``(n_rows,)``.

    `rows` is float32, as scikit-learn's trees compare it; nodes of all trees lie in one array, a
    leaf has ``left == -1`` and holds its own depth plus the mean depth below it.
    """
    total = np.zeros(len(rows))
    for row in range(len(rows)):
        for root in roots:
            node = root
            while left[node] >= 0:
                if rows[row, feature[node]] <= threshold[node]:  # noqa: SIM108, faster than a select
                    node = left[node]
                else:
                    node = right[node]
            total[row] += depth[node]
    return total


@_compiled
def gaussian_log_densities(rows, means, whiteners, log_norms):  # type: ignore[no-untyped-def]
    """Log density of each row under each Gaussian, shape ``(n_rows, n_regimes)``.

    ``whiteners[k]`` is the inverse of the lower Cholesky factor of covariance k, and
    ``log_norms[k]`` the log of its normalising constant. A row with a NaN has NaN densities.
    """
    n_regimes, n_features = means.shape
    densities = np.empty((len(rows), n_regimes))
    for row in range(len(rows)):
        for k in range(n_regimes):
            square = 0.0
            for i in range(n_features):
                z = 0.0
                for j in range(i + 1):
                    z += whiteners[k, i, j] * (rows[row, j] - means[k, j])
                square += z * z
            densities[row, k] = log_norms[k] - 0.5 * square
    return densities


@_compiled
def filter_rows(densities, steps, start, transitions, max_hole, state):  # type: ignore[no-untyped-def]
    """Filtered regime probabilities of each row, and the log likelihood of each row.

    Hamilton's forward recursion, scaled by the largest density of the row so that no observation
    underflows. ``steps[t]`` is the number of grid steps since the row before; a step without an
    observation (a missing row, or NaN densities) is predicted through, and after more than
    `max_hole` of them in a row the filter starts anew from `start`.

    `state` (shape ``(n_regimes + 1,)``) is read and left ready for the next row: the last filtered
    probabilities and the number of steps unobserved since, which is -1 before the first row.
    """
    n_rows, n_regimes = densities.shape
    probs = np.full((n_rows, n_regimes), np.nan)
    log_likelihood = np.zeros(n_rows)
    current, ahead = np.empty(n_regimes), np.empty(n_regimes)
    for t in range(n_rows):
        started = state[n_regimes] >= 0
        if started:
            state[n_regimes] += steps[t] - 1
        if np.isnan(densities[t, 0]):
            if started:
                state[n_regimes] += 1
            continue
        if started and state[n_regimes] <= max_hole:
            current[:] = state[:n_regimes]
            for _ in range(int(state[n_regimes]) + 1):
                for j in range(n_regimes):
                    ahead[j] = 0.0
                    for i in range(n_regimes):
                        ahead[j] += current[i] * transitions[i, j]
                current[:] = ahead
        else:
            current[:] = start
        largest = densities[t].max()
        mass = 0.0
        for k in range(n_regimes):
            current[k] *= np.exp(densities[t, k] - largest)
            mass += current[k]
        probs[t] = current / mass
        log_likelihood[t] = np.log(mass) + largest
        state[:n_regimes] = probs[t]
        state[n_regimes] = 0
    return probs, log_likelihood
