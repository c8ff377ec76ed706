"""A seeded market whose regimes, parameters and rare events are known.

Invariant: the same seed gives the same bytes, and a longer market begins with the shorter one:
every day has a random stream of its own, and what it takes from the day before is only the regime,
the price and the ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microstream_lab.bars import bars_from_trades
from microstream_lab.errors import SettingsError
from microstream_lab.market.simulate.events import MarketEvent
from microstream_lab.market.simulate.scenario import RegimeSpec, Scenario, transition_matrix
from microstream_lab.market.simulate.tape import DAY, Carry, Day, Tape, draw_day
from microstream_lab.market.wire import trades_frame
from microstream_lab.schema import TIME_DTYPE, as_micros, interval_us

__all__ = ["SimulatedMarket", "simulate_days", "simulate_market"]

_EVENT_COLUMNS = ("kind", "start", "end")


@dataclass(frozen=True, slots=True)
class SimulatedMarket:
    """Simulated trades, their bars, and the truth behind them.

    Parameters
    ----------
    trades : DataFrame
        As :func:`~microstream_lab.bars.bars_from_trades` takes them; ``market`` is ``sim``.
    bars : DataFrame
        A bars frame without a hole.
    states : ndarray of int64, shape (n_bars,)
        Regime of each bar, 0 (calmest) .. K-1.
    events : DataFrame
        ``kind`` (flash_crash, liquidity_void, fat_finger), ``start`` and ``end`` (excluded) of the
        injected events.
    regimes : tuple of RegimeSpec
        How the market trades in each regime.
    """

    trades: pd.DataFrame
    bars: pd.DataFrame
    states: NDArray[np.int64]
    events: pd.DataFrame
    regimes: tuple[RegimeSpec, ...]


def simulate_market(
    start: object,
    n_bars: int,
    interval: str = "1m",
    n_regimes: int = 3,
    seed: int = 0,
    scenario: Scenario | None = None,
) -> SimulatedMarket:
    """Simulate `n_bars` bars of trading.

    Parameters
    ----------
    start : timestamp, str or int of microseconds
        Opening time of the first bar, on the interval's grid.
    n_bars : int
        Number of bars.
    interval : str
        Such as ``"1m"``.
    n_regimes : int
        Number of regimes, 2 .. 12; with three the market is calm, highly volatile and in crisis
        about 50, 40 and 10 % of the time.
    seed : int
        Same seed, same market; more bars begin with the same bars.
    scenario : Scenario, optional
        Symbol, price, grids, regimes and events, where the usual ones do not serve.

    Raises
    ------
    SettingsError
        If an argument cannot be used.
    """
    if not isinstance(n_bars, (int, np.integer)) or n_bars < 1:
        raise SettingsError(f"n_bars: found {n_bars!r}, expected a whole number from 1 on")
    plan = _Plan.of(start, interval, n_regimes, seed, scenario)
    n_days = -(-int(n_bars) * plan.step // DAY)
    days = list(islice(plan.days(), n_days))
    return plan.market(days, plan.opening, plan.opening + int(n_bars) * plan.step)


def simulate_days(
    start: object,
    interval: str = "1m",
    n_regimes: int = 3,
    seed: int = 0,
    scenario: Scenario | None = None,
) -> Iterator[SimulatedMarket]:
    """Simulate day after day, without end and in bounded memory.

    The days joined are the market that :func:`simulate_market` makes of the same arguments. A day
    is the 24 hours from the time of day of `start`.

    Raises
    ------
    SettingsError
        If an argument cannot be used; at the call, not at the first day.
    """
    plan = _Plan.of(start, interval, n_regimes, seed, scenario)
    openings = count(plan.opening, DAY)
    return (
        plan.market([day], opening, opening + DAY)
        for opening, day in zip(openings, plan.days(), strict=False)
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """Checked arguments of a simulation."""

    opening: int
    interval: str
    step: int
    seed: int
    scenario: Scenario
    regimes: tuple[RegimeSpec, ...]

    @classmethod
    def of(
        cls, start: object, interval: str, n_regimes: int, seed: int, scenario: Scenario | None
    ) -> _Plan:
        step, opening, scenario = interval_us(interval), as_micros(start), scenario or Scenario()
        if opening % step:
            raise SettingsError(f"start: found {start!r}, expected a multiple of {interval}")
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise SettingsError(f"seed: found {seed!r}, expected a whole number from 0 on")
        regimes = scenario.regimes_for(n_regimes, interval)
        return cls(opening, interval, step, int(seed), scenario, regimes)

    def days(self) -> Iterator[Day]:
        """Days drawn one after another, without end."""
        first = int(np.random.default_rng([self.seed]).choice(len(self.regimes), p=self._usual()))
        carry = Carry(first, float(np.log(self.scenario.price)), self.opening)
        for number in count():
            rng = np.random.default_rng([self.seed, number + 1])
            opening = self.opening + number * DAY
            day, carry = draw_day(rng, opening, self.step, self.regimes, self.scenario, carry)
            yield day

    def _usual(self) -> NDArray[np.float64]:
        """Stationary distribution of the regimes: neighbours meet as often as they are left."""
        n_neighbours = (transition_matrix(self.regimes) > 0).sum(axis=1) - 1
        weights = np.array([spec.mean_stay for spec in self.regimes]) * n_neighbours
        return np.asarray(weights / weights.sum())

    def market(self, days: Sequence[Day], opening: int, closing: int) -> SimulatedMarket:
        """Frames of what happened from `opening` to `closing` (us)."""
        by_column = zip(*(day.tape for day in days), strict=True)
        tape = Tape(*(np.concatenate(parts) for parts in by_column))
        n_trades = int(np.searchsorted(tape.trade_time, closing))
        columns = {name: column[:n_trades] for name, column in tape._asdict().items()}
        trades = trades_frame(columns, self.scenario.symbol, "sim")
        states = np.concatenate([day.states for day in days])
        events = [event for day in days for event in day.events]
        return SimulatedMarket(
            trades,
            bars_from_trades(trades, self.interval, until=closing),
            states[: (closing - opening) // self.step],
            _events_frame(events, closing),
            self.regimes,
        )


def _events_frame(events: Sequence[MarketEvent], closing: int) -> pd.DataFrame:
    rows = [(e.kind, e.start, min(e.end, closing)) for e in events if e.start < closing]
    frame = pd.DataFrame(rows, columns=list(_EVENT_COLUMNS))
    times = {name: pd.to_datetime(frame[name], unit="us", utc=True) for name in ("start", "end")}
    return frame.assign(**times).astype({"kind": "str", **dict.fromkeys(times, TIME_DTYPE)})
