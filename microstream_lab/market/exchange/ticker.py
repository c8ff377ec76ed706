"""What the streams of one symbol say besides its trades: klines as they form, best bid and offer.

Invariant: a kline is sent at whole steps of the exchange's clock, from the trades before that
moment; a bar is sent as closed once, when its time is over, whether it traded or not.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from microstream_lab.market.exchange.klines import (
    KLINE_ROWS,
    accumulated,
    fold,
    settled,
    with_quiet,
)
from microstream_lab.market.exchange.ledger import Ledger
from microstream_lab.market.exchange.tape import (
    DUE,
    LAST_ID,
    MAKER,
    PRICE,
    QUANTITY,
    Ints,
)
from microstream_lab.schema import interval_us

__all__ = ["KlineTicker", "quotes_of"]

_SECOND: Final = 1_000_000
_CONTEXT: Final = 512
"""Trades looked back upon to know both sides of the book."""


class KlineTicker:
    """The updates of one ``@kline`` stream.

    Parameters
    ----------
    ledger : Ledger
        The symbol's trades.
    interval : str
        Such as ``"1m"``.
    now : int
        Exchange time (us) from which on updates are wanted.
    """

    def __init__(self, ledger: Ledger, interval: str, now: int) -> None:
        self._ledger, self._step = ledger, interval_us(interval)
        self._pace = _SECOND if interval == "1s" else 2 * _SECOND
        self._done = now - now % self._pace
        self._open = now - now % self._step
        self._bar = self._before(self._open, self._done)

    def _before(self, open_time: int, until: int) -> Ints:
        """The bar of `open_time` as it stood at `until`; without columns if nothing ever traded."""
        tape = self._ledger.between(open_time, until)
        if tape.shape[1]:
            return fold(tape, self._step)
        last = self._ledger.between(0, open_time, limit=1, newest=True)
        bars = with_quiet(fold(last, self._step), self._step, open_time + 1)
        return bars[:, -1:]

    def update(self, now: int) -> tuple[Ints, Ints, Ints]:
        """Klines since the last call as they stood, when (us), and whether each was closed."""
        cut = (now + 1) // self._pace * self._pace
        if cut <= self._done:
            return _nothing()
        parts = fold(self._ledger.between(self._done, cut), self._pace)
        self._done = cut
        sent = []
        while self._open < cut:
            end = self._open + self._step
            mine = parts[:, (parts[0] >= self._open) & (parts[0] < end)]
            sent.append(self._grow(mine, min(end, cut), end <= cut))
            if end > cut:
                break
            self._open = end
            self._bar = with_quiet(self._bar, self._step, end + 1)[:, -1:]
        klines, times, closed = zip(*sent, strict=True)
        return np.concatenate(klines, axis=1), np.concatenate(times), np.concatenate(closed)

    def _grow(self, parts: Ints, until: int, is_over: bool) -> tuple[Ints, Ints, Ints]:
        if not self._bar.shape[1] and not parts.shape[1]:
            return _nothing()
        times = parts[0] + self._pace
        traded = self._bar[:, self._bar[7] > 0]
        if parts.shape[1]:
            grown = accumulated(np.concatenate([traded, parts], axis=1), self._open)
            self._bar = grown[:, -1:]
            grown = grown[:, traded.shape[1] :]
        else:
            grown = parts
        if is_over and not (len(times) and times[-1] == until):
            grown, times = np.concatenate([grown, self._bar], axis=1), np.append(times, until)
        closed = np.zeros(len(times), np.int64)
        if is_over:
            closed[-1] = 1
        return settled(grown), times, closed


def _nothing() -> tuple[Ints, Ints, Ints]:
    nothing = np.empty(0, np.int64)
    return np.empty((len(KLINE_ROWS), 0), np.int64), nothing, nothing


def quotes_of(ledger: Ledger, n_new: int) -> Ints:
    """Best bid and offer after each of the `n_new` newest trades, as their sides suggest.

    A taker's sale was at the bid, a purchase at the offer; where the two would meet, the older one
    has moved by a tick.
    """
    tape = ledger.tape[:, -(n_new + _CONTEXT) :]
    sold = tape[MAKER] == 1
    tick = max(1, ledger.tick)
    bid, bid_size = _latest(tape, sold, tape[PRICE] - tick)
    ask, ask_size = _latest(tape, ~sold, tape[PRICE] + tick)
    meet = bid >= ask
    bid, ask = np.where(meet & ~sold, ask - tick, bid), np.where(meet & sold, bid + tick, ask)
    quotes = np.stack([tape[DUE], tape[LAST_ID], bid, bid_size, ask, ask_size])
    return quotes[:, -n_new:]


def _latest(tape: Ints, on_this_side: np.ndarray, otherwise: Ints) -> tuple[Ints, Ints]:
    """Price and size of the last trade on this side, up to each trade."""
    places = np.where(on_this_side, np.arange(tape.shape[1]), -1)
    last = np.maximum.accumulate(places)
    price = np.where(last >= 0, tape[PRICE, last], np.maximum(otherwise, 1))
    return price, np.where(last >= 0, tape[QUANTITY, last], tape[QUANTITY])
