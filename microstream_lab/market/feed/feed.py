"""The stream protocol without a socket: messages and receive times in, events out.

Invariant: per symbol, the trades that come out ascend by id, each once, and a missing id is told
by a Gap before the trade that reveals it. The feed reads no clock, raises nothing, whatever the
message, and what it keeps is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import length_hint
from typing import Any, Final, Literal, cast

from microstream_lab.errors import DecodeError, SettingsError
from microstream_lab.market.feed.messages import (
    NOT_PARSED,
    CombinedEvent,
    Kline,
    Quote,
    Refusal,
    Reply,
    Shutdown,
    SingleTrade,
    decode,
    parse,
)
from microstream_lab.market.feed.records import Counters, Cut, Event, Malformed, Rules, Stale
from microstream_lab.market.feed.sequence import SymbolSequence
from microstream_lab.market.feed.silence import Silence
from microstream_lab.schema import AggTrade, Gap

__all__ = ["Feed", "Frame", "TradeKind"]

TradeKind = Literal["aggTrade", "trade"]

Frame = tuple[str | bytes | Cut, int]

_UNKNOWN: Final = CombinedEvent(cast(Any, None))
"""Stands where no combined event is."""


class Feed:
    """Turns messages of the market streams into ordered trades, gaps and other events.

    Parameters
    ----------
    symbols : iterable of str
        Whose trades, klines and quotes to take; others are ignored and counted.
    market : {"spot", "um", "sim"}
        Written into gaps and bars.
    trades : {"aggTrade", "trade"}
        Which stream the trades are taken from. The two number on their own, so that of both only
        one can be followed; the other's are ignored and counted.
    rules : Rules, optional
        What is held for possible.

    Attributes
    ----------
    counters : Counters
        What was seen so far.

    Notes
    -----
    A hole waits for ``rules.hold_us`` for its trades to come out of order; then the Gap is told
    and the trades behind it follow. Should its trades come after all, a :class:`Fill` tells them
    together, once, when the last is there. Whoever repairs a gap in another way says so with
    :meth:`close`.
    """

    def __init__(
        self,
        symbols: Iterable[str],
        market: str = "spot",
        trades: TradeKind = "aggTrade",
        rules: Rules | None = None,
    ) -> None:
        self.counters = Counters()
        self._market, self._follows_singles = market, trades == "trade"
        rules = rules or Rules()
        self._sequences = {
            symbol: SymbolSequence(symbol, market, rules, self.counters) for symbol in symbols
        }
        self._shortcut = {} if self._follows_singles else self._sequences
        self._silences = {symbol: Silence() for symbol in self._sequences}
        self._heard = dict.fromkeys(self._sequences, 0)

    def receive(self, message: str | bytes, received_at: int) -> list[Event]:
        """Take one message, received at `received_at` (us), and return what it tells, in order.

        Nothing is raised: a message that cannot be understood becomes a :class:`Malformed`, and
        the hole it leaves a :class:`Gap`.
        """
        return self.drain([(message, received_at)])

    def drain(self, frames: Sequence[Frame]) -> list[Event]:
        """Take messages with the times (us) they were received at, as :meth:`receive` does.

        A :class:`Cut` among them says that something may be missing at its place.
        """
        self.counters.received += len(frames)
        events: list[Event] = []
        trades, place = _parsed(frames), 0
        coming = iter(trades)
        while True:
            is_other = self._follow(coming)
            stop = len(trades) - length_hint(coming) - is_other
            events += trades[place:stop]
            if not is_other:
                return events
            events += self._receive(*frames[stop])
            place = stop + 1

    def _follow(self, coming: Iterator[Any]) -> bool:
        """Take trades for as long as each is the one its symbol expects.

        Returns whether anything else came, for :meth:`_receive` to find out what it is.
        """
        symbol, sequence = None, None
        # What a symbol expects is kept at hand until another one's trade comes.
        next_id = next_single_id = latest = horizon = -1
        is_other = True
        try:
            for trade in coming:
                if trade.symbol != symbol:
                    if sequence is not None:
                        sequence.next_id, sequence.next_single_id = next_id, next_single_id
                        sequence.latest = latest
                    symbol, sequence = trade.symbol, None
                    sequence = self._shortcut[symbol]
                    next_id, next_single_id = sequence.next_id, sequence.next_single_id
                    latest, horizon = sequence.latest, sequence.horizon
                last_id, time = trade.last_id, trade.trade_time
                if (
                    trade.agg_id != next_id
                    or not trade.first_id == next_single_id <= last_id
                    or not latest <= time < horizon
                ):
                    break
                next_id += 1
                next_single_id, latest = last_id + 1, time
            else:
                is_other = False
        except (AttributeError, KeyError):  # no aggTrade, not one of ours
            pass
        if sequence is not None:
            sequence.next_id, sequence.next_single_id = next_id, next_single_id
            sequence.latest = latest
        return is_other

    def tick(self, now: int) -> list[Event]:
        """Tell what time alone tells at `now` (us): holes waited for long enough, and silences.

        To be called about once a second; how long a silence is too long follows each symbol's own
        rate, see :class:`~microstream_lab.market.feed.silence.Silence`.
        """
        events: list[Event] = []
        for symbol, sequence in self._sequences.items():
            events += sequence.release_due(now)
            n_heard = sequence.n_taken - self._heard[symbol]
            self._heard[symbol] += n_heard
            since = self._silences[symbol].look(now, n_heard)
            if since is not None:
                self.counters.stale += 1
                events.append(Stale(symbol, since, now))
        return events

    def resume(
        self,
        symbol: str,
        last_agg_id: int,
        last_trade_id: int,
        last_time: int = 0,
        cause: str = "restart",
    ) -> None:
        """Go on after a trade that is stored, so that what was missed since becomes a Gap.

        Parameters
        ----------
        symbol : str
            Whose trade.
        last_agg_id, last_trade_id : int
            Its ``agg_id`` and ``last_id``.
        last_time : int
            Its ``trade_time`` (us), if known.
        cause : str
            What the gap, if there is one, is put down to.
        """
        self._sequence(symbol).resume(last_agg_id, last_trade_id, last_time, cause)

    def next_id(self, symbol: str) -> int:
        """The id after the last trade told, where REST is to be asked on; -1 before the first."""
        return self._sequence(symbol).next_id

    def offer(self, trades: Iterable[AggTrade], now: int) -> list[Event]:
        """Take trades that came another way, such as over REST, as if the stream had sent them.

        What was lost at the end of a connection shows only with the next trade, which may be long
        in coming; asking for what there is from :meth:`next_id` on brings it in at once. The
        stream's own copies, should they come, are then duplicates.
        """
        events: list[Event] = []
        for trade in trades:
            events += self._sequence(trade.symbol).accept(trade, now)
        return events

    def close(self, gap: Gap) -> None:
        """Stop waiting for the trades of `gap`: they were fetched, or never will be.

        No :class:`Fill` is told for a gap after this. Whoever fetches keeps its own list of open
        gaps, and takes off it those that a Fill was told for.
        """
        self._sequence(gap.symbol).close(gap)

    def _sequence(self, symbol: str) -> SymbolSequence:
        try:
            return self._sequences[symbol]
        except KeyError:
            known = " ".join(self._sequences)
            raise SettingsError(f"feed: found symbol {symbol!r}, expected one of {known}") from None

    def _receive(self, message: str | bytes | Cut, received_at: int) -> Sequence[Event]:
        if isinstance(message, Cut):
            return self._cut(message)
        try:
            event = decode(message, self._market)
        except DecodeError as error:
            self.counters.malformed += 1
            return [Malformed(str(error), received_at)]
        match event:
            case AggTrade(symbol=symbol) if symbol in self._shortcut:
                return self._sequences[symbol].accept(event, received_at)
            case SingleTrade(trade=trade) if self._follows_singles:
                if trade.symbol in self._sequences:
                    return self._sequences[trade.symbol].accept(trade, received_at)
            case Kline(bar=bar) if bar.symbol in self._sequences:
                return [event]
            case Quote(symbol=symbol) if symbol in self._sequences:
                return [event]
            case Shutdown() | Reply() | Refusal():
                return [event]
        self.counters.ignored += 1
        return []

    def _cut(self, cut: Cut) -> Sequence[Event]:
        self.counters.received -= 1
        for symbol in cut.symbols:
            if symbol in self._sequences:
                self._sequences[symbol].cut(cut.cause)
        return []


def _parsed(frames: Sequence[Frame]) -> list[Any]:
    """The event of every message as it is parsed, None for whatever is not a combined one."""
    parsed: list[CombinedEvent] = []
    coming = map(parse, [message for message, _ in frames])
    while True:
        try:
            parsed.extend(coming)
            return [event.data for event in parsed]
        except (*NOT_PARSED, TypeError):  # a Cut is no message
            parsed.append(_UNKNOWN)  # those before it are kept, those after it still to come
