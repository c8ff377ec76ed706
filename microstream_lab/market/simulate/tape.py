"""One simulated day of trades, drawn from what its scenario declares.

Invariant: a day is a pure function of its generator, its opening and what the day before left
(:class:`Carry`), so that days can be drawn one after another for ever in bounded memory.

Trades come in bursts (a Neyman-Scott process), a burst shares its taker side, the mid price
diffuses in time and is moved for good by the part of the flow that was not expected.

References
----------
Hasbrouck (1991), Measuring the information content of stock trades, for the impact of unexpected
flow; Roll (1984), A simple implicit measure of the effective bid-ask spread, for the bounce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from microstream_lab.market.simulate.events import (
    Influence,
    MarketEvent,
    draw_events,
    fall,
    influence_of,
)
from microstream_lab.market.simulate.scenario import (
    CLUSTER_SIZE,
    SIGN_MEMORY,
    RegimeSpec,
    Scenario,
    activity_of_day,
)

__all__ = ["DAY", "Carry", "Day", "Tape", "draw_day"]

DAY = 86_400_000_000
_MINUTE = 60_000_000
_SIZE_SPREAD = 1.2  # sigma of the log-normal sizes
_FAT_FINGER_SIZE = 40

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Tape(NamedTuple):
    """Trades as columns, in the order of the tape."""

    agg_id: Ints
    price: Floats
    quantity: Floats
    first_id: Ints
    last_id: Ints
    trade_time: Ints
    buyer_is_maker: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Carry:
    """What a day leaves to the next: regime, log mid price, last trade's time, ids."""

    state: int
    log_mid: float
    last_time: int
    next_agg_id: int = 1
    next_id: int = 1


@dataclass(frozen=True, slots=True)
class Day:
    """A day's trades, the regime of each of its bars and its events."""

    tape: Tape
    states: Ints
    events: list[MarketEvent]


@dataclass(frozen=True, slots=True)
class _Cells:
    """The day cut into cells of equal length, within which arrivals have one rate."""

    times: Ints
    length: int
    states: Ints
    activity: Floats
    influence: Influence
    regimes: Sequence[RegimeSpec]

    def of_regime(self, name: str, cells: Ints | slice = slice(None)) -> Floats:
        """The regime's parameter `name` in these cells."""
        values = np.array([getattr(spec, name) for spec in self.regimes], dtype=np.float64)
        return values[self.states[cells]]

    def imbalance(self, cells: Ints) -> Floats:
        """Mean taker side in these cells; an event overrules the regime."""
        event = self.influence.imbalance[cells]
        return np.where(event != 0, event, self.of_regime("imbalance", cells))


