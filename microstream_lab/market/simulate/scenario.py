"""What a simulated market is told to be: its regimes, its clock of the day and its rare events.

Invariant: everything here is declared, nothing is drawn; the simulator in
:mod:`microstream_lab.market.simulate.market` does the drawing, and tests compare it with this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microstream_lab.errors import SettingsError
from microstream_lab.schema import interval_us

__all__ = [
    "CLUSTER_SIZE",
    "SIGN_MEMORY",
    "RegimeSpec",
    "Scenario",
    "activity_of_day",
    "default_regimes",
    "flow_variance",
    "transition_matrix",
]

CLUSTER_SIZE = 3.0
"""Mean number of trades in a burst; their number is geometric."""
SIGN_MEMORY = 0.7
"""Correlation of a trade's taker side with the side of its burst."""

_MINUTE = 60_000_000
_DAY = 1440 * _MINUTE
_BUSIEST = 15 * 60 * _MINUTE  # 15:00 UTC, when Europe and America are both awake
_IMPACT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class RegimeSpec:
    """How the market trades while in one regime.

    Parameters
    ----------
    trades_per_minute : float
        Mean arrival rate of aggregate trades.
    volatility : float
        Standard deviation of the log return of one minute, price impact included.
    spread_ticks : int
        Distance of best bid and ask in ticks.
    impact : float
        Permanent log price move by one trade whose side was not expected.
    imbalance : float
        Mean taker side, -1 (all sell) .. 1 (all buy).
    mean_size : float
        Mean quantity of an aggregate trade in base units; sizes are log-normal.
    mean_stay : float
        Mean number of bars before the regime changes.
    """

    trades_per_minute: float
    volatility: float
    spread_ticks: int
    impact: float
    imbalance: float
    mean_size: float
    mean_stay: float

    def __post_init__(self) -> None:
        """Refuse what no market can be."""
        for name in ("trades_per_minute", "volatility", "mean_size"):
            if not 0 < getattr(self, name) < np.inf:
                raise SettingsError(f"{name}: found {getattr(self, name)}, expected above zero")
        if not self.spread_ticks >= 1:
            raise SettingsError(f"spread_ticks: found {self.spread_ticks}, expected 1 or more")
        if not 1 <= self.mean_stay < np.inf:
            raise SettingsError(f"mean_stay: found {self.mean_stay}, expected 1 bar or more")
        if not abs(self.imbalance) < SIGN_MEMORY:
            found = f"imbalance: found {self.imbalance}"
            raise SettingsError(f"{found}, expected less than {SIGN_MEMORY} in size")
        if self.impact < 0 or self.impact_variance > self.volatility**2:
            found = f"impact: found {self.impact}"
            raise SettingsError(f"{found}, expected from 0 to what the volatility leaves room for")

    @property
    def impact_variance(self) -> float:
        """The part of a minute's return variance that taker flow makes."""
        return self.trades_per_minute * self.impact**2 * flow_variance(self.imbalance)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a simulated market is like besides the course of its regimes.

    Parameters
    ----------
    regimes : sequence of RegimeSpec, optional
        Calmest first; by default :func:`default_regimes`.
    symbol : str
        Name of the series.
    price : float
        Mid price at the start.
    tick_size, lot_size : float
        Grid of prices and of quantities; one over a whole number.
    daily_rhythm : float
        Amplitude of the day's rhythm in arrivals and variance, 0 (none) .. 1.
    events_per_day : float
        Mean number of flash crashes, liquidity voids and fat-finger prints in a day.
    """

    regimes: Sequence[RegimeSpec] | None = None
    symbol: str = "SIMUSDT"
    price: float = 30_000.0
    tick_size: float = 0.1
    lot_size: float = 0.00001
    daily_rhythm: float = 0.4
    events_per_day: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        for name in ("tick_size", "lot_size"):
            size = getattr(self, name)
            if not 0 < size <= 1 or abs(1 / size - round(1 / size)) > 1e-6:
                raise SettingsError(f"{name}: found {size}, expected one over a whole number")
        if not 1000 * self.tick_size <= self.price < np.inf:
            raise SettingsError(f"price: found {self.price}, expected 1000 ticks or more")
        if not 0 <= self.daily_rhythm < 1:
            found = f"daily_rhythm: found {self.daily_rhythm}"
            raise SettingsError(f"{found}, expected from 0 to below 1")
        if not 0 <= self.events_per_day <= 24:
            found = f"events_per_day: found {self.events_per_day}"
            raise SettingsError(f"{found}, expected 0 .. 24")

    def regimes_for(self, n_regimes: int, interval: str) -> tuple[RegimeSpec, ...]:
        """The regimes, which have to be `n_regimes` where they are given."""
        if self.regimes is None:
            return default_regimes(n_regimes, interval)
        if len(self.regimes) != n_regimes or n_regimes < 2:
            found = f"regimes: found {len(self.regimes)}"
            raise SettingsError(f"{found}, expected n_regimes = {n_regimes}, at least 2")
        return tuple(self.regimes)


def flow_variance(imbalance: float) -> float:
    """Variance of the unexpected signed flow, per trade.

    Bursts arrive as a Poisson process and share a side, so a trade counts with its own variance
    and with its covariance to the ``2 * (CLUSTER_SIZE - 1)`` others of a geometric burst.
    """
    others = 2 * (CLUSTER_SIZE - 1)
    return 1 - imbalance**2 + others * (SIGN_MEMORY**2 - imbalance**2)


_CALM = RegimeSpec(16, 3e-4, 15, 0, 0.02, 0.05, 240)
_HIGH = RegimeSpec(36, 10e-4, 60, 0, -0.05, 0.08, 96)
_CRISIS = RegimeSpec(80, 30e-4, 300, 0, -0.15, 0.12, 48)
"""Busy 50, 40 and 10 % of the time: neighbours alternate, so the middle is visited twice."""


def default_regimes(n_regimes: int, interval: str) -> tuple[RegimeSpec, ...]:
    """Regimes from calm to crisis, in volatility evenly spaced on the log scale.

    Bars longer than a minute are traded more thinly, shorter ones more densely, by the root of
    their length, so that a year of days stays as handy as an hour of seconds.

    Raises
    ------
    SettingsError
        If `n_regimes` is not 2 .. 12.
    """
    if not 2 <= n_regimes <= 12:
        raise SettingsError(f"n_regimes: found {n_regimes}, expected 2 .. 12")
    density = (_MINUTE / interval_us(interval)) ** 0.5
    return tuple(_between(place, density) for place in np.linspace(0, 2, n_regimes))


def _between(place: float, density: float) -> RegimeSpec:
    """The regime at `place` on the way calm (0), high (1), crisis (2)."""

    def mix(name: str) -> float:
        known = np.log([getattr(spec, name) for spec in (_CALM, _HIGH, _CRISIS)])
        return float(np.exp(np.interp(place, [0, 1, 2], known)))

    imbalance = float(np.interp(place, [0, 1, 2], [0.02, -0.05, -0.15]))
    rate, volatility = mix("trades_per_minute") * density, mix("volatility")
    impact = volatility * (_IMPACT_SHARE / rate / flow_variance(imbalance)) ** 0.5
    size, stay = mix("mean_size"), mix("mean_stay")
    return RegimeSpec(rate, volatility, round(mix("spread_ticks")), impact, imbalance, size, stay)


def transition_matrix(regimes: Sequence[RegimeSpec]) -> NDArray[np.float64]:
    """Transition probabilities per bar; a regime is left for either neighbour alike.

    Returns
    -------
    ndarray of shape (n_regimes, n_regimes)
    """
    n_regimes = len(regimes)
    matrix = np.zeros((n_regimes, n_regimes))
    for k, spec in enumerate(regimes):
        neighbours = [j for j in (k - 1, k + 1) if 0 <= j < n_regimes]
        matrix[k, neighbours] = 1 / spec.mean_stay / len(neighbours)
        matrix[k, k] = 1 - 1 / spec.mean_stay
    return matrix


def activity_of_day(times: NDArray[np.int64], amplitude: float) -> NDArray[np.float64]:
    """Factor of the arrival rate, and of the variance, at these times (us): mean 1 over a day."""
    phase = 2 * np.pi * ((times - _BUSIEST) % _DAY) / _DAY
    return 1 + amplitude * np.cos(phase)
