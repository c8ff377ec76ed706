"""What the level model does to forecasts: take drift out of them, and hold on to a regime."""

from __future__ import annotations

import numpy as np

from microstream_lab.compiled import compiled

__all__ = ["hold_regimes", "without_drift"]


@compiled
def without_drift(forecasts, factor, share, center, state):  # type: ignore[no-untyped-def]
    """Forecasts less a share of how far their slow mean has moved away from `center`.

    ``state[0]`` is that mean, read and left ready for the next forecast; a NaN changes nothing.
    """
    level = np.empty(len(forecasts))
    for t in range(len(forecasts)):
        if not np.isnan(forecasts[t]):
            state[0] += (1.0 - factor) * (forecasts[t] - state[0])
        level[t] = forecasts[t] - share * (state[0] - center)
    return level


@compiled
def hold_regimes(level_probs, weights, enter, state):  # type: ignore[no-untyped-def]
    """Probabilities ``(n_rows, K)`` merged from those of the levels, and the regime held, or -1.

    The regime changes once another one's probability reaches `enter`, or its own falls below
    ``1 - enter``. ``state[0]`` is the regime held, -1 before the first.
    """
    n_rows, n_levels = level_probs.shape
    n_regimes = weights.shape[1]
    probs, regimes = np.empty((n_rows, n_regimes)), np.empty(n_rows, np.int8)
    for t in range(n_rows):
        best = 0
        for k in range(n_regimes):
            mass = 0.0
            for level in range(n_levels):
                mass += level_probs[t, level] * weights[level, k]
            probs[t, k] = mass
            if mass > probs[t, best]:
                best = k
        if np.isnan(probs[t, 0]):
            regimes[t] = -1
            continue
        held = int(state[0])
        if held < 0 or probs[t, best] >= enter or probs[t, held] < 1.0 - enter:
            state[0] = best
        regimes[t] = int(state[0])
    return probs, regimes