def draw_day(
    rng: np.random.Generator,
    opening: int,
    step: int,
    regimes: Sequence[RegimeSpec],
    scenario: Scenario,
    carry: Carry,
) -> tuple[Day, Carry]:
    """Draw the 24 hours from `opening` (us) in bars of `step` (us)."""
    states = _draw_states(rng, DAY // step, regimes, carry.state)
    events = draw_events(rng, opening, scenario.events_per_day)
    cells = _cut(opening, step, states, events, regimes, scenario.daily_rhythm)
    times, sides = _draw_arrivals(rng, cells)
    where = (times - opening) // cells.length
    log_mid, log_mid_after = _draw_mid(rng, cells, where, times, sides, carry)
    log_mid += fall(events, times)
    ticks = _quote(cells, where, log_mid, sides, scenario.tick_size)
    mean_size = cells.of_regime("mean_size", where) * cells.influence.size[where]
    sizes = mean_size * rng.lognormal(-(_SIZE_SPREAD**2) / 2, _SIZE_SPREAD, len(times))
    events = [_misprint(event, times, ticks, sides, sizes) for event in events]
    n_single = 1 + rng.poisson(0.3 * np.minimum(sizes / mean_size, 200))
    tape = _record(times, ticks, sides, sizes, n_single, scenario, carry)
    left = Carry(
        state=int(states[-1]),
        log_mid=log_mid_after,
        last_time=int(times[-1]),
        next_agg_id=carry.next_agg_id + len(times),
        next_id=int(tape.last_id[-1]) + 1,
    )
    return Day(tape, states, events), left


def _draw_states(
    rng: np.random.Generator, n_bars: int, regimes: Sequence[RegimeSpec], state: int
) -> Ints:
    """The chain of :func:`.transition_matrix`, drawn stay by stay."""
    states, bar = np.empty(n_bars, dtype=np.int64), 0
    moves = rng.random() * regimes[state].mean_stay < 1
    while bar < n_bars:
        if moves:
            neighbours = [k for k in (state - 1, state + 1) if 0 <= k < len(regimes)]
            state = neighbours[rng.integers(len(neighbours))]
        stay = int(rng.geometric(1 / regimes[state].mean_stay))
        states[bar : bar + stay] = state
        bar, moves = bar + stay, True
    return states


def _cut(
    opening: int,
    step: int,
    states: Ints,
    events: Sequence[MarketEvent],
    regimes: Sequence[RegimeSpec],
    rhythm: float,
) -> _Cells:
    length = min(step, _MINUTE)
    times = np.arange(opening, opening + DAY, length, dtype=np.int64)
    activity = activity_of_day(times + length // 2, rhythm)
    of_cells = np.repeat(states, step // length)
    return _Cells(times, length, of_cells, activity, influence_of(events, times), regimes)


def _draw_arrivals(rng: np.random.Generator, cells: _Cells) -> tuple[Ints, NDArray[np.int64]]:
    """Times (us) and taker sides (1 buys, -1 sells) of the day's trades, in order of time."""
    rate = cells.of_regime("trades_per_minute") * cells.activity * cells.influence.arrivals
    n_bursts = rng.poisson(rate * cells.length / _MINUTE / CLUSTER_SIZE)
    n_bursts[0] += n_bursts[0] == 0  # a day opens with a trade, so its first bar has a price
    of_burst = np.repeat(np.arange(len(cells.times)), n_bursts)
    burst = cells.times[of_burst] + rng.integers(0, cells.length, len(of_burst))
    lean = cells.imbalance(of_burst) / SIGN_MEMORY
    side = np.where(rng.random(len(burst)) < (1 + lean) / 2, 1, -1)
    size = rng.geometric(1 / CLUSTER_SIZE, len(burst))
    times, sides = np.repeat(burst, size), np.repeat(side, size)
    delay = rng.exponential(cells.length / 100, len(times)).astype(np.int64)
    delay[np.cumsum(size) - size] = 0
    late = times + delay >= cells.times[0] + DAY
    times += np.where(late, 0, delay)
    sides *= np.where(rng.random(len(times)) < (1 + SIGN_MEMORY) / 2, 1, -1)
    order = np.argsort(times, kind="stable")
    return times[order], sides[order]


def _draw_mid(
    rng: np.random.Generator,
    cells: _Cells,
    where: Ints,
    times: Ints,
    sides: Ints,
    carry: Carry,
) -> tuple[Floats, float]:
    """Log mid price just before each trade, and after the last."""
    explained = np.array([spec.impact_variance for spec in cells.regimes])[cells.states[where]]
    variance = cells.of_regime("volatility", where) ** 2 - explained
    minutes = np.diff(times, prepend=carry.last_time) / _MINUTE
    spread = np.sqrt(variance * cells.activity[where] * minutes)
    impact = cells.of_regime("impact", where) * cells.influence.impact[where]
    surprise = impact * (sides - cells.imbalance(where))
    after = carry.log_mid + np.cumsum(spread * rng.standard_normal(len(times)) + surprise)
    return after - surprise, float(after[-1])


def _quote(cells: _Cells, where: Ints, log_mid: Floats, sides: Ints, tick_size: float) -> Ints:
    """Traded price in ticks: the ask for who buys, the bid for who sells."""
    spread = np.rint(cells.of_regime("spread_ticks", where) * cells.influence.spread[where])
    bid = np.rint(np.exp(log_mid) / tick_size - spread / 2)
    return np.maximum(np.where(sides > 0, bid + spread, bid), 1).astype(np.int64)


def _misprint(
    event: MarketEvent, times: Ints, ticks: Ints, sides: Ints, sizes: Floats
) -> MarketEvent:
    """Put a fat finger on the tape, at the first trade from its start on, and date it there."""
    if event.kind != "fat_finger":
        return event
    row = min(int(np.searchsorted(times, event.start)), len(times) - 1)
    ticks[row] = max(1, round(ticks[row] * np.exp(sides[row] * event.depth)))
    sizes[row] *= _FAT_FINGER_SIZE
    return replace(event, start=int(times[row]), end=int(times[row]) + 1)


def _record(
    times: Ints,
    ticks: Ints,
    sides: Ints,
    sizes: Floats,
    n_single: Ints,
    scenario: Scenario,
    carry: Carry,
) -> Tape:
    last_ids = carry.next_id - 1 + np.cumsum(n_single)
    lots = np.maximum(np.rint(sizes / scenario.lot_size), 1)
    return Tape(
        agg_id=carry.next_agg_id + np.arange(len(times)),
        price=ticks / round(1 / scenario.tick_size),
        quantity=lots / round(1 / scenario.lot_size),
        first_id=last_ids - n_single + 1,
        last_id=last_ids,
        trade_time=times,
        buyer_is_maker=sides < 0,
    )
