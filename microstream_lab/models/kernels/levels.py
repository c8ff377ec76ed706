"""What the level model does to forecasts: take drift out, see shocks, and hold on to a regime."""

from __future__ import annotations

import numpy as np

from microstream_lab.compiled import compiled

__all__ = ["hold_regimes", "recent_shocks", "without_drift"]


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
def recent_shocks(recent, drift, cut):  # type: ignore[no-untyped-def]
    """Whether what has just happened, drift taken out, reaches `cut`; never where it is unknown."""
    shocks = np.zeros(len(recent), np.bool_)
    for t in range(len(recent)):
        shocks[t] = recent[t] - drift[t] >= cut
    return shocks


@compiled
def hold_regimes(level_probs, weights, bounds, shocks, state):  # type: ignore[no-untyped-def]
    """Probabilities ``(n_rows, K)`` merged from those of the levels, and the regime held, or -1.

    ``bounds`` are `enter`, `sure` and `leave`. The last regime is entered at once by a shock, and
    without one when its probability reaches `sure`; it is left below `leave`. Of the others,
    another one is told once its probability reaches `enter`, or that of the regime held falls below
    ``1 - enter``. ``state[0]`` is the regime held, -1 before the first.
    """
    enter, sure, leave = bounds
    n_rows, n_levels = level_probs.shape
    n_regimes = weights.shape[1]
    last = n_regimes - 1
    probs, regimes = np.empty((n_rows, n_regimes)), np.empty(n_rows, np.int8)
    for t in range(n_rows):
        best = 0
        for k in range(n_regimes):
            mass = 0.0
            for level in range(n_levels):
                mass += level_probs[t, level] * weights[level, k]
            probs[t, k] = mass
            if k < last and mass > probs[t, best]:
                best = k
        if np.isnan(probs[t, 0]):
            regimes[t] = -1
            continue
        held, crisis = int(state[0]), probs[t, last]
        if crisis > probs[t, best]:
            # What may be a crisis, and nobody is sure of, is no calmer than the regime before it.
            best = last - 1
        if shocks[t] or (held != last and crisis >= sure):
            state[0] = last
        elif held < 0:
            state[0] = last if crisis > 0.5 else best
        elif held == last:
            state[0] = best if crisis < leave else last
        elif probs[t, held] < 1.0 - enter or probs[t, best] >= enter:
            state[0] = best
        regimes[t] = int(state[0])
    return probs, regimes
