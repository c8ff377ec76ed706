"""The E-step of a Gaussian hidden Markov model in two passes over the rows.

Invariant: each row is scaled by its largest density and its own mass, so nothing underflows as long
as the likeliest regime of a row could be reached at all. Where it could not, the log likelihood is
not finite, and the pass is over.

References
----------
Rabiner (1989), A tutorial on hidden Markov models, section V.A, for the scaled recursions.
"""

from __future__ import annotations

from math import log

import numpy as np

from microstream_lab.compiled import compiled

__all__ = ["backward_pass", "filter_block", "weigh"]


@compiled
def weigh(rows, means, whiteners, log_norms, columns, below, heights, regimes, dims):  # type: ignore[no-untyped-def]
    """How likely each regime makes each row, which is as likely as its likeliest one at most.

    Regime by regime, and rows after one another: nothing waits for the row before, as filtering
    does. The exponential is left to numpy, which takes many at a time.

    Parameters
    ----------
    rows : array of shape (n_rows, D)
    means : array of shape (K, D)
    whiteners : array of shape (K, D, D)
        Inverses of the lower Cholesky factors of the covariances.
    log_norms : array of shape (K,)
        Logs of the normalising constants.
    columns : array of shape (D, n_rows), written
        The rows, column by column.
    below : array of shape (K, n_rows), written
        Log density of each row under each regime, less that under its likeliest.
    heights : array of shape (n_rows,), written
        Log density of each row under its likeliest regime.
    regimes, dims : tuples or arrays of lengths K and D
        See :mod:`microstream_lab.models.sizes`.
    """
    n_rows = len(rows)
    for i in range(len(dims)):
        for t in range(n_rows):
            columns[i, t] = rows[t, i]
    heights[:] = -np.inf
    for k in range(len(regimes)):
        for t in range(n_rows):
            square = 0.0
            for i in range(len(dims)):
                z = 0.0
                for j in range(i + 1):
                    z += whiteners[k, i, j] * (columns[j, t] - means[k, j])
                square += z * z
            below[k, t] = log_norms[k] - 0.5 * square
        for t in range(n_rows):
            heights[t] = max(heights[t], below[k, t])
    for k in range(len(regimes)):
        for t in range(n_rows):
            below[k, t] -= heights[t]


@compiled
def filter_block(densities, heights, transitions, ahead, filtered, regimes):  # type: ignore[no-untyped-def]
    """Filter rows that follow one another.

    Parameters
    ----------
    densities : array of shape (K, n_rows)
        Density of each row under each regime over that under its likeliest.
    heights : array of shape (n_rows,)
        Log of the density that they were divided by.
    transitions : array of shape (K, K)
    ahead : array of shape (K,), written
        Probabilities of the regimes before the first row, left as before the next one.
    filtered : array of shape (n_rows, K), written
        Pr[regime_t | x_1..x_t].
    regimes : tuple or array of length K

    Returns
    -------
    log_likelihood : float
    log_floor : float
        No row's log likelihood given the rows before is below this.
    """
    n_regimes = len(regimes)
    current = np.empty(n_regimes)
    # One logarithm serves many rows: their masses are multiplied while the product is in range.
    log_likelihood, product = 0.0, 1.0
    least_height, least_mass = np.inf, np.inf
    for t in range(len(heights)):
        mass = 0.0
        for k in range(n_regimes):
            current[k] = ahead[k] * densities[k, t]
            mass += current[k]
        if not mass > 0.0:
            return -np.inf, -np.inf
        log_likelihood += heights[t]
        product *= mass
        if product < 1e-100:
            log_likelihood += log(product)
            product = 1.0
        least_height, least_mass = min(least_height, heights[t]), min(least_mass, mass)
        scale = 1.0 / mass
        ahead[:] = 0.0
        for i in range(n_regimes):
            for j in range(n_regimes):
                ahead[j] += current[i] * transitions[i, j]
        for k in range(n_regimes):  # scaled after the moves, which need not wait to divide
            filtered[t, k] = current[k] * scale
            ahead[k] *= scale
    return log_likelihood + log(product), least_height + log(min(least_mass, 1.0))


@compiled
def backward_pass(rows, transitions, filtered, regimes, dims):  # type: ignore[no-untyped-def]
    """Sums over all rows of what the parameters are estimated from.

    What a row says of the regimes is what it moved their probabilities by, from those before it to
    the filtered ones: dividing costs less than an array of densities as long as the rows.

    Returns
    -------
    first : array of shape (K,)
        Pr[regime_1 | all rows].
    moves : array of shape (K, K)
        Expected transitions.
    mass : array of shape (K,)
        Expected number of rows.
    sums : array of shape (K, D)
        Rows, weighted by Pr[regime_t | all rows].
    squares : array of shape (K, D, D)
        Their outer products; the lower triangles only.
    """
    n_regimes, n_dims = len(regimes), len(dims)
    pairs, mass = np.zeros((n_regimes, n_regimes)), np.zeros(n_regimes)
    sums, squares = np.zeros((n_regimes, n_dims)), np.zeros((n_regimes, n_dims, n_dims))
    evidence, weighted, ahead = np.ones(n_regimes), np.empty(n_regimes), np.empty(n_regimes)
    back = transitions.T.copy()
    for t in range(len(rows) - 1, -1, -1):
        for k in range(n_regimes):
            smoothed = filtered[t, k] * evidence[k]
            mass[k] += smoothed
            for i in range(n_dims):
                share = smoothed * rows[t, i]
                sums[k, i] += share
                for j in range(i + 1):
                    squares[k, i, j] += share * rows[t, j]
        if t == 0:
            break
        ahead[:] = 0.0
        for i in range(n_regimes):
            for j in range(n_regimes):
                ahead[j] += filtered[t - 1, i] * transitions[i, j]
        for k in range(n_regimes):  # a regime that could not be reached has no weight
            weighted[k] = filtered[t, k] / ahead[k] * evidence[k] if ahead[k] > 0.0 else 0.0
            evidence[k] = 0.0
        for i in range(n_regimes):
            for j in range(n_regimes):
                pairs[i, j] += filtered[t - 1, i] * weighted[j]
        for j in range(n_regimes):
            for i in range(n_regimes):
                evidence[i] += back[j, i] * weighted[j]
    return filtered[0] * evidence, pairs * transitions, mass, sums, squares
