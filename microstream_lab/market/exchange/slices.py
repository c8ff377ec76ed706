"""A stretch of market played at once, written once for all who listen.

Invariant: every stream of a slice is rendered at most once per time unit and envelope, however many
connections listen, and the messages of one connection come in order of time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from microstream_lab.market.exchange.ledger import Ledger
from microstream_lab.market.exchange.messages import EMPTY, Messages
from microstream_lab.market.exchange.payloads import (
    agg_trade_messages,
    book_ticker_messages,
    kline_messages,
    trade_messages,
)
from microstream_lab.market.exchange.streams import Stream
from microstream_lab.market.exchange.tape import Ints, single_trades
from microstream_lab.market.exchange.ticker import KlineTicker, quotes_of

__all__ = ["Played", "Slice", "Tickers"]

_KlineRows = tuple[Ints, Ints, Ints]


@dataclass(frozen=True, slots=True)
class Played:
    """What one symbol did in a slice: trades, and quotes where they were recorded."""

    tape: Ints
    quotes: Ints | None = None


class Tickers:
    """The kline streams that somebody listens to."""

    def __init__(self, ledgers: Mapping[str, Ledger]) -> None:
        self._ledgers = ledgers
        self._tickers: dict[tuple[str, str], KlineTicker] = {}

    def follow(self, streams: Iterable[Stream], now: int) -> None:
        """Keep those that are wanted, begin those that are new, from `now` (us) on."""
        wanted = {(s.symbol, s.interval) for s in streams if s.kind == "kline"}
        wanted = {(symbol, interval) for symbol, interval in wanted if symbol in self._ledgers}
        for key in self._tickers.keys() - wanted:
            del self._tickers[key]
        for symbol, interval in sorted(wanted - self._tickers.keys()):
            ledger = self._ledgers[symbol]
            self._tickers[symbol, interval] = KlineTicker(ledger, interval, now)

    def update(self, now: int) -> dict[tuple[str, str], _KlineRows]:
        """Klines to be sent at `now` (us), by symbol and interval."""
        return {key: ticker.update(now) for key, ticker in self._tickers.items()}


@dataclass(slots=True)
class Slice:
    """What there is to send at one moment.

    Parameters
    ----------
    until : int
        Exchange time (us) up to which the market has been played.
    played : dict
        Trades by symbol.
    klines : dict
        Klines by symbol and interval.
    ledgers : mapping
        What has been played before, this slice included.
    """

    until: int
    played: dict[str, Played]
    klines: dict[tuple[str, str], _KlineRows]
    ledgers: Mapping[str, Ledger]
    _singles: dict[str, Ints] = field(default_factory=dict)
    _quotes: dict[str, Ints] = field(default_factory=dict)
    _rendered: dict[tuple[Stream, int, bool], Messages] = field(default_factory=dict)

    def messages(self, streams: Iterable[Stream], unit_us: int, combined: bool) -> Messages:
        """What a connection with these streams is sent."""
        return Messages.merged([self._stream(stream, unit_us, combined) for stream in streams])

    def _stream(self, stream: Stream, unit_us: int, combined: bool) -> Messages:
        key = stream, unit_us, combined
        if key not in self._rendered:
            self._rendered[key] = self._render(stream, unit_us, combined)
        return self._rendered[key]

    def _render(self, stream: Stream, unit_us: int, combined: bool) -> Messages:
        if stream.kind == "kline":
            rows = self.klines.get((stream.symbol, stream.interval))
            if rows is None or not len(rows[1]):
                return EMPTY
            return kline_messages(stream, *rows, unit_us, combined)
        played = self.played.get(stream.symbol)
        if played is None:
            return EMPTY
        if stream.kind == "bookTicker":
            return book_ticker_messages(stream, self._quotes_of(stream.symbol, played), combined)
        if stream.kind == "aggTrade":
            return agg_trade_messages(stream, played.tape, unit_us, combined)
        if stream.symbol not in self._singles:
            self._singles[stream.symbol] = single_trades(played.tape)
        return trade_messages(stream, self._singles[stream.symbol], unit_us, combined)

    def _quotes_of(self, symbol: str, played: Played) -> Ints:
        if played.quotes is not None:
            return played.quotes
        if not played.tape.shape[1]:
            return np.empty((6, 0), np.int64)
        if symbol not in self._quotes:
            self._quotes[symbol] = quotes_of(self.ledgers[symbol], played.tape.shape[1])
        return self._quotes[symbol]
