"""One row, from raw features to depth and filtered probabilities, in one call.

Invariant: it is made of the kernels that serve many rows, so it cannot differ from them.
"""

from __future__ import annotations

from math import log

import numpy as np

from microstream_lab.compiled import compiled
from microstream_lab.models.kernels.chain import filter_rows, gaussian_log_densities
from microstream_lab.models.kernels.forest import summed_depths

__all__ = ["judge_row"]


@compiled
def judge_row(  # type: ignore[no-untyped-def]
    raw, step, floor, mean, scale, forest, emission, chain, max_hole, state, probs, dims
):
    """Summed depth of one row in the forest (NaN if a feature is), `probs` and `state` updated.

    Parameters
    ----------
    raw, floor, mean, scale : arrays of shape (n_features,)
        The features in their own units, and the scaler's statistics; a NaN floor is no logarithm.
    step : array of shape (1,)
        Grid steps since the row before.
    forest, emission, chain : tuples
        What :func:`summed_depths`, :func:`gaussian_log_densities` and :func:`filter_rows` take.
    max_hole, state
        See :func:`filter_rows`.
    probs : array of shape (n_regimes,), written
        Filtered probabilities, NaN if a feature is.
    dims : tuple of length n_features
        See :mod:`microstream_lab.models.sizes`.
    """
    row, known = np.empty((1, len(dims))), True
    for f in range(len(dims)):
        value = raw[f] if np.isnan(floor[f]) else log(raw[f] + floor[f])
        row[0, f] = (value - mean[f]) / scale[f]
        known &= not np.isnan(row[0, f])
    densities = gaussian_log_densities(row, *emission)
    filtered, _ = filter_rows(densities, step, *chain, max_hole, state)
    probs[:] = filtered[0]
    if not known:
        return np.nan
    return summed_depths(row.astype(np.float32), *forest, dims)[0]
