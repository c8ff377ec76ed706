"""Gaussian densities and the forward filter of a hidden Markov chain."""

from __future__ import annotations

from math import exp, log

import numpy as np

from microstream_lab.compiled import compiled

__all__ = ["filter_rows", "gaussian_log_densities"]


@compiled
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


@compiled
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
    probs, log_likelihood = np.empty((n_rows, n_regimes)), np.zeros(n_rows)
    current, ahead = state[:n_regimes].copy(), np.empty(n_regimes)
    unobserved = state[n_regimes]
    for t in range(n_rows):
        unobserved += steps[t] - 1 if unobserved >= 0 else 0
        if np.isnan(densities[t, 0]):
            probs[t, :] = np.nan
            unobserved += unobserved >= 0
            continue
        if unobserved < 0 or unobserved > max_hole:
            current[:] = start
        else:
            for _ in range(int(unobserved) + 1):
                ahead[:] = 0.0
                for i in range(n_regimes):
                    for j in range(n_regimes):
                        ahead[j] += current[i] * transitions[i, j]
                current[:] = ahead
        largest, mass = -np.inf, 0.0
        for k in range(n_regimes):
            largest = max(largest, densities[t, k])
        for k in range(n_regimes):
            current[k] *= exp(densities[t, k] - largest)
            mass += current[k]
        for k in range(n_regimes):
            current[k] /= mass
            probs[t, k] = current[k]
        log_likelihood[t], unobserved = log(mass) + largest, 0
    state[:n_regimes], state[n_regimes] = current, unobserved
    return probs, log_likelihood
