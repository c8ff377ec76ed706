"""One row, from raw features to depth and filtered probabilities, in one call.

Invariant: it is made of the kernels that serve many rows, so it cannot differ from them.
"""

from __future__ import annotations

from math import log

import numpy as np

from microstream_lab.compiled import compiled
from microstream_lab.models.kernels.chain import filter_rows, gaussian_log_densities
from microstream_lab.models.kernels.forecasting import forecast_rows
from microstream_lab.models.kernels.forest import summed_depths
from microstream_lab.models.kernels.levels import hold_regimes, recent_shocks, without_drift

__all__ = ["judge_levels", "judge_row"]


@compiled
def _scaled(raw, scaling, dims):  # type: ignore[no-untyped-def]
    """The row as the models know it, shape ``(1, n_features)``."""
    row = np.empty((1, len(dims)))
    for f in range(len(dims)):
        floor, mean, scale = scaling[0, f], scaling[1, f], scaling[2, f]
        value = raw[f] if np.isnan(floor) else log(raw[f] + floor)
        row[0, f] = (value - mean) / scale
    return row


@compiled
def _depth(row, forest, dims, cut_dims):  # type: ignore[no-untyped-def]
    """Summed depth of a row, NaN if a feature is."""
    for f in range(len(dims)):
        if np.isnan(row[0, f]):
            return np.nan
    return summed_depths(row.astype(np.float32), *forest, cut_dims)[0]


@compiled
def judge_row(  # type: ignore[no-untyped-def]
    raw, step, scaling, forest, emission, chain, max_hole, state, probs, dims, cut_dims
):
    """Summed depth of one row in the forest, NaN if a feature is, and the most probable regime.

    Parameters
    ----------
    raw : array of shape (n_features,)
        Features in their own units.
    step : int
        Grid steps since the row before.
    scaling : array of shape (3, n_features)
        The scaler's floors, means and scales; where the floor is NaN there is no logarithm.
    forest, emission, chain : tuples
        What :func:`summed_depths`, :func:`gaussian_log_densities` and :func:`filter_rows` take.
    max_hole, state
        See :func:`filter_rows`; the state is left filtered.
    probs : array of shape (n_regimes,), written
        Filtered probabilities, NaN if a feature is; the regime is -1 then.
    dims, cut_dims : tuples of lengths n_features and n_columns
        See :mod:`microstream_lab.models.sizes`.
    """
    row = _scaled(raw, scaling, dims)
    densities = gaussian_log_densities(row, *emission)
    filtered, _ = filter_rows(densities, np.full(1, step), *chain, max_hole, state)
    probs[:] = filtered[0]
    regime = -1 if np.isnan(probs[0]) else np.argmax(probs)
    return _depth(row, forest, dims, cut_dims), regime


@compiled
def judge_levels(  # type: ignore[no-untyped-def]
    raw,
    step,
    scaling,
    forest,
    emission,
    chain,
    max_hole,
    forecast,
    drift,
    shock,
    merging,
    state,
    probs,
    dims,
    cut_dims,
):
    """Summed depth of one row, and the regime held; `state` and `probs` are left up to date.

    Parameters
    ----------
    raw, step, scaling, forest, emission, chain, max_hole, dims, cut_dims
        See :func:`judge_row`; the chain is one of levels of the forecast.
    forecast : tuple
        What :func:`forecast_rows` takes.
    drift : tuple
        Factor, share and center of :func:`without_drift`.
    shock : tuple
        Column of the row, its scale, and the cut of :func:`recent_shocks`.
    merging : tuple
        Weights and bounds of :func:`hold_regimes`.
    state : array of shape (n_levels + 3,)
        The filter's state, the forecast's mean, and the regime held.
    probs : array of shape (n_regimes,), written
        Filtered probabilities of the regimes, NaN if a feature is.
    """
    row = _scaled(raw, scaling, dims)
    forecasts = forecast_rows(row, *forecast)
    heights = without_drift(forecasts, *drift, state[-2:-1])
    column, scale, cut = shock
    shocks = recent_shocks(row[:, column] * scale, forecasts - heights, cut)
    densities = gaussian_log_densities(heights.reshape(1, 1), *emission)
    level_probs, _ = filter_rows(densities, np.full(1, step), *chain, max_hole, state[:-2])
    merged, regimes = hold_regimes(level_probs, *merging, shocks, state[-1:])
    probs[:] = merged[0]
    return _depth(row, forest, dims, cut_dims), regimes[0]
