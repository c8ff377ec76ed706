"""Anomalies put into a market where it is known that they are there.

Four kinds, each as far off as the market's own recent range makes it: a **flash crash** falls and
recovers inside one to three bars amid a burst of selling; a **liquidity void** lasts five to ten
bars in which little trades over a wide range; a **fat finger** is one print far off, a wick of an
otherwise ordinary bar; a **stalled feed** repeats the last close without a trade.

Invariant: same bars, same seed, same injections; the bars stay valid (open and close lie between
low and high, takers buy no more than trades) and those outside of events are untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.schema import BAR_VALUES, interval_us, require_bars, series_key

__all__ = ["KINDS", "STRENGTHS", "Injected", "inject"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Columns: TypeAlias = dict[str, Floats]
Event: TypeAlias = Callable[[Columns, int, float, int, np.random.Generator], int]

STRENGTHS: Final = ("mild", "marked", "severe")
_LEAD: Final = 60
_LONGEST: Final = 12
_AMOUNTS: Final = ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")


@dataclass(frozen=True, eq=False)
class Injected:
    """Bars with anomalies in them.

    Attributes
    ----------
    bars : DataFrame
        A bars frame on the index of the original.
    events : ndarray of int64, shape (n_bars,)
        Number of the event each bar belongs to, from 0 on; -1 outside.
    """

    bars: pd.DataFrame
    events: Ints

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return int(self.events.max()) + 1


def inject(
    bars: pd.DataFrame, kind: str, strength: str = "marked", n_events: int = 30, seed: int = 0
) -> Injected:
    """Put `n_events` anomalies of one kind into a copy of `bars`, spread over all of it.

    Parameters
    ----------
    bars : DataFrame
        A bars frame, one series.
    kind : str
        One of :data:`KINDS`.
    strength : str
        One of :data:`STRENGTHS`: how deep, wide or long.
    n_events : int
        Events, one in each of as many equal parts of the series.
    seed : int
        Of places and shapes.

    Raises
    ------
    SettingsError
        If kind or strength are unknown.
    DataError
        If the bars have no room for so many events.
    """
    if kind not in KINDS or strength not in STRENGTHS:
        known = f"{' '.join(KINDS)} and {' '.join(STRENGTHS)}"
        raise SettingsError(f"injection: found {kind!r}, {strength!r}, expected one of {known}")
    rng = np.random.default_rng([seed, list(KINDS).index(kind), STRENGTHS.index(strength)])
    starts = _starts(require_bars(bars), n_events, rng)
    columns = {name: bars[name].to_numpy(np.float64, copy=True) for name in BAR_VALUES}
    ranges = np.log(columns["high"] / columns["low"])
    events = np.full(len(bars), -1, np.int64)
    for number, start in enumerate(starts):
        usual = float(ranges[start - _LEAD : start].mean())
        length = KINDS[kind](columns, start, usual, STRENGTHS.index(strength), rng)
        events[start : start + length] = number
    columns["trades"] = np.round(columns["trades"]).astype(bars["trades"].to_numpy().dtype)
    return Injected(bars.assign(**columns), events)


def _starts(bars: pd.DataFrame, n_events: int, rng: np.random.Generator) -> list[int]:
    """A row in each part of the series, with an hour before and room after, no bar missing."""
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    step, room = interval_us(series_key(bars)[2]), 2 * _LONGEST
    span = _LEAD + room
    whole = np.flatnonzero(times[span:] - times[:-span] == span * step) + _LEAD
    parts = np.array_split(np.arange(len(bars)), n_events)
    rooms = [whole[(whole >= part[0]) & (whole + room <= part[-1])] for part in parts if len(part)]
    if len(rooms) < n_events or min(map(len, rooms), default=0) == 0:
        found = f"{len(bars)} bars for {n_events} events"
        raise DataError("injections", found, f"{span} bars in a row, and {room} in each part")
    return [int(rng.choice(room)) for room in rooms]


def _flash_crash(
    columns: Columns, start: int, usual: float, strength: int, rng: np.random.Generator
) -> int:
    depth = (4, 8, 16)[strength] * usual * rng.uniform(0.8, 1.2)
    burst = (2, 4, 8)[strength] * rng.uniform(0.8, 1.2)
    length = int(rng.integers(1, 4))
    closes = -depth * np.array([[0.0], [0.9, 0.0], [0.9, 0.5, 0.0]][length - 1])
    opens = np.append(0.0, closes[:-1])
    rows = slice(start, start + length)
    lowest = np.minimum(opens, closes)
    lowest[0] = -depth
    columns["open"][rows] *= np.exp(opens)
    columns["close"][rows] *= np.exp(closes)
    columns["high"][rows] *= np.exp(np.maximum(opens, closes))
    columns["low"][rows] *= np.exp(lowest)
    _contain(columns, rows)
    _trade(columns, rows, burst, bought=rng.uniform(0.15, 0.35))
    return length


def _liquidity_void(
    columns: Columns, start: int, usual: float, strength: int, rng: np.random.Generator
) -> int:
    left = 1 / (4, 8, 16)[strength]
    wider = (1.5, 2.0, 3.0)[strength] * usual
    length = int(rng.integers(5, 11))
    rows = slice(start, start + length)
    missing = wider * rng.uniform(0.8, 1.2, length)
    missing -= np.log(columns["high"][rows] / columns["low"][rows])
    missing = np.maximum(missing, 0.0)
    up = rng.uniform(0.0, 1.0, length)
    columns["high"][rows] *= np.exp(up * missing)
    columns["low"][rows] *= np.exp((up - 1.0) * missing)
    _trade(columns, rows, left)
    columns["trades"][rows] = np.maximum(columns["trades"][rows], 1.0)
    return length


def _fat_finger(
    columns: Columns, start: int, usual: float, strength: int, rng: np.random.Generator
) -> int:
    wick = (4, 8, 16)[strength] * usual * rng.uniform(0.8, 1.2)
    if rng.random() < 0.5:
        columns["high"][start] = columns["high"][start] * np.exp(wick)
    else:
        columns["low"][start] = columns["low"][start] * np.exp(-wick)
    return 1


def _stalled_feed(
    columns: Columns, start: int, usual: float, strength: int, rng: np.random.Generator
) -> int:
    length = int(rng.integers(*((2, 4), (4, 7), (7, _LONGEST + 1))[strength]))
    rows = slice(start, start + length)
    for name in ("open", "high", "low", "close"):
        columns[name][rows] = columns["close"][start - 1]
    for name in _AMOUNTS:
        columns[name][rows] = 0.0
    return length


KINDS: Final[dict[str, Event]] = {
    "flash crash": _flash_crash,
    "liquidity void": _liquidity_void,
    "fat finger": _fat_finger,
    "stalled feed": _stalled_feed,
}
"""What can be injected: a function that changes columns from a row on and tells how many rows."""


def _contain(columns: Columns, rows: slice) -> None:
    """Widen the range where open or close would lie outside of it."""
    bodies = np.array([columns["open"][rows], columns["close"][rows]])
    columns["high"][rows] = np.maximum(columns["high"][rows], bodies.max(axis=0))
    columns["low"][rows] = np.minimum(columns["low"][rows], bodies.min(axis=0))


def _trade(columns: Columns, rows: slice, factor: float, bought: float | None = None) -> None:
    """Multiply what traded; takers bought the share `bought` of it, or as before."""
    for name in _AMOUNTS:
        columns[name][rows] *= factor
    middle = (columns["high"][rows] + columns["low"][rows]) / 2
    columns["quote_volume"][rows] = columns["volume"][rows] * middle
    if bought is not None:
        columns["taker_buy_base"][rows] = bought * columns["volume"][rows]
    columns["taker_buy_quote"][rows] = columns["taker_buy_base"][rows] * middle
