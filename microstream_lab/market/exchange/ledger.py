"""What has traded so far on one symbol: the truth that REST and the archive are served from.

Invariant: trades are only ever appended, in order of id; with a limit the oldest are forgotten, so
that an exchange which runs for ever holds a bounded number.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import pandas as pd

from microstream_lab.market.exchange.klines import as_bars, fold, settled, with_quiet
from microstream_lab.market.exchange.tape import AGG_ID, DUE, PRICE, QUANTITY, Ints, as_frame
from microstream_lab.schema import interval_us

__all__ = ["Ledger"]

_SMALLEST = 1 << 14


class _Held(NamedTuple):
    """Trades are the columns `start` to `stop` of `table`."""

    table: Ints
    start: int
    stop: int


class Ledger:
    """Trades of one symbol as they were played.

    Parameters
    ----------
    symbol, market : str
        Of the frames handed out.
    keep : int, optional
        Number of newest trades that are kept at least (twice as many at most); all by default.
    """

    def __init__(self, symbol: str, market: str, keep: int | None = None) -> None:
        self.symbol, self.market, self._keep = symbol, market, keep
        # Replaced as a whole, so that another thread never sees half of a change.
        self._held = _Held(np.empty((8, _SMALLEST), np.int64), 0, 0)
        self.n_forgotten = 0
        self.tick = self.lot = 0

    def __len__(self) -> int:
        return self._held.stop - self._held.start

    @property
    def tape(self) -> Ints:
        """What is kept, oldest first; it stays as it is, whatever is appended."""
        table, start, stop = self._held
        return table[:, start:stop]

    @property
    def n_bytes(self) -> int:
        """Memory set aside for what is kept."""
        return self._held.table.nbytes

    def at_rest(self) -> Ledger:
        """A ledger that stays as this one is now, for whoever reads it beside the event loop."""
        return copy.copy(self)

    def append(self, tape: Ints) -> None:
        """Add trades, forgetting old ones beyond the limit."""
        n_new = tape.shape[1]
        if not n_new:
            return
        table, start, stop = self._held
        if self._keep is not None and len(self) + n_new > 2 * self._keep:
            surplus = len(self) + n_new - max(self._keep, n_new)
            start += surplus
            self.n_forgotten += surplus
        if stop + n_new > table.shape[1]:
            table, start, stop = self._larger(table[:, start:stop], n_new)
        table[:, stop : stop + n_new] = tape
        self._held = _Held(table, start, stop + n_new)
        self.tick = int(np.gcd(self.tick, np.gcd.reduce(tape[PRICE])))
        self.lot = int(np.gcd(self.lot, np.gcd.reduce(tape[QUANTITY])))

    def _larger(self, kept: Ints, n_new: int) -> _Held:
        """A new table that begins with `kept` and has room for more."""
        n_kept = kept.shape[1]
        headroom = n_kept + n_new if self._keep is None else self._keep
        table = np.empty((8, n_kept + n_new + max(_SMALLEST, headroom)), np.int64)
        table[:, :n_kept] = kept
        return _Held(table, 0, n_kept)

    def from_id(self, agg_id: int, limit: int, until: int) -> Ints:
        """The trades from `agg_id` on that were played by `until` (us), at most `limit`."""
        tape = self.tape
        first = int(np.searchsorted(tape[AGG_ID], agg_id))
        return tape[:, first : min(first + limit, self._by_time(until + 1))]

    def between(self, start: int, end: int, limit: int | None = None, newest: bool = False) -> Ints:
        """The trades of ``start <= time < end``, at most `limit`, the oldest or the newest."""
        first, last = self._by_time(start), self._by_time(end)
        if limit is not None and last - first > limit:
            first, last = (last - limit, last) if newest else (first, first + limit)
        return self.tape[:, first:last]

    def _by_time(self, time: int) -> int:
        return int(np.searchsorted(self.tape[DUE], time))

    def klines(self, interval: str, start: int, end: int, now: int) -> Ints:
        """Klines with ``start <= open_time < end``, quiet ones and the forming one included.

        What came before the oldest trade that is kept is unknown, and its bar left out if trades
        were forgotten.
        """
        step = interval_us(interval)
        if not len(self):
            return fold(self.tape, step)
        start, end = max(-(-start // step) * step, self.oldest_open(step)), min(end, now + 1)
        if end <= start:
            return fold(self.tape[:, :0], step)
        # One trade from before gives quiet bars at the beginning their price.
        first = max(0, self._by_time(start) - 1)
        tape = self.tape[:, first : self._by_time(min(-(-end // step) * step, now + 1))]
        full = with_quiet(settled(fold(tape, step)), step, end)
        return full[:, full[0] >= start]

    def oldest_open(self, step: int) -> int:
        """Opening time of the first bar of `step` (us) that is known from its beginning."""
        if not len(self):
            return 0
        oldest = int(self.tape[DUE, 0])
        return oldest - oldest % step + (step if self.n_forgotten else 0)

    def has_forgotten(self, since: int) -> bool:
        """Whether trades from `since` (us) on may have been forgotten."""
        return bool(self.n_forgotten) and since <= int(self.tape[DUE, 0])

    def trades(self, start: int = 0, end: int | None = None) -> pd.DataFrame:
        """The trades that are kept, of ``start <= time < end`` (us), as a trades frame."""
        tape = self.tape if end is None else self.between(start, end)
        return as_frame(tape.copy(), self.symbol, self.market)

    def bars(self, interval: str, now: int, start: int = 0) -> pd.DataFrame:
        """The bars from `start` on that are over at `now` (us), as a bars frame."""
        step = interval_us(interval)
        klines = self.klines(interval, start, now // step * step, now)
        return as_bars(klines, self.symbol, interval, self.market)
