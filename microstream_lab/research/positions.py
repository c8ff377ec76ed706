"""From signals to positions: what a strategy wants to hold, decided at each bar's close.

Invariant: the position of row t depends on rows up to t only. It is the backtest that lets it act
from bar t+1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.research.signals import require_filtered
from microstream_lab.schema import interval_us

__all__ = [
    "YEAR_US",
    "Exposure",
    "held_between",
    "leverage",
    "simple_returns",
    "target_positions",
    "within_band",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Exposure: TypeAlias = Sequence[float] | Mapping[int, float]

YEAR_US = 365 * 86_400_000_000
"""Crypto markets trade every day of the year."""


def target_positions(signals: pd.DataFrame, exposure: Exposure) -> Floats:
    """Position each signal asks for, shape (n_bars,); 0 where the regime is unknown."""
    n_regimes = require_filtered(signals)
    table = np.array([*_exposures(exposure, n_regimes), 0.0])
    positions: Floats = table[signals["regime"].to_numpy(np.int64)]
    return positions  # -1 took the last entry: flat


def _exposures(exposure: Exposure, n_regimes: int) -> list[float]:
    named = dict(exposure) if isinstance(exposure, Mapping) else dict(enumerate(exposure))
    if sorted(named) != list(range(n_regimes)) or not np.isfinite(list(named.values())).all():
        raise SettingsError(
            f"exposure: found {exposure!r}, expected one number for each of {n_regimes} regimes"
        )
    return [float(named[k]) for k in range(n_regimes)]


def simple_returns(bars: pd.DataFrame) -> Floats:
    """Close-to-close returns from the second bar on, shape (n_bars - 1,)."""
    close = bars["close"].to_numpy(np.float64)
    bad = ~(np.isfinite(close) & (close > 0))
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"bar {bars.index[row]}", f"close {close[row]}", "a positive price")
    returns: Floats = close[1:] / close[:-1] - 1
    return returns


def leverage(bars: pd.DataFrame, target: float, cap: float, halflife: float) -> Floats:
    """``min(cap, target / volatility)``, from returns up to each bar; 0 where there is none."""
    if not (target > 0 and cap > 0 and halflife > 0):
        found = f"{target}, {cap}, {halflife}"
        raise SettingsError(
            f"volatility_target, max_leverage, volatility_halflife: found {found}, expected > 0"
        )
    squares = pd.Series(simple_returns(bars) ** 2)
    variance = squares.ewm(halflife=halflife).mean().to_numpy()
    bars_per_year = YEAR_US / interval_us(str(bars["interval"].iloc[0]))
    with np.errstate(divide="ignore"):
        scale = np.minimum(cap, target / np.sqrt(variance * bars_per_year))
    return np.append(0.0, scale)


def held_between(targets: Floats, bars: pd.DataFrame, every: int) -> Floats:
    """Targets as of the last decision, one every `every` bars of the UTC clock; flat before."""
    if every < 1:
        raise SettingsError(f"decide_every: found {every}, expected at least one bar")
    step = interval_us(str(bars["interval"].iloc[0]))
    close = pd.DatetimeIndex(bars.index).as_unit("us").asi8 // step + 1
    rows = np.where(close % every == 0, np.arange(len(targets)), -1)
    last = np.maximum.accumulate(rows)
    return np.where(last >= 0, targets[last], 0.0)


def within_band(targets: Floats, band: float) -> Floats:
    """Targets without changes of up to `band`, going flat excepted."""
    from microstream_lab.research._band import hold_within_band  # compiled, hence only if asked

    held: Floats = hold_within_band(targets, band)
    return held
