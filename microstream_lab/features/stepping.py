"""Features one bar at a time, compiled: one loop over a table of forms.

Invariant: float operations and their order are those of the features' own ``update``, so the two
agree in every bit. Importing this module imports numba; what was compiled is cached.
"""

from __future__ import annotations

from math import isnan, log, nan, sqrt
from typing import Final

from microstream_lab.compiled import compiled
from microstream_lab.features.forms import Kind, Measure

__all__ = ["advance"]

_WEEK: Final = 7 * 86_400_000_000
_FIRST_MONDAY: Final = 4 * 86_400_000_000
_MILLION: Final = 1e6


@compiled
def advance(bar, steps, forms, memory, row):  # type: ignore[no-untyped-def]
    """Write the features of the next bar to `row`; where a form is plain, what is there stays.

    Parameters
    ----------
    bar : tuple
        Open time, open, high, low, close, volume, quote volume and number of trades.
    steps : int
        Grid steps since the bar before.
    forms : array of :data:`~microstream_lab.features.forms.FORM` of shape (n_features,)
    memory : array of float64, written
        The last close, the measures of the bar, and what each form remembers. All zero at first.
    row : array of shape (n_features,), written
    """
    last_close, memory[0] = memory[0], bar[4]
    _measure(bar, last_close if steps == 1 else 0.0, memory)
    for number in range(len(forms)):
        form = forms[number]
        if steps > 1 and form.forgets:
            memory[form.place : form.place + form.size] = 0.0
        if form.kind != Kind.PLAIN:
            row[number] = _updated(form, memory[1 + form.value], memory[1 + form.usual], memory)


@compiled
def _measure(bar, last_close, memory):  # type: ignore[no-untyped-def]
    """Everything that forms may ask of a bar; `last_close` is 0 where it is not known."""
    measures = memory[1:]
    open_time, first, high, low, close, volume, quote_volume, trades = bar
    log_range, body = log(high / low), log(close / first)
    root = sqrt(trades) if trades > 0 else 0.0
    change = log(close / last_close) if last_close != 0.0 else nan
    millions = quote_volume / _MILLION
    measures[Measure.HIGH], measures[Measure.LOW] = high, low
    measures[Measure.VOLUME], measures[Measure.QUOTE_VOLUME] = volume, quote_volume
    measures[Measure.TRADES] = trades
    measures[Measure.TIME_OF_WEEK] = (open_time - _FIRST_MONDAY) % _WEEK / _WEEK
    measures[Measure.LOG_CHANGE] = change
    measures[Measure.RANGE] = (high - low) / first
    measures[Measure.LOG_RANGE] = log_range
    measures[Measure.IMPACT] = abs(change) / millions if millions > 0 else nan
    measures[Measure.RANGE_PER_ROOT] = log_range / root if root > 0 else 0.0
    measures[Measure.BODY_PER_ROOT] = body / root if root > 0 else 0.0
    measures[Measure.WICK_PER_ROOT] = (log_range - abs(body)) / root if root > 0 else 0.0


@compiled
def _updated(form, value, usual, memory):  # type: ignore[no-untyped-def]
    """The feature of the next bar."""
    place = form.place
    if form.kind == Kind.VALUE:
        return value
    if form.kind == Kind.MEAN:
        return _decayed(value, form.factor, form.n_bars, memory, place)
    if form.kind == Kind.RATIO:
        seen = memory[place + 6] = min(memory[place + 6] + 1.0, form.warm_up + 1.0)
        now = _decayed(value, form.factor, form.n_bars, memory, place)
        level = _decayed(value, form.usual_factor, 1, memory, place + 3)
        return now / level if seen > form.warm_up and level > 0 else nan
    if form.kind == Kind.SURPRISE:
        expected = _decayed(nan, form.factor, form.n_bars, memory, place)
        _decayed(usual, form.factor, form.n_bars, memory, place)
        return value / expected if expected > 0 else nan
    if form.kind == Kind.SHARE:
        total = _slid(value, form.n_bars, memory, place)
        return value / total * form.n_bars if total > 0 else nan
    return _span(value, usual, form.n_bars, memory, place)


@compiled
def _decayed(value, factor, least, memory, place):  # type: ignore[no-untyped-def]
    """The mean after the next observation; remembered are total, weight and observations."""
    total, weight, seen = memory[place], memory[place + 1], memory[place + 2]
    if not isnan(value):
        total, weight, seen = factor * total + value, factor * weight + 1.0, seen + 1.0
        memory[place], memory[place + 1], memory[place + 2] = total, weight, seen
    return total / weight if seen >= least else nan


@compiled
def _slid(value, length, memory, place):  # type: ignore[no-untyped-def]
    """The sum after the next observation; see :class:`~microstream_lab.features.memory.SlidingSum`.

    Remembered are observations in the block, full blocks (0 or 1), their running and last sum, and
    then the block and the sums of the one before, backwards.
    """
    kept = memory[place : place + 4 + 2 * length]
    filled, running = int(kept[0]), kept[2]
    block, tails = kept[4 : 4 + length], kept[4 + length :]
    if not isnan(value):
        running = running + value if filled > 0 else value
        block[filled] = value
        filled += 1
        if filled == length:
            kept[1], kept[3], tail = 1.0, running, 0.0
            for number in range(length - 1, -1, -1):
                tail += block[number]
                tails[number] = tail
            filled = 0
        elif kept[1] > 0:
            kept[3] = running + tails[filled]
        kept[0], kept[2] = filled, running
    return kept[3] if kept[1] > 0 else nan


@compiled
def _span(high, low, length, memory, place):  # type: ignore[no-untyped-def]
    """Log of the highest over the lowest; remembered are the bars so far, and rings of both."""
    seen = int(memory[place])
    highs = memory[place + 1 : place + 1 + length]
    lows = memory[place + 1 + length : place + 1 + 2 * length]
    highs[seen % length], lows[seen % length] = high, low
    memory[place] = seen + 1 if seen + 1 < 2 * length else length  # a full ring, at the same place
    highest, lowest = high, low
    for number in range(min(seen + 1, length)):
        highest, lowest = max(highest, highs[number]), min(lowest, lows[number])
    return log(highest / lowest)
