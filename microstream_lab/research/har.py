"""The supervised ceiling: a regression of the coming hour's volatility on the past's.

Invariant: coefficients and cuts come from training bars whose own coming hour lies inside the
training range; see :mod:`microstream_lab.research.thresholds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import FitError
from microstream_lab.outcomes import forward_log_volatility
from microstream_lab.research.baselines import halflife_in_bars
from microstream_lab.research.thresholds import CALMEST, CutLevel
from microstream_lab.schema import hour_of_bars, series_key

__all__ = ["HORIZONS_MIN", "HarRegression", "har_terms"]

HORIZONS_MIN: Final = (5, 15, 60, 240, 1440, 7200)
"""Half-lives of the volatilities that the coming hour is regressed on, in minutes."""

_HARMONICS: Final = 3
_DAY_US: Final = 86_400_000_000


class HarRegression(CutLevel):
    """Regimes by a linear forecast of the log realised volatility of the coming hour.

    Least squares on :func:`har_terms`. Not a baseline one can beat easily: it is fitted to the
    very outcome that the tables judge by.

    Parameters
    ----------
    shares, band, max_switches
        See :class:`~microstream_lab.research.thresholds.CutLevel`.
    horizons_min : sequence of float
        Half-lives in minutes.

    Attributes
    ----------
    coef_ : ndarray of shape (n_terms + 1,)
        Coefficients, the intercept first.
    warmup_bars : int
        Bars that the longest of the volatilities needs before it is worth something.

    References
    ----------
    Corsi (2009), A simple approximate long-memory model of realized volatility, Journal of
    Financial Econometrics 7, eq. 8; here with exponential instead of flat windows.
    """

    coef_: npt.NDArray[np.float64]
    warmup_bars: int

    def __init__(
        self,
        shares: Sequence[float] = (0.5, 0.4, 0.1),
        band: float = 0.0,
        max_switches: float | None = None,
        horizons_min: Sequence[float] = HORIZONS_MIN,
    ) -> None:
        super().__init__(shares, band, max_switches)
        self.horizons_min = horizons_min

    def level(self, bars: pd.DataFrame) -> pd.Series:
        """Forecast log realised volatility of the coming hour."""
        terms = har_terms(bars, self.horizons_min)
        return pd.Series(self.coef_[0] + terms @ self.coef_[1:], index=bars.index)

    def _learn(self, bars: pd.DataFrame) -> None:
        super()._learn(bars)
        self.warmup_bars = int(4 * halflife_in_bars(bars, max(self.horizons_min)))
        outcome = forward_log_volatility(bars, hour_of_bars(series_key(bars)[2])).to_numpy()
        known = np.isfinite(outcome)
        terms = har_terms(bars, self.horizons_min)
        if known.sum() <= terms.shape[1]:
            found = f"{known.sum()} bars with a known coming hour"
            raise FitError(f"HAR regression: found {found}, expected more than {terms.shape[1]}")
        design = np.column_stack([np.ones(known.sum()), terms[known]])
        self.coef_ = np.linalg.lstsq(design, outcome[known], rcond=None)[0]


def har_terms(
    bars: pd.DataFrame, horizons_min: Sequence[float] = HORIZONS_MIN
) -> npt.NDArray[np.float64]:
    """Log volatilities of several horizons, harmonics of the UTC day, and the weekend.

    Returns
    -------
    ndarray of shape (n_bars, n_horizons + 7)
        Volatilities are EWMAs of the Parkinson variance of a bar.

    References
    ----------
    Parkinson (1980), The extreme value method for estimating the variance of the rate of return,
    Journal of Business 53, eq. 3.
    """
    high, low = bars["high"].to_numpy(np.float64), bars["low"].to_numpy(np.float64)
    variance = pd.Series(np.log(high / low) ** 2 / (4 * np.log(2)))
    floor = np.exp(2 * CALMEST)
    halflives = (halflife_in_bars(bars, minutes) for minutes in horizons_min)
    means = (variance.ewm(halflife=h, adjust=False).mean() for h in dict.fromkeys(halflives))
    times = pd.DatetimeIndex(bars.index)
    angle = times.as_unit("us").asi8 % _DAY_US * (2 * np.pi / _DAY_US)
    waves = (wave(k * angle) for k in range(1, _HARMONICS + 1) for wave in (np.sin, np.cos))
    weekend = np.asarray(times.day_of_week >= 5, np.float64)
    levels = (0.5 * np.log(mean.clip(lower=floor).to_numpy()) for mean in means)
    return np.column_stack([*levels, *waves, weekend])
