from __future__ import annotations

import logging
import random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from microstream_lab.bars import bars_from_trades
from microstream_lab.live.assembler import Assembler
from microstream_lab.live.crosscheck import CrossCheck
from microstream_lab.live.debts import debts_of
from microstream_lab.live.rebuild import Rebuild
from microstream_lab.live.records import Batch, Patience
from microstream_lab.market.feed.messages import Kline
from microstream_lab.market.feed.records import Fill, Mismatch, Reset
from microstream_lab.schema import (
    BAR_VALUES,
    AggTrade,
    Bar,
    Gap,
    Watermark,
    iter_bars,
)

MINUTE = 60_000_000
T0 = 1_700_000_040_000_000 // MINUTE * MINUTE
SYMBOL = "BTCUSDT"


def make_trades(n: int, seed: int = 0, step_us: int = 7_000_000) -> list[AggTrade]:
    """Trades from the beginning of a minute on, every few seconds."""
    rng, time, single, trades = random.Random(seed), T0, 500, []
    for agg_id in range(100, 100 + n):
        last = single + rng.randrange(3)
        price, size = 100 + rng.randrange(100) / 100, rng.randrange(1, 1_000) / 1_000
        maker = rng.random() < 0.5
        trades.append(AggTrade(SYMBOL, agg_id, price, size, single, last, time, maker))
        single, time = last + 1, time + rng.randrange(1, 2 * step_us)
    return trades


def expected_bars(trades: list[AggTrade]) -> list[Bar]:
    """All bars but the last, made in batch."""
    frame = pd.DataFrame([asdict(trade) for trade in trades]).assign(market="spot")
    frame["trade_time"] = pd.to_datetime(frame["trade_time"], unit="us", utc=True)
    return list(iter_bars(bars_from_trades(frame, "1m")))[:-1]


def values(bars: list[Bar]) -> list[tuple[object, ...]]:
    return [(bar.open_time, *(getattr(bar, name) for name in BAR_VALUES)) for bar in bars]


def gap_of(trades: list[AggTrade], first: int, last: int, cause: str = "stream") -> Gap:
    """The gap that leaves out ``trades[first : last + 1]``."""
    ids = (trades[first].agg_id, trades[last].agg_id)
    times = (trades[first - 1].trade_time, trades[last + 1].trade_time)
    return Gap(SYMBOL, *ids, *times, cause, 0)


def filled(gap: Gap, trades: list[AggTrade]) -> Fill:
    found = [trade for trade in trades if gap.from_id <= trade.agg_id <= gap.to_id]
    is_whole = len(found) == gap.to_id - gap.from_id + 1
    cause = gap.cause if is_whole else f"{gap.cause}; ids unknown to the exchange"
    at = 99 if is_whole else None
    return Fill(replace(gap, repaired_at=at, n_repaired=len(found), cause=cause), found)


def opened(trades: list[AggTrade], **options: object) -> Assembler:
    """An assembler that has taken the first trade, the first of its bar."""
    assembler = Assembler([SYMBOL], "1m", **options)  # type: ignore[arg-type]
    assembler.update(trades[:1], 0)
    assembler.open(assembler.openings.pop(), trades[0].agg_id, 0)
    return assembler


def test_bars_of_an_undisturbed_feed_equal_those_made_in_batch() -> None:
    trades = make_trades(200)
    batch = opened(trades).update(trades[1:], 0)
    assert values(batch.bars) == values(expected_bars(trades))
    assert {(bar.quality, bar.revision) for bar in batch.bars} == {("complete", 0)}


def test_watermark_names_the_last_trade_in_stored_bars() -> None:
    trades = make_trades(100)
    mark = opened(trades).update(trades[1:], 0).watermarks[SYMBOL]
    stored = [trade for trade in trades if trade.trade_time < mark.open_time]
    assert (mark.agg_id, mark.trade_id, mark.close) == (
        stored[-1].agg_id,
        stored[-1].last_id,
        stored[-1].price,
    )


