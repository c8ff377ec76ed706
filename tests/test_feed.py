"""Contiguity is owned by the feed: what goes out ascends, each trade once, every hole told."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)
from stream_messages import START, combined, data_of, make_trade, message

from microstream_lab.bars import BarBuilder
from microstream_lab.errors import SettingsError
from microstream_lab.market.feed import Feed
from microstream_lab.market.feed.messages import Kline, Quote, Reply, Shutdown
from microstream_lab.market.feed.records import (
    Counters,
    Cut,
    Event,
    Fill,
    Malformed,
    Mismatch,
    Reset,
    Rules,
    Stale,
)
from microstream_lab.market.feed.silence import Silence
from microstream_lab.market.files import read_klines
from microstream_lab.schema import AggTrade, Bar, Gap, iter_bars

NOW = START + 10_000_000
HOLD = Rules().hold_us
S = 1_000_000


def told(events: list[Event]) -> list[object]:
    """Ids of trades, spans of gaps and fills, names of the rest."""
    words: list[object] = []
    for event in events:
        match event:
            case AggTrade():
                words.append(event.agg_id)
            case Gap():
                words.append((event.from_id, event.to_id))
            case Fill():
                words.append([trade.agg_id for trade in event.trades])
            case _:
                words.append(type(event).__name__)
    return words


def receive(feed: Feed, *agg_ids: int, at: int = NOW) -> list[object]:
    return [word for agg_id in agg_ids for word in told(feed.receive(message(agg_id), at))]


def test_first_trade_begins_wherever_it_is() -> None:
    assert receive(Feed(["BTCUSDT"]), 5, 6, 7) == [5, 6, 7]


def test_trades_come_out_as_they_were_sent() -> None:
    feed = Feed(["BTCUSDT"])
    events = [event for n in range(3) for event in feed.receive(message(n), NOW)]
    assert events == [make_trade(n) for n in range(3)]


def test_trades_out_of_order_within_the_hold_are_put_in_order() -> None:
    feed = Feed(["BTCUSDT"])
    assert receive(feed, 1, 4, 3, 2, 5) == [1, 2, 3, 4, 5]
    assert feed.counters.gaps == 0
    assert feed.counters.reordered == 1


def test_every_hole_has_its_own_hold() -> None:
    feed = Feed(["BTCUSDT"])
    assert receive(feed, 1, 3, 5) == [1]
    assert receive(feed, 2) == [2, 3]
    assert receive(feed, 4) == [4, 5]
    assert feed.counters.gaps == 0


def test_feed_reports_gap_before_the_trade_that_reveals_it() -> None:
    feed = Feed(["BTCUSDT"], market="sim")
    assert receive(feed, 1, 2, 5) == [1, 2]
    (gap, trade) = feed.receive(message(6), NOW + HOLD)[:2]
    times = make_trade(2).trade_time, make_trade(5).trade_time
    assert gap == Gap("BTCUSDT", 3, 4, *times, "stream", NOW + HOLD, market="sim")
    assert trade == make_trade(5)
    assert receive(feed, 7) == [7]


def test_time_alone_releases_what_waits_behind_a_hole() -> None:
    feed = Feed(["BTCUSDT"])
    receive(feed, 1, 3)
    assert feed.tick(NOW + HOLD - 1) == []
    assert told(feed.tick(NOW + HOLD)) == [(2, 2), 3]


def test_no_more_trades_wait_than_declared() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(hold_limit=3))
    assert receive(feed, 1, 3, 4, 5) == [1]
    assert receive(feed, 7) == [(2, 2), 3, 4, 5, (6, 6), 7]


def test_hole_at_a_known_cut_is_told_at_once_with_its_cause() -> None:
    feed = Feed(["BTCUSDT"])
    receive(feed, 1)
    assert feed.drain([(Cut(("BTCUSDT", "ETHUSDT"), "connection closed: 1006"), NOW)]) == []
    gap = feed.receive(message(4), NOW)[0]
    assert isinstance(gap, Gap)
    assert gap.cause == "connection closed: 1006"


def test_cut_that_lost_nothing_explains_no_later_hole() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(hold_us=0))
    receive(feed, 1)
    feed.drain([(Cut(("BTCUSDT",), "connection closed"), NOW)])
    receive(feed, 2)
    gap = feed.receive(message(4), NOW)[0]
    assert isinstance(gap, Gap)
    assert gap.cause == "stream"


def test_duplicates_are_dropped_and_counted() -> None:
    feed = Feed(["BTCUSDT"])
    assert receive(feed, 1, 2, 1, 2, 2, 4, 4, 3) == [1, 2, 3, 4]
    assert feed.counters.duplicates == 4


def test_late_trades_fill_their_gap_together_once() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(hold_us=0))
    assert receive(feed, 1, 4) == [1, (2, 3), 4]
    assert receive(feed, 3, 3, 5) == [5]
    (fill,) = feed.receive(message(2), NOW + 9)
    assert isinstance(fill, Fill)
    assert fill.is_whole
    assert fill.trades == [make_trade(2), make_trade(3)]
    assert (fill.gap.repaired_at, fill.gap.n_repaired) == (NOW + 9, 2)
    assert receive(feed, 2, 3) == []


def test_closed_gap_takes_no_late_trades() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(hold_us=0))
    receive(feed, 1)
    gap = feed.receive(message(4), NOW)[0]
    assert isinstance(gap, Gap)
    receive(feed, 3)
    feed.close(gap)
    assert receive(feed, 2, 3) == []
    assert feed.counters.duplicates == 2


def test_restart_reveals_what_was_missed() -> None:
    feed = Feed(["BTCUSDT"])
    last = make_trade(10)
    feed.resume("BTCUSDT", last.agg_id, last.last_id, last.trade_time)
    gap, trade = feed.receive(message(15), NOW)
    assert gap == Gap("BTCUSDT", 11, 14, last.trade_time, make_trade(15).trade_time, "restart", NOW)
    assert trade == make_trade(15)


def test_restart_that_missed_nothing_goes_on() -> None:
    feed = Feed(["BTCUSDT"])
    feed.resume("BTCUSDT", 10, make_trade(10).last_id)
    assert receive(feed, 9, 10, 11) == [11]


def test_single_ids_that_do_not_follow_are_told_beside_the_trade() -> None:
    feed = Feed(["BTCUSDT"])
    receive(feed, 1)
    events = feed.receive(message(2, f=7, l=9), NOW)
    assert events[0] == Mismatch("BTCUSDT", 2, expected_id=4, found_id=7, detected_at=NOW)
    assert told(events[1:]) == [2]


def test_single_ids_too_few_for_a_gap_are_told() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(hold_us=0))
    receive(feed, 1)
    assert told(feed.receive(message(4, f=5, l=6), NOW)) == [(2, 3), "Mismatch", 4]


def test_numbering_that_begins_anew_is_believed_after_some_trades() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(confirmations=3))
    receive(feed, 100, 101)
    anew = [message(n, T=START + 200_000 + n) for n in (7, 8, 9, 10)]
    words = [told(feed.receive(text, NOW)) for text in anew]
    assert words == [[], [], ["Reset", 7, 8, 9], [10]]
    assert feed.counters.resets == 1
    assert feed.counters.doubtful == 0


def test_reset_says_where_the_old_numbering_ended() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(confirmations=1))
    receive(feed, 100)
    assert feed.receive(message(7, T=START + S), NOW)[0] == Reset("BTCUSDT", 100, 7, NOW)


def test_one_trade_with_a_false_id_is_dropped_and_its_place_is_a_gap() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(hold_us=0))
    receive(feed, 100)
    assert told(feed.receive(message(101, a=3), NOW)) == []
    assert told(feed.receive(message(101, a=10**15), NOW)) == []
    assert receive(feed, 102) == [(101, 101), 102]
    assert feed.counters.doubtful == 2


def test_trade_from_another_time_is_dropped_and_its_place_is_a_gap() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(hold_us=0))
    receive(feed, 1)
    for time in (START - 3_600 * S, START + 8 * 86_400 * S):
        assert told(feed.receive(message(2, T=time), NOW)) == []
    assert receive(feed, 3) == [(2, 2), 3]


def test_long_halt_is_believed_after_some_trades_and_loses_none() -> None:
    feed = Feed(["BTCUSDT"], rules=Rules(confirmations=3))
    receive(feed, 1)
    after = START + 30 * 86_400 * S
    words = [told(feed.receive(message(n, T=after + n), NOW)) for n in (2, 3, 4, 5)]
    assert words == [[], [], [2, 3, 4], [5]]


def test_trade_slightly_earlier_than_the_one_before_is_taken() -> None:
    feed = Feed(["BTCUSDT"])
    receive(feed, 1)
    assert told(feed.receive(message(2, T=START), NOW)) == [2]
    assert receive(feed, 3) == [3]


def test_symbols_do_not_disturb_each_other() -> None:
    feed = Feed(["BTCUSDT", "ETHUSDT"])
    receive(feed, 1, 2)
    assert told(feed.receive(message(90, "ETHUSDT"), NOW)) == [90]
    assert receive(feed, 3) == [3]


def test_symbol_nobody_asked_for_is_ignored_and_counted() -> None:
    feed = Feed(["BTCUSDT"])
    assert feed.receive(message(1, "ETHUSDT"), NOW) == []
    assert feed.counters.ignored == 1
    with pytest.raises(SettingsError, match="ETHUSDT"):
        feed.resume("ETHUSDT", 1, 1)


def single(trade_id: int) -> bytes:
    trade = make_trade(trade_id)
    data = {"e": "trade", "s": trade.symbol, "t": trade_id, "p": "9", "q": "1", "m": True}
    return combined(data | {"T": trade.trade_time, "E": trade.trade_time})


def test_only_the_chosen_kind_of_trades_is_followed() -> None:
    aggregates, singles = Feed(["BTCUSDT"]), Feed(["BTCUSDT"], trades="trade")
    for feed in (aggregates, singles):
        feed.receive(message(1), NOW)
        feed.receive(single(500), NOW)
        assert feed.counters.ignored == 1
    assert receive(aggregates, 2) == [2]
    assert told(singles.receive(single(501), NOW)) == [501]


def test_malformed_message_is_told_and_leaves_no_trace() -> None:
    feed = Feed(["BTCUSDT"])
    receive(feed, 1)
    (event,) = feed.receive(b'{"stream":', NOW)
    assert isinstance(event, Malformed)
    assert event.received_at == NOW
    assert receive(feed, 2) == [2]
    assert feed.counters == Counters(received=3, malformed=1)


def test_other_records_pass_through() -> None:
    feed = Feed(["BTCUSDT"], market="sim")
    kline = {"t": START, "i": "1m", "x": True, "n": 1, "o": 1, "h": 1, "l": 1, "c": 1}
    kline |= {"v": "1", "q": "1", "V": "0", "Q": "0"}
    frames = [
        combined({"e": "kline", "E": START, "s": "BTCUSDT", "k": kline}),
        combined({"u": 1, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}),
        combined({"e": "serverShutdown", "E": START}),
        b'{"result":null,"id":1}',
    ]
    events = feed.drain([(frame, NOW) for frame in frames])
    assert [type(event) for event in events] == [Kline, Quote, Shutdown, Reply]
    assert isinstance(events[0], Kline)
    assert events[0].bar.market == "sim"


def test_a_batch_tells_what_its_messages_tell_one_by_one() -> None:
    texts = [message(n) for n in (1, 2, 2, 5, 4, 3, 9)] + [b"?", single(1)]
    one_by_one, at_once = Feed(["BTCUSDT"]), Feed(["BTCUSDT"])
    events = [event for text in texts for event in one_by_one.receive(text, NOW)]
    assert at_once.drain([(text, NOW) for text in texts]) == events
    assert at_once.counters == one_by_one.counters


def test_silence_is_told_once_it_is_long_for_the_symbol() -> None:
    feed = Feed(["BTCUSDT", "ETHUSDT"])
    for second in range(120):
        receive(feed, *range(second * 10, second * 10 + 10), at=NOW + second * S)
        if second % 5 == 0:
            feed.receive(message(second // 5, "ETHUSDT"), NOW + second * S)
        assert feed.tick(NOW + second * S) == []
    last = NOW + 119 * S
    events = [event for second in range(1, 60) for event in feed.tick(last + second * S)]
    # ten a second may be silent for ten seconds, then twice as long; one in five for minutes
    assert events == [
        Stale("BTCUSDT", last, last + 11 * S),
        Stale("BTCUSDT", last, last + 21 * S),
        Stale("BTCUSDT", last, last + 41 * S),
    ]
    assert feed.counters.stale == 3


def test_silence_limit_follows_the_rate_between_its_bounds() -> None:
    for per_look, limit in ((0, 60 * S), (1_000, 10 * S), (1, 50 * S)):
        silence = Silence()
        for second in range(1, 300):
            silence.look(second * S, per_look)
            if not per_look:
                break
        assert silence.limit_us == pytest.approx(limit, rel=0.01)


def test_nothing_grows_whatever_comes() -> None:
    rules = Rules(hold_limit=10, gap_limit=4, late_limit=20)
    feed = Feed(["BTCUSDT"], rules=rules)
    sequence = feed._sequences["BTCUSDT"]
    for n in range(3_000):
        feed.receive(message(n * 3 % 1_000 + n), NOW + n * S)
        feed.receive(message(n, "GARBAGE" + str(n)), NOW)
    assert len(sequence._held) <= 11
    assert len(sequence._open) <= 4
    assert sum(len(gap.trades) for gap in sequence._open) <= 20
    assert len(sequence._doubted) <= rules.confirmations
    assert set(feed._sequences) == {"BTCUSDT"}


@pytest.mark.fuzz
@given(
    st.lists(
        st.one_of(
            st.builds(message, st.integers(0, 40)),
            st.builds(message, st.integers(0, 2**62), T=st.integers(START, START + 10**9)),
            st.builds(single, st.integers(0, 20)),
            st.builds(lambda b: combined(data_of(make_trade(1)))[: b % 200], st.integers(0)),
            st.binary(max_size=40),
        ),
        max_size=20,
    )
)
def test_no_sequence_of_messages_breaks_the_order(texts: list[bytes]) -> None:
    feed, last_id = Feed(["BTCUSDT"], rules=Rules(confirmations=3)), -1
    for place, text in enumerate(texts):
        for event in feed.receive(text, NOW + place * HOLD // 2):
            if isinstance(event, Reset):
                last_id = event.next_id - 1
            elif isinstance(event, Gap):
                assert last_id + 1 == event.from_id <= event.to_id
                last_id = event.to_id
            elif isinstance(event, AggTrade):
                assert last_id in (-1, event.agg_id - 1)
                last_id = event.agg_id


class FeedUnderFaults(RuleBasedStateMachine):
    """Trades on a bad line, and a consumer who fills gaps from the exchange's own books."""

    on_the_way = Bundle("on_the_way")

    def __init__(self) -> None:
        super().__init__()
        self.feed = Feed(["BTCUSDT"], rules=Rules(hold_limit=4, gap_limit=2, late_limit=3))
        self.now, self.n_traded = NOW, 0
        self.book: dict[int, AggTrade] = {}
        self.order: list[int] = []
        self.open_gaps: dict[tuple[int, int], Gap] = {}

    @rule(target=on_the_way, n=st.integers(1, 6))
    def trade(self, n: int) -> object:
        self.n_traded += n
        return multiple(*range(self.n_traded - n, self.n_traded))

    @rule(agg_id=consumes(on_the_way))
    def deliver(self, agg_id: int) -> None:
        self.consume(self.feed.receive(message(agg_id), self.now))

    @rule(agg_id=on_the_way)
    def deliver_and_again_later(self, agg_id: int) -> None:
        self.consume(self.feed.receive(message(agg_id), self.now))

    @rule(agg_id=consumes(on_the_way))
    def lose(self, agg_id: int) -> None:
        pass

    @rule(n=st.integers(1, 8))
    def deliver_in_order(self, n: int) -> None:
        for agg_id in range(self.n_traded, self.n_traded + n):
            self.consume(self.feed.receive(message(agg_id), self.now))
        self.n_traded += n

    @rule(text=st.sampled_from([b"{", b"\xff", message(10**18), message(1, "ETHUSDT")]))
    def deliver_garbage(self, text: bytes) -> None:
        self.consume(self.feed.receive(text, self.now))

    @rule()
    def cut(self) -> None:
        self.feed.drain([(Cut(("BTCUSDT",), "connection closed"), self.now)])

    @rule(ms=st.integers(1, 300))
    def wait(self, ms: int) -> None:
        self.now += ms * 1_000
        self.consume(self.feed.tick(self.now))

    @rule()
    def fill_oldest_gap(self) -> None:
        if self.open_gaps:
            gap = next(iter(self.open_gaps.values()))
            self.feed.close(gap)
            self.fill(gap, [make_trade(n) for n in range(gap.from_id, gap.to_id + 1)])

    def consume(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, AggTrade):
                self.keep(event)
                self.order.append(event.agg_id)
            elif isinstance(event, Gap):
                self.open_gaps[event.from_id, event.to_id] = event
            elif isinstance(event, Fill):
                assert event.is_whole
                self.fill(event.gap, event.trades)
            else:
                assert isinstance(event, Malformed)

    def fill(self, gap: Gap, trades: list[AggTrade]) -> None:
        del self.open_gaps[gap.from_id, gap.to_id]
        assert [trade.agg_id for trade in trades] == [*range(gap.from_id, gap.to_id + 1)]
        for trade in trades:
            self.keep(trade)

    def keep(self, trade: AggTrade) -> None:
        assert trade.agg_id not in self.book, "told twice"
        assert trade == make_trade(trade.agg_id)
        self.book[trade.agg_id] = trade

    @invariant()
    def trades_ascend(self) -> None:
        assert all(one < other for one, other in pairwise(self.order))

    @invariant()
    def every_id_is_known_or_told_to_be_missing(self) -> None:
        if self.order:
            told = set(self.book)
            for first, last in self.open_gaps:
                told.update(range(first, last + 1))
            assert told == set(range(self.order[0], self.order[-1] + 1))

    def teardown(self) -> None:
        self.now += 10 * HOLD
        self.consume(self.feed.tick(self.now))
        while self.open_gaps:
            self.fill_oldest_gap()
        if self.order:
            assert sorted(self.book) == [*range(self.order[0], self.order[-1] + 1)]


