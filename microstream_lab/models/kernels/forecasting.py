"""The volatility forecast of each row: weighted columns, and the clock's harmonics.

Invariant: a row's forecast does not depend on the rows beside it.
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from microstream_lab.compiled import compiled

__all__ = ["forecast_rows"]


@compiled
def _clock_part(time_of_week, profile):  # type: ignore[no-untyped-def]
    """Sum of :func:`~microstream_lab.models.forecast.clock_terms`, each by its weight.

    Higher harmonics are turned on from the first, as complex numbers are multiplied.
    """
    part, place = 0.0, 0
    weekend = time_of_week >= 5.0 / 7.0
    for base, harmonics in ((7.0, 6), (1.0, 3)):
        angle = 2.0 * pi * base * time_of_week
        first_cos, first_sin = cos(angle), sin(angle)
        real, imaginary = 1.0, 0.0
        for k in range(harmonics):
            real, imaginary = (
                real * first_cos - imaginary * first_sin,
                real * first_sin + imaginary * first_cos,
            )
            part += profile[place] * real + profile[place + 1] * imaginary
            if base == 7.0 and k < 3 and weekend:
                part += profile[19 + 2 * k] * real + profile[20 + 2 * k] * imaginary
            place += 2
    return part + profile[18] if weekend else part


@compiled
def forecast_rows(rows, columns, coef, intercept, clock, profile):  # type: ignore[no-untyped-def]
    """Forecast of each row, shape ``(n_rows,)``; NaN where any feature is.

    Parameters
    ----------
    rows : array of shape (n_rows, n_features)
        Standardised features.
    columns, coef : arrays of shape (n_columns,)
        Columns that are regressed on, and their weights.
    intercept : float
    clock : int
        Column with the time of the week; -1 for none.
    profile : array of shape (25,)
        Weights of the clock's terms; empty without a clock.
    """
    forecasts = np.empty(len(rows))
    for row in range(len(rows)):
        forecast = intercept
        for i in range(len(columns)):
            forecast += coef[i] * rows[row, columns[i]]
        if clock >= 0:
            forecast += _clock_part(rows[row, clock], profile)
        for f in range(rows.shape[1]):
            if np.isnan(rows[row, f]):
                forecast = np.nan
        forecasts[row] = forecast
    return forecasts
