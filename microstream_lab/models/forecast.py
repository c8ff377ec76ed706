"""A forecast of the coming hour's volatility: the one number that the default regimes watch.

Ridge regression of the log realised volatility that followed on what is known at the bar: log
volatility and activity over several horizons, and the clock. Corsi (2009), A simple approximate
long-memory model of realized volatility, Journal of Financial Econometrics 7, regresses on several
horizons at once; Andersen and Bollerslev (1997), Intraday periodicity and volatility persistence in
financial markets, Journal of Empirical Finance 4, describe the clock by harmonics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.utils.validation import check_is_fitted

from microstream_lab.errors import FitError
from microstream_lab.models.kernels.forecasting import forecast_rows

__all__ = ["VolatilityForecast", "clock_terms"]

FloatArray = npt.NDArray[np.float64]

_DAYS: Final = 7
_DAILY, _WEEKLY, _AT_WEEKENDS = 6, 3, 3
_WEEKEND: Final = 5 / _DAYS


def clock_terms(time_of_week: FloatArray) -> FloatArray:
    """Harmonics of the day and of the week, and the weekend with a day of its own.

    Parameters
    ----------
    time_of_week : array of shape (n_rows,)
        Share of the week that has passed, in [0, 1), from Monday 00:00 UTC.

    Returns
    -------
    array of shape (n_rows, 25)
    """
    turns = 2 * np.pi * np.asarray(time_of_week)
    day = [f(_DAYS * k * turns) for k in range(1, _DAILY + 1) for f in (np.cos, np.sin)]
    week = [f(k * turns) for k in range(1, _WEEKLY + 1) for f in (np.cos, np.sin)]
    weekend = (np.asarray(time_of_week) >= _WEEKEND).astype(np.float64)
    apart = [weekend, *(weekend * term for term in day[: 2 * _AT_WEEKENDS])]
    return np.column_stack([*day, *week, *apart])


class VolatilityForecast(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression of log volatility to come on standardised features and the clock.

    Parameters
    ----------
    columns : sequence of int, optional
        Columns of the rows to regress on; all but the clock by default.
    clock : int, optional
        Column that holds the time of the week; without it the clock is not known.
    alpha : float
        Strength of the ridge, in rows: minutes overlap so much that little is needed.

    Attributes
    ----------
    coef_ : ndarray of shape (n_columns,)
        Weight of each column of `columns`.
    profile_ : ndarray of shape (25,)
        Weights of :func:`clock_terms`; empty without a clock.
    intercept_ : float
    """

    def __init__(
        self, columns: Sequence[int] | None = None, clock: int | None = None, alpha: float = 10.0
    ) -> None:
        self.columns = columns
        self.clock = clock
        self.alpha = alpha

    def fit(self, X: Any, y: Any) -> VolatilityForecast:
        """Learn from rows and what followed them.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
            Standardised features, all finite.
        y : array of shape (n_rows,)
            Log realised volatility of the bars that followed, NaN where unknown.

        Raises
        ------
        FitError
            If no row has an outcome, or all have the same.
        """
        rows, outcome = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        known = np.isfinite(outcome)
        if not known.any() or np.ptp(outcome[known]) == 0:
            raise FitError(
                f"volatility forecast: found {known.sum()} rows whose outcome is known, "
                "expected some that differ"
            )
        self.n_features_in_ = rows.shape[1]
        terms = self._terms(rows[known])
        center, spread = terms.mean(axis=0), terms.std(axis=0)
        spread[spread <= 1e-12] = 1.0
        ridge = Ridge(self.alpha).fit((terms - center) / spread, outcome[known])
        weights = ridge.coef_ / spread
        n_columns = len(self._columns())
        self.coef_, self.profile_ = weights[:n_columns], weights[n_columns:]
        self.intercept_ = float(ridge.intercept_ - center @ weights)
        return self

    def predict(self, X: Any) -> FloatArray:
        """Forecast of the log volatility that follows each row, shape ``(n_rows,)``.

        NaN where any feature is.
        """
        check_is_fitted(self)
        rows = np.ascontiguousarray(X, dtype=np.float64)
        return np.asarray(forecast_rows(rows, *self.parameters))

    @property
    def parameters(self) -> tuple[Any, ...]:
        """What :func:`~microstream_lab.models.kernels.forecasting.forecast_rows` takes."""
        columns = np.array(self._columns(), dtype=np.int64)
        clock = -1 if self.clock is None else int(self.clock)
        coef, profile = np.array(self.coef_), np.array(self.profile_)
        return columns, coef, float(self.intercept_), clock, profile

    def of_the_clock(self, X: FloatArray) -> FloatArray:
        """The clock's part of the forecast of each row; zero without a clock."""
        part = np.zeros(len(X))
        if self.clock is not None:
            for term, weight in zip(clock_terms(X[:, self.clock]).T, self.profile_, strict=True):
                part += weight * term
        return part

    def _columns(self) -> list[int]:
        if self.columns is not None:
            return list(self.columns)
        return [column for column in range(self.n_features_in_) if column != self.clock]

    def _terms(self, rows: FloatArray) -> FloatArray:
        terms = rows[:, self._columns()]
        return terms if self.clock is None else np.hstack([terms, clock_terms(rows[:, self.clock])])