def test_bars_touched_by_a_gap_wait_and_go_out_repaired() -> None:
    trades = make_trades(100)
    gap = gap_of(trades, 20, 40)
    assembler = opened(trades)
    before = assembler.update([*trades[1:20], gap, *trades[41:]], 0)
    assert before.gaps == [gap]
    assert assembler.wanted == [gap]
    assert all(bar.open_time + MINUTE <= gap.from_time for bar in before.bars)
    after = assembler.fill(filled(gap, trades), 99)
    assert values(before.bars + after.bars) == values(expected_bars(trades))
    repaired = {bar.open_time for bar in after.bars if bar.quality == "repaired"}
    touched = {trade.trade_time // MINUTE * MINUTE for trade in trades[20:41]}
    assert touched - {bar.open_time for bar in after.bars} == set()
    assert repaired >= touched
    assert [(g.repaired_at, g.n_repaired, g.cause) for g in after.gaps] == [(99, 21, "stream")]
    assert assembler.counts.waiting == 0


def test_gap_that_is_not_repaired_in_time_lets_bars_out_partial_and_later_anew() -> None:
    trades = make_trades(100)
    gap = gap_of(trades, 20, 40)
    assembler = opened(trades, patience=Patience(wait_us=1_000))
    assembler.update([*trades[1:20], gap, *trades[41:]], 5)
    assert not assembler.tick(1_004)
    late = assembler.tick(1_005)
    partial = [bar.open_time for bar in late.bars if bar.quality == "partial"]
    assert partial
    assert partial[0] <= gap.from_time
    assert partial[-1] + MINUTE > gap.to_time
    (debt,) = assembler.payable()
    assert (debt.start, debt.end) == (partial[0], partial[-1] + MINUTE)
    rebuild = Rebuild(SYMBOL, "1m", "spot", debt.start, debt.end)
    rebuild.add(trades)
    paid = assembler.pay(debt, rebuild, 2_000, 21)
    by_time = {row[0]: row for row in values(expected_bars(trades))}
    assert values(paid.bars) == [by_time[time] for time in partial]
    assert {(bar.quality, bar.revision) for bar in paid.bars} == {("repaired", 1)}
    assert [(g.repaired_at, g.n_repaired) for g in paid.gaps] == [(2_000, 21)]
    assert assembler.payable() == []


def test_gap_the_exchange_cannot_fill_is_recorded_open_and_touches_only_its_bars() -> None:
    trades = make_trades(100)
    gap = gap_of(trades, 20, 22)
    assembler = opened(trades)
    batch = assembler.update([*trades[1:20], gap, *trades[23:]], 0)
    batch.extend(assembler.fill(filled(gap, trades[:20]), 99))
    frame_bars = expected_bars([*trades[:20], *trades[23:]])
    assert [(bar.open_time, bar.quality) for bar in batch.bars] == [
        (bar.open_time, bar.quality) for bar in frame_bars
    ]
    assert values(batch.bars) == values(frame_bars)
    last = batch.gaps[-1]
    assert last.repaired_at is None
    assert last.cause == "stream; ids unknown to the exchange"
    assert assembler.payable() == []
    assert debts_of([last], "1m") == []


def test_too_many_waiting_trades_end_the_waiting() -> None:
    trades = make_trades(300)
    gap = gap_of(trades, 20, 40)
    assembler = opened(trades, patience=Patience(hold_limit=100))
    assembler.update([*trades[1:20], gap, *trades[41:141]], 0)
    assert not assembler.tick(1)
    assembler.update(trades[141:], 0)
    assert assembler.tick(1).bars
    assert assembler.counts.waiting == 0


def test_first_bar_is_completed_to_its_opening() -> None:
    trades = make_trades(60)
    assembler = Assembler([SYMBOL], "1m")
    assembler.update(trades[3:], 0)
    (opening,) = assembler.openings
    assert (opening.open_time, opening.first_id) == (T0, trades[3].agg_id)
    told = assembler.open(opening, trades[0].agg_id, 7)
    (gap,) = told.gaps
    assert (gap.from_id, gap.to_id, gap.cause) == (100, 102, "start")
    bars = assembler.fill(filled(gap, trades), 9).bars
    assert values(bars) == values(expected_bars(trades))
    assert [bar.quality for bar in bars][:2] == ["repaired", "complete"]


@pytest.mark.parametrize("is_known", [True, False])
def test_first_bar_whose_beginning_is_not_found_is_partial(is_known: bool) -> None:
    trades = make_trades(60)
    assembler = Assembler([SYMBOL], "1m", patience=Patience(wait_us=1_000))
    batch = assembler.update(trades[3:], 0)
    if is_known:
        batch.extend(assembler.open(assembler.openings[0], 100, 0))
    batch.extend(assembler.tick(1_000))
    assert [bar.quality for bar in batch.bars][:2] == ["partial", "complete"]


def test_late_fill_of_the_stream_ends_the_waiting_as_a_fetched_one_does() -> None:
    trades = make_trades(100)
    gap = gap_of(trades, 20, 40)
    assembler = opened(trades)
    events = [*trades[1:20], gap, *trades[41:50], filled(gap, trades), *trades[50:]]
    batch = assembler.update(events, 0)
    assert values(batch.bars) == values(expected_bars(trades))
    assert not assembler.fill(filled(gap, trades), 1), "the second answer brings nothing"


def test_long_gap_is_repaired_in_parts_in_any_order() -> None:
    trades = make_trades(300)
    gap = gap_of(trades, 20, 250)
    assembler = opened(trades, patience=Patience(part_ids=50), keep_trades=True)
    batch = assembler.update([*trades[1:20], gap, *trades[251:]], 0)
    starts = list(range(gap.from_id, gap.to_id + 1, 50))
    for start in reversed(starts):
        part = replace(gap, from_id=start, to_id=min(start + 49, gap.to_id))
        assert assembler.wants(part)
        batch.extend(assembler.fill(filled(part, trades), 9))
        assert not assembler.wants(part)
    assert values(batch.bars) == values(expected_bars(trades))
    assert [trade.agg_id for trade in batch.trades] == [t.agg_id for t in trades[1:]]
    assert [(g.repaired_at, g.n_repaired) for g in batch.gaps[1:]] == [(9, 231)]


def test_bar_closes_by_the_exchanges_count_and_by_no_other() -> None:
    trades = make_trades(4, step_us=1_000_000)
    assembler = opened(trades)
    assembler.update(trades[1:], 0)
    n_single = sum(trade.last_id - trade.first_id + 1 for trade in trades)
    assert not assembler.prove(SYMBOL, T0, n_single + 1)
    assert not assembler.prove(SYMBOL, T0 + MINUTE, 0)
    first = assembler.prove(SYMBOL, T0, n_single)
    assert [bar.trades for bar in first.bars] == [n_single]
    quiet = assembler.prove(SYMBOL, T0 + MINUTE, 0)
    assert [(bar.open, bar.volume) for bar in quiet.bars] == [(trades[-1].price, 0.0)]
    assert quiet.watermarks[SYMBOL].agg_id == trades[-1].agg_id
    assert quiet.watermarks[SYMBOL].open_time == T0 + 2 * MINUTE


def test_bar_proven_without_trades_nobody_knows_is_taken_back() -> None:
    trades = make_trades(60)
    place = next(k for k in range(10, 60) if trades[k].trade_time >= T0 + 2 * MINUTE)
    later = [
        replace(
            trade, agg_id=trade.agg_id + 8, first_id=trade.first_id + 8, last_id=trade.last_id + 8
        )
        for trade in trades[place:]
    ]
    times = (trades[place - 1].trade_time, later[0].trade_time)
    gap = Gap(SYMBOL, trades[place].agg_id, trades[place].agg_id + 7, *times, "stream", 0)
    assembler = opened(trades)
    assembler.update(trades[1:place], 0)
    n_trades = assembler.forming(SYMBOL).trades  # type: ignore[union-attr]
    (proven,) = assembler.prove(SYMBOL, T0 + MINUTE, n_trades).bars
    assembler.update([gap, *later], 0)
    batch = assembler.fill(filled(gap, []), 1)
    assert batch.bars[0] == replace(proven, quality="partial", revision=1)
    assert [bar.quality for bar in batch.bars][1:3] == ["partial", "complete"]


def test_no_proof_closes_a_bar_while_trades_wait() -> None:
    trades = make_trades(30, step_us=1_000_000)
    assembler = opened(trades)
    assembler.update([*trades[1:5], gap_of(trades, 5, 8), trades[9]], 0)
    assert not assembler.prove(SYMBOL, T0, None)
    assert assembler.last_trade(SYMBOL) is None


def test_resumed_assembler_goes_on_with_the_next_bar() -> None:
    trades = make_trades(200)
    whole = opened(trades)
    mark = whole.update(trades[1:80], 0).watermarks[SYMBOL]
    rest = whole.update(trades[80:], 0).bars
    after = [trade for trade in trades if trade.agg_id > mark.agg_id]
    resumed = Assembler([SYMBOL], "1m")
    resumed.resume(mark)
    assert values(resumed.update(after, 0).bars) == values(
        [bar for bar in expected_bars(trades) if bar.open_time >= mark.open_time]
    )
    assert rest


def test_resumed_assembler_tells_trades_again_that_were_not_kept() -> None:
    trades = make_trades(200)
    mark = opened(trades).update(trades[1:80], 0).watermarks[SYMBOL]
    resumed = Assembler([SYMBOL], "1m", keep_trades=True)
    resumed.resume(mark, kept=trades[30])
    batch = resumed.update(trades[31:], 0)
    assert batch.trades == trades[31:]
    assert values(batch.bars) == values(
        [bar for bar in expected_bars(trades) if bar.open_time >= mark.open_time]
    )


def test_trade_of_a_closed_bar_has_its_bars_made_anew() -> None:
    trades = make_trades(100)
    minutes = [trade.trade_time // MINUTE for trade in trades]
    place = next(k for k in range(40, 90) if minutes[k] == minutes[k - 1])
    odd = replace(trades[place], trade_time=trades[place].trade_time - MINUTE)
    stream = [*trades[:place], odd, *trades[place + 1 :]]
    assembler = opened(stream)
    batch = assembler.update(stream[1:], 0)
    assert assembler.counts.late == 1
    hit = {odd.trade_time // MINUTE * MINUTE, trades[place].trade_time // MINUTE * MINUTE}
    stored = {bar.open_time: bar.quality for bar in batch.bars}
    assert {time for time, quality in stored.items() if quality == "partial"} == hit
    assert debts_of([], "1m", {SYMBOL: hit}) != []  # what a run after a kill would find
    (debt,) = assembler.payable()
    rebuild = Rebuild(SYMBOL, "1m", "spot", debt.start, debt.end)
    rebuild.add(stream)
    batch.extend(assembler.pay(debt, rebuild, 0, 0))
    newest = {bar.open_time: bar for bar in batch.bars}
    assert values(list(newest.values())) == values(expected_bars(stream))
    assert {bar.quality for bar in newest.values()} == {"complete", "repaired"}


@pytest.mark.parametrize("kind", ["mismatch", "reset"])
def test_doubtful_numbering_makes_the_bar_partial_and_owed(kind: str) -> None:
    trades = make_trades(60)
    event = Mismatch(SYMBOL, 110, 1, 2, 0) if kind == "mismatch" else Reset(SYMBOL, 109, 1, 0)
    assembler = opened(trades)
    batch = assembler.update([*trades[1:10], event, *trades[10:]], 0)
    hit = trades[10].trade_time // MINUTE * MINUTE
    assert {bar.quality for bar in batch.bars if bar.open_time == hit} == {"partial"}
    assert any(debt.start <= hit < debt.end for debt in assembler.payable())


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(2, 140), st.integers(1, 12)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_whatever_is_missing_and_whenever_it_comes_the_bars_are_those_of_all_trades(
    seed: int, holes: list[tuple[int, int]], rng: random.Random
) -> None:
    trades = make_trades(160, seed)
    lost = {k for start, n in holes for k in range(start, min(start + n, 158))}
    events: list[AggTrade | Gap] = []
    gaps, place = [], 1
    while place < len(trades):
        if place in lost:
            end = place
            while end + 1 in lost:
                end += 1
            gaps.append(gap_of(trades, place, end))
            events.append(gaps[-1])
            place = end + 1
        events.append(trades[place])
        place += 1
    assembler = opened(trades, patience=Patience(wait_us=50), keep_trades=True)
    batch = Batch()
    waiting: list[Gap] = []
    for now, event in enumerate(events):
        batch.extend(assembler.update([event], now))
        waiting += assembler.wanted
        assembler.wanted.clear()
        if waiting and rng.random() < 0.3:
            gap = waiting.pop(rng.randrange(len(waiting)))
            batch.extend(assembler.fill(filled(gap, trades), now))
        batch.extend(assembler.tick(now))
    for gap in waiting:
        batch.extend(assembler.fill(filled(gap, trades), 500))
    for debt in assembler.payable():
        rebuild = Rebuild(SYMBOL, "1m", "spot", debt.start, debt.end)
        rebuild.add(trades)
        found = [t for t in trades if any(g.from_id <= t.agg_id <= g.to_id for g in debt.gaps)]
        batch.extend(assembler.pay(debt, rebuild, 600, len(found)))
    newest = {bar.open_time: bar for bar in batch.bars}
    owed = {time for d in assembler._lines[SYMBOL].debts for time in range(d.start, d.end, MINUTE)}
    ours = [row for row in values(list(newest.values())) if row[0] not in owed]
    assert ours == [row for row in values(expected_bars(trades)) if row[0] not in owed]
    assert all(newest[time].quality == "partial" for time in owed & newest.keys())
    told = {(gap.from_id, gap.to_id): gap for gap in batch.gaps}
    n_open = sum(gap.repaired_at is None for gap in told.values())
    assert n_open == sum(len(debt.gaps) for debt in assembler._lines[SYMBOL].debts)
    assert assembler.counts.waiting == 0


def test_rebuild_gives_quiet_bars_the_price_before_and_marks_holes() -> None:
    trades = make_trades(3, step_us=1)
    far = replace(trades[2], trade_time=T0 + 3 * MINUTE)
    rebuild = Rebuild(SYMBOL, "1m", "spot", T0 + MINUTE, T0 + 4 * MINUTE)
    rebuild.add([trades[0], trades[1], far])
    bars = rebuild.bars({T0 + MINUTE: 4})
    assert [(bar.close, bar.trades > 0) for bar in bars] == [
        (trades[1].price, False),
        (trades[1].price, False),
        (far.price, True),
    ]
    assert [bar.revision for bar in bars] == [4, 1, 1]
    holed = Rebuild(SYMBOL, "1m", "spot", T0, T0 + 4 * MINUTE)
    holed.add([trades[0], far])
    assert {bar.quality for bar in holed.bars({})} == {"partial"}


def test_doctored_kline_is_logged_with_both_bars(caplog: pytest.LogCaptureFixture) -> None:
    (ours, other, *_) = expected_bars(make_trades(60))
    check = CrossCheck()
    check.bar(ours)
    check.kline(other)
    with caplog.at_level(logging.ERROR):
        check.kline(replace(ours, volume=ours.volume + 0.001, high=ours.high + 1))
        check.bar(other)
    assert (check.compared, check.mismatches) == (2, 1)
    (record,) = caplog.records
    assert "high volume" in record.getMessage()
    assert repr(ours) in record.getMessage()
    assert str(ours.high + 1) in record.getMessage()


def test_partial_bar_is_not_compared_and_what_is_kept_is_bounded() -> None:
    (ours, *_) = expected_bars(make_trades(60))
    check = CrossCheck()
    check.bar(replace(ours, quality="partial"))
    check.kline(replace(ours, high=1e6))
    assert check.compared == 0
    for number in range(1_000):
        check.kline(replace(ours, open_time=number * MINUTE))
    assert len(check._theirs) <= 64


def test_klines_are_handed_on() -> None:
    (ours, *_) = expected_bars(make_trades(60))
    assembler = Assembler([SYMBOL], "1m")
    assembler.update([Kline(ours, True, 0)], 0)
    assert [kline.bar for kline in assembler.klines] == [ours]


def test_debts_of_gaps_that_touch_the_same_bars_are_one() -> None:
    trades = make_trades(100)
    gaps = [gap_of(trades, 5, 6), gap_of(trades, 8, 9), gap_of(trades, 80, 81)]
    repaired = replace(gap_of(trades, 50, 51), repaired_at=1)
    first, second = debts_of([*gaps, repaired], "1m")
    assert (len(first.gaps), len(second.gaps)) == (2, 1)
    assert first.end <= second.start


def test_watermark_of_another_symbol_is_refused() -> None:
    with pytest.raises(KeyError):
        Assembler([SYMBOL], "1m").resume(Watermark("ETHUSDT", "1m", 1, 1, T0, 1.0))