# A run is some fifty steps, so it counts for as many examples.
FeedUnderFaults.TestCase.settings = settings(
    max_examples=max(40, settings.default.max_examples // 50)  # type: ignore[union-attr]
)
TestFeedUnderFaults = pytest.mark.fuzz(FeedUnderFaults.TestCase)


def recorded_singles(folder: Path) -> list[bytes]:
    """The `@trade` messages of the raw capture, in order of arrival."""
    texts = []
    for path in sorted(folder.glob("spot_btcusdt_*.gz")):
        with gzip.open(path, "rb") as lines:
            texts += [line.split(b" ", 1)[1] for line in lines if b"btcusdt@trade" in line]
    return texts


@pytest.mark.realdata
def test_recorded_stream_gives_the_archives_bars_in_every_field(real_data: Path) -> None:
    feed, builder = Feed(["BTCUSDT"], trades="trade"), BarBuilder("BTCUSDT", "5m")
    bars: dict[int, Bar] = {}
    for text in recorded_singles(real_data / "websocket"):
        for event in feed.receive(text, 0):
            assert isinstance(event, AggTrade)
            bars |= {bar.open_time: bar for bar in builder.update(event)}
    archive = read_klines(real_data / "klines_5m" / "BTCUSDT-5m-2024-08.zip")
    expected = list(iter_bars(archive.loc["2024-08-08 23:55":"2024-08-09 00:00"]))  # type: ignore[misc]
    assert [bar.trades for bar in expected] == [8_863, 9_913]
    assert [bars[bar.open_time] for bar in expected] == expected
    assert feed.counters == Counters(received=feed.counters.received)


@pytest.mark.realdata
def test_recorded_quotes_pass_in_order(real_data: Path) -> None:
    feed, last = Feed(["BTCUSDT"]), 0
    with gzip.open(real_data / "websocket" / "spot_btcusdt_20240808.gz", "rb") as lines:
        for line in lines:
            if b"@bookTicker" in line:
                (quote,) = feed.receive(line.split(b" ", 1)[1], 0)
                assert isinstance(quote, Quote)
                assert last < quote.update_id
                assert 0 < quote.bid < quote.ask
                last = quote.update_id
    assert last
