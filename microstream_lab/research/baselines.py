"""What a regime model has to beat without learning anything but cuts: an EWMA volatility.

Invariant: see :mod:`microstream_lab.research.thresholds`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from microstream_lab.outcomes import log_returns
from microstream_lab.research.thresholds import CALMEST, CutLevel
from microstream_lab.schema import interval_us, series_key

__all__ = ["EwmaThresholds", "halflife_in_bars"]


class EwmaThresholds(CutLevel):
    """Regimes by the level of an EWMA of squared returns, with an optional hysteresis band.

    The level is the log of the EWMA volatility of one bar.

    Parameters
    ----------
    halflife_min : float
        Half-life of the EWMA in minutes, at least one bar.
    shares, band, max_switches
        See :class:`~microstream_lab.research.thresholds.CutLevel`.
    """

    def __init__(
        self,
        halflife_min: float = 30.0,
        shares: Sequence[float] = (0.5, 0.4, 0.1),
        band: float = 0.0,
        max_switches: float | None = None,
    ) -> None:
        super().__init__(shares, band, max_switches)
        self.halflife_min = halflife_min

    def level(self, bars: pd.DataFrame) -> pd.Series:
        """Log of the EWMA volatility of one bar; NaN before the first return."""
        squares = log_returns(bars) ** 2
        halflife = halflife_in_bars(bars, self.halflife_min)
        variance = squares.ewm(halflife=halflife, adjust=False, ignore_na=True).mean()
        with np.errstate(divide="ignore"):
            level: pd.Series = (0.5 * np.log(variance)).clip(lower=CALMEST)
        return level


def halflife_in_bars(bars: pd.DataFrame, minutes: float) -> float:
    """A half-life in minutes as a number of these bars, at least one."""
    return max(1.0, minutes * 60_000_000 / interval_us(series_key(bars)[2]))
