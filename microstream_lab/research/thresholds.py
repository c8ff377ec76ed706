"""Regimes by one causal level cut at training quantiles, with an optional band of hysteresis.

Invariant: cuts and band are learnt from training bars only, and the signal of a bar knows nothing
later, so that what is made of this stands in any table beside a bundle, under the same rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import FitError, SettingsError
from microstream_lab.schema import interval_us, series_key

__all__ = ["CALMEST", "CutLevel", "ends_at", "hysteresis", "narrowest_band", "switches_per_hour"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

CALMEST: Final = -16.0
"""Log volatility of a halted market: finite, and below any that trades."""

_WIDEST: Final = 4.0
_STEPS: Final = 10


class CutLevel(ABC):
    """Regimes by the size of a level that a subclass computes for every bar.

    Parameters
    ----------
    shares : sequence of K floats
        Share of the training bars that each regime gets, calmest first; they sum to 1.
    band : float
        A regime is left only once the level is this far beyond the cut.
    max_switches : float, optional
        Instead of a given band, the narrowest one with which the training bars do not switch more
        often than this, per hour.

    Attributes
    ----------
    cuts_ : ndarray of shape (K-1,)
        Cuts of the level.
    band_ : float
        The band in use.
    end : int
        Training end, us UTC, exclusive.
    """

    cuts_: Floats
    band_: float
    end: int

    def __init__(
        self,
        shares: Sequence[float] = (0.5, 0.4, 0.1),
        band: float = 0.0,
        max_switches: float | None = None,
    ) -> None:
        self.shares = shares
        self.band = band
        self.max_switches = max_switches

    @abstractmethod
    def level(self, bars: pd.DataFrame) -> pd.Series:
        """Level of each bar, high means volatile; NaN where it is not known yet."""

    def fit(self, bars: pd.DataFrame) -> Self:
        """Learn from training bars; raises :class:`FitError` if they give no level."""
        quantiles = _quantiles(self.shares)
        self._learn(bars)
        level = self.level(bars).dropna()
        if level.empty:
            raise FitError(f"{type(self).__name__}: found {len(bars)} bars without a level")
        self.cuts_ = np.quantile(level, quantiles)
        self.band_ = self.band
        if self.max_switches is not None:
            step = interval_us(series_key(bars)[2])
            self.band_ = narrowest_band(level.to_numpy(), self.cuts_, self.max_switches, step)
        return self

    def signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """``regime``, ``p_0 .. p_{K-1}`` (0 or 1: a cut has no doubts), ``expected_stress``.

        The stress is the level itself.
        """
        level = self.level(bars)
        regime = hysteresis(level.to_numpy(), self.cuts_, self.band_)
        frame = pd.DataFrame({"regime": regime.astype(np.int8)}, index=bars.index)
        for k in range(len(self.cuts_) + 1):
            frame[f"p_{k}"] = np.where(regime < 0, np.nan, regime == k)
        return frame.assign(expected_stress=level)

    def _learn(self, bars: pd.DataFrame) -> None:
        """Fit what the level itself needs."""
        self.end = ends_at(bars)


def hysteresis(values: Floats, cuts: npt.ArrayLike, band: float) -> Ints:
    """Class of each value by ascending `cuts`, changed only ``band`` beyond a cut; NaN gives -1.

    Each cut is a switch of its own that turns on above ``cut + band`` and off below
    ``cut - band``; since the cuts ascend, their sum is the class. Starts with no band, and keeps
    its state through NaN.
    """
    known = ~np.isnan(values)
    classes = np.full(len(values), -1)
    classes[known] = sum(_switch(values[known], cut, band) for cut in np.asarray(cuts))
    return classes


def narrowest_band(values: Floats, cuts: npt.ArrayLike, max_switches: float, step_us: int) -> float:
    """Half-width with which `values` change class at most `max_switches` times an hour.

    Found by halving, to 0.4 % of a log unit; 0 where a plain cut is steady enough.

    Raises
    ------
    SettingsError
        If `max_switches` is not positive.
    """
    if not max_switches > 0:
        raise SettingsError(f"max_switches: found {max_switches}, expected more than 0 an hour")
    if switches_per_hour(hysteresis(values, cuts, 0.0), step_us) <= max_switches:
        return 0.0
    narrow, wide = 0.0, _WIDEST
    for _ in range(_STEPS):
        middle = (narrow + wide) / 2
        steady = switches_per_hour(hysteresis(values, cuts, middle), step_us) <= max_switches
        narrow, wide = (narrow, middle) if steady else (middle, wide)
    return wide


def switches_per_hour(regime: npt.NDArray[np.integer], step_us: int) -> float:
    """Changes from one known regime to another, by hour of bars with a known regime."""
    known = regime >= 0
    switches = np.count_nonzero((np.diff(regime) != 0) & known[1:] & known[:-1])
    hours = np.count_nonzero(known) * step_us / 3_600_000_000
    return switches / hours if hours else float("nan")


def ends_at(bars: pd.DataFrame) -> int:
    """Where a training on `bars` ends: the moment after its last bar, us UTC."""
    last = pd.DatetimeIndex(bars.index).as_unit("us").asi8[-1]
    return int(last) + interval_us(series_key(bars)[2])


def _quantiles(shares: Sequence[float]) -> Floats:
    parts = np.asarray(shares, np.float64)
    if len(parts) < 2 or not (parts > 0).all() or abs(parts.sum() - 1) > 1e-9:
        raise SettingsError(f"shares: found {shares}, expected two or more that sum to 1")
    quantiles: Floats = parts.cumsum()[:-1]
    return quantiles


def _switch(values: Floats, cut: float, band: float) -> Ints:
    decided = (values > cut + band) | (values < cut - band)
    decided[:1] = True
    last = np.maximum.accumulate(np.where(decided, np.arange(len(values)), 0))
    return (values > cut)[last].astype(np.int64)
