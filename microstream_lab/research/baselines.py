"""What a regime model has to beat: an EWMA volatility cut at training quantiles.

Invariant: a baseline learns its cuts from training bars only, and its signal of a bar knows
nothing later, so that it stands in any table beside a bundle, under the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import FitError, SettingsError
from microstream_lab.outcomes import log_returns
from microstream_lab.schema import interval_us, series_key

__all__ = ["EwmaThresholds", "ewma_baselines", "hysteresis"]

Floats: TypeAlias = npt.NDArray[np.float64]

_CALMEST = -16.0  # log volatility of a halted market: finite, and below any that trades


class EwmaThresholds:
    """Regimes by the level of an EWMA of squared returns, with an optional hysteresis band.

    Parameters
    ----------
    halflife : float
        Half-life of the EWMA in bars.
    quantiles : sequence of K-1 floats
        Training quantiles at which log volatility is cut.
    band : float
        A regime is left only once log volatility is this far beyond the cut.

    Attributes
    ----------
    cuts_ : ndarray of shape (K-1,)
        Cuts in log volatility of one bar.
    end : int
        Training end, us UTC, exclusive.
    """

    cuts_: Floats
    end: int

    def __init__(
        self, halflife: float = 30.0, quantiles: Sequence[float] = (0.5, 0.9), band: float = 0.0
    ) -> None:
        self.halflife = halflife
        self.quantiles = quantiles
        self.band = band

    def fit(self, bars: pd.DataFrame) -> EwmaThresholds:
        """Learn the cuts from training bars; raises :class:`FitError` if no bar has a return."""
        level = self.level(bars).dropna()
        if level.empty:
            raise FitError(f"EWMA thresholds: found {len(bars)} bars without a return, expected 2")
        quantiles = np.asarray(self.quantiles, np.float64)
        if not ((quantiles > 0) & (quantiles < 1)).all() or (np.diff(quantiles) <= 0).any():
            raise SettingsError(f"quantiles: found {self.quantiles}, expected ascending in (0, 1)")
        self.cuts_ = np.quantile(level, quantiles)
        last = pd.DatetimeIndex(bars.index).as_unit("us").asi8[-1]
        self.end = int(last) + interval_us(series_key(bars)[2])
        return self

    def level(self, bars: pd.DataFrame) -> pd.Series:
        """Log of the EWMA volatility of one bar; NaN before the first return."""
        squares = log_returns(bars) ** 2
        variance = squares.ewm(halflife=self.halflife, adjust=False, ignore_na=True).mean()
        with np.errstate(divide="ignore"):
            level: pd.Series = (0.5 * np.log(variance)).clip(lower=_CALMEST)
        return level

    def signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """``regime``, ``p_0 .. p_{K-1}`` (0 or 1: a threshold has no doubts), ``expected_stress``.

        The stress is the log volatility itself.
        """
        level = self.level(bars)
        regime = hysteresis(level.to_numpy(), self.cuts_, self.band)
        frame = pd.DataFrame({"regime": regime.astype(np.int8)}, index=bars.index)
        for k in range(len(self.cuts_) + 1):
            frame[f"p_{k}"] = np.where(regime < 0, np.nan, regime == k)
        return frame.assign(expected_stress=level)


def hysteresis(values: Floats, cuts: npt.ArrayLike, band: float) -> npt.NDArray[np.int64]:
    """Class of each value by ascending `cuts`, changed only ``band`` beyond a cut; NaN gives -1.

    Each cut is a switch of its own that turns on above ``cut + band`` and off below
    ``cut - band``; since the cuts ascend, their sum is the class. Starts with no band, and keeps
    its state through NaN.
    """
    known = ~np.isnan(values)
    classes = np.full(len(values), -1)
    classes[known] = sum(_switch(values[known], cut, band) for cut in np.asarray(cuts))
    return classes


def _switch(values: Floats, cut: float, band: float) -> npt.NDArray[np.int64]:
    decided = (values > cut + band) | (values < cut - band)
    decided[:1] = True
    last = np.maximum.accumulate(np.where(decided, np.arange(len(values)), 0))
    return (values > cut)[last].astype(np.int64)


def ewma_baselines(
    bars: pd.DataFrame,
    quantiles: Sequence[Sequence[float]] = ((0.5, 0.9), (0.25, 0.75)),
    bands: Sequence[float] = (0.0, 0.2),
    halflife: float = 30.0,
) -> dict[str, EwmaThresholds]:
    """Baselines fitted on training `bars`, by a name such as ``EWMA 50/90 +-0.2``."""
    fitted = {}
    for cuts in quantiles:
        for band in bands:
            name = "EWMA " + "/".join(f"{100 * q:g}" for q in cuts)
            name += f" +-{band:g}" if band else ""
            fitted[name] = EwmaThresholds(halflife, cuts, band).fit(bars)
    return fitted
