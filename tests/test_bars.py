"""Bars against decimal arithmetic, against each other and against the exchange's own."""

from __future__ import annotations

import gzip
import json
import pickle
import subprocess
import sys
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from itertools import compress, pairwise
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from microstream_lab.bars import BarBuilder, bars_from_trades, folding
from microstream_lab.errors import DataError, LateTradeError, SettingsError
from microstream_lab.schema import (
    BAR_COLUMNS,
    BAR_VALUES,
    COMPLETE,
    PARTIAL,
    REPAIRED,
    AggTrade,
    Bar,
    interval_us,
    iter_bars,
    require_bars,
)

MINUTE = 60_000_000
T0 = 1_723_161_240_000_000  # 2024-08-08 23:54


def trade(
    agg_id: int,
    time: int,
    price: float = 100.0,
    quantity: float = 1.0,
    sold: bool = False,
    n: int = 1,
) -> AggTrade:
    return AggTrade("XUSDT", agg_id, price, quantity, agg_id * 10, agg_id * 10 + n - 1, time, sold)


def frame(trades: list[AggTrade], market: str = "spot") -> pd.DataFrame:
    columns = [name for name in AggTrade.__struct_fields__ if name != "symbol"]
    data = pd.DataFrame([[getattr(t, name) for name in columns] for t in trades], columns=columns)
    data["trade_time"] = pd.to_datetime(data["trade_time"], unit="us", utc=True)
    symbols, markets = [t.symbol for t in trades], [market] * len(trades)
    return data.assign(market=pd.Categorical(markets), symbol=pd.Categorical(symbols))


def streamed(trades: list[AggTrade], interval: str = "1m") -> list[Bar]:
    builder = BarBuilder("XUSDT", interval)
    closed = [bar for each in trades for bar in builder.update(each)]
    last = builder.flush()
    assert last is not None
    return [*closed, last]


def called(quality: str, bars: list[Bar]) -> list[Bar]:
    return [msgspec.structs.replace(bar, quality=quality) for bar in bars]


def decimal_bar(trades: list[AggTrade]) -> tuple[float, ...]:
    """The values of a bar, added up without any rounding but the last."""
    price = [Decimal(repr(t.price)) for t in trades]
    base = [Decimal(repr(t.quantity)) for t in trades]
    quote = [p * q for p, q in zip(price, base, strict=True)]
    bought = [not t.buyer_is_maker for t in trades]
    sums = [
        sum(base),
        sum(quote),
        sum(q for q, b in zip(base, bought, strict=True) if b),
        sum(q for q, b in zip(quote, bought, strict=True) if b),
    ]
    digit = Decimal("1e-8")
    volume, quote_volume, *taker = [
        float(Decimal(s).quantize(digit, rounding=ROUND_HALF_EVEN)) for s in sums
    ]
    n = sum(t.last_id - t.first_id + 1 for t in trades)
    ohlc = (trades[0].price, float(max(price)), float(min(price)), trades[-1].price)
    return (*ohlc, volume, quote_volume, n, *taker)


def values(bar: Bar) -> tuple[float, ...]:
    return tuple(getattr(bar, name) for name in BAR_VALUES)


cents = st.integers(1, 10_000_000).map(lambda n: n / 100)
lots = st.integers(1, 10_000_000).map(lambda n: n / 100_000)
waits = st.one_of(st.integers(0, MINUTE // 3), st.sampled_from([0, MINUTE, 5 * MINUTE]))


@st.composite
def tapes(draw: st.DrawFn) -> list[AggTrade]:
    """Trades in the order of id and of time, now and then exactly on a boundary."""
    rows = draw(
        st.lists(
            st.tuples(waits, cents, lots, st.booleans(), st.integers(1, 4)), min_size=1, max_size=60
        )
    )
    time, tape = T0 + draw(st.sampled_from([0, 1, MINUTE - 1])), []
    for agg_id, (wait, price, quantity, sold, n) in enumerate(rows):
        time += wait
        tape.append(trade(agg_id, time, price, quantity, sold, n))
    return tape


@given(tapes(), st.sampled_from(["1s", "1m", "3m"]))
@settings(max_examples=150, deadline=None)
def test_streamed_bars_equal_batch_bars_in_every_bit(tape: list[AggTrade], interval: str) -> None:
    batch = list(iter_bars(bars_from_trades(frame(tape), interval)))
    assert called(COMPLETE, streamed(tape, interval)) == batch


@given(tapes())
@settings(max_examples=100, deadline=None)
def test_bars_equal_decimal_arithmetic(tape: list[AggTrade]) -> None:
    bars = bars_from_trades(frame(tape), "1m")
    for bar in iter_bars(require_bars(bars)):
        inside = [t for t in tape if bar.open_time <= t.trade_time < bar.open_time + MINUTE]
        if inside:
            assert values(bar) == decimal_bar(inside)
        else:
            before = [t for t in tape if t.trade_time < bar.open_time][-1].price
            assert values(bar) == (before,) * 4 + (0, 0, 0, 0, 0)


@given(tapes(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_prefix_of_the_trades_gives_a_prefix_of_the_closed_bars(
    tape: list[AggTrade], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(tape)))
    part = bars_from_trades(frame(tape[:cut]), "1m").iloc[:-1]
    whole = bars_from_trades(frame(tape), "1m")
    pd.testing.assert_frame_equal(part, whole.iloc[: len(part)], check_exact=True)


@given(tapes(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_builder_restored_from_bytes_goes_on_as_if_nothing_happened(
    tape: list[AggTrade], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(tape)))
    builder = BarBuilder("XUSDT", "1m")
    bars = [bar for each in tape[:cut] for bar in builder.update(each)]
    builder = pickle.loads(pickle.dumps(builder))
    bars += [bar for each in tape[cut:] for bar in builder.update(each)]
    assert bars == streamed(tape)[:-1]


@given(tapes(), st.lists(st.integers(0, 10 * MINUTE), max_size=20))
@settings(max_examples=100, deadline=None)
def test_watermarks_change_no_bar_only_the_moment_it_is_told(
    tape: list[AggTrade], behind: list[int]
) -> None:
    builder, bars = BarBuilder("XUSDT", "1m"), []
    for k, each in enumerate(tape):
        watermark = each.trade_time - (behind[k] if k < len(behind) else 0)
        bars += builder.advance(watermark)
        bars += builder.update(each)
    assert bars == streamed(tape)[:-1]


def test_frame_keeps_the_contract_of_a_bars_frame() -> None:
    bars = bars_from_trades(frame([trade(1, T0), trade(2, T0 + 3 * MINUTE)], "um"), "1m")
    assert tuple(bars.columns) == BAR_COLUMNS
    assert bars.index.name == "open_time"
    assert str(bars.index.dtype) == "datetime64[us, UTC]"
    assert bars["trades"].dtype == np.int64
    assert [bars[n].iloc[0] for n in ("quality", "market", "symbol", "interval")] == [
        "complete",
        "um",
        "XUSDT",
        "1m",
    ]


def test_one_trade_makes_one_bar() -> None:
    (bar,) = iter_bars(bars_from_trades(frame([trade(7, T0 + 5, 2.5, 4.0, n=3)]), "1m"))
    assert values(bar) == (2.5, 2.5, 2.5, 2.5, 4.0, 10.0, 3, 4.0, 10.0)
    assert bar.open_time == T0


def test_a_trade_on_the_boundary_opens_the_next_bar() -> None:
    tape = [trade(1, T0), trade(2, T0 + MINUTE - 1, 101.0), trade(3, T0 + MINUTE, 102.0)]
    first, second = streamed(tape)
    assert (first.close, first.trades) == (101.0, 2)
    assert (second.open_time, second.open) == (T0 + MINUTE, 102.0)


def test_what_takers_sell_counts_in_volume_and_not_in_taker_buys() -> None:
    (bar,) = streamed([trade(1, T0, 10.0, 2.0, sold=True), trade(2, T0, 11.0, 3.0)])
    assert (bar.volume, bar.taker_buy_base) == (5.0, 3.0)
    assert (bar.quote_volume, bar.taker_buy_quote) == (53.0, 33.0)


def test_quiet_bars_carry_the_last_close_and_nothing_else() -> None:
    closed = BarBuilder("XUSDT", "1m")
    assert closed.update(trade(1, T0, 100.0)) == []
    _, *quiet = closed.update(trade(2, T0 + 3 * MINUTE, 90.0))
    assert [bar.open_time for bar in quiet] == [T0 + MINUTE, T0 + 2 * MINUTE]
    assert {values(bar) for bar in quiet} == {(100.0, 100.0, 100.0, 100.0, 0.0, 0.0, 0, 0.0, 0.0)}
    assert {bar.quality for bar in quiet} == {COMPLETE}


def test_until_adds_the_quiet_bars_after_the_last_trade() -> None:
    bars = bars_from_trades(frame([trade(1, T0, 42.0)]), "1m", until=T0 + 3 * MINUTE + 1)
    assert bars["close"].tolist() == [42.0] * 3
    assert bars["trades"].tolist() == [1, 0, 0]
    builder = BarBuilder("XUSDT", "1m")
    builder.update(trade(1, T0, 42.0))
    assert builder.advance(T0 + 3 * MINUTE + 1) == list(iter_bars(bars))


def test_until_before_the_last_trade_takes_nothing_away() -> None:
    tape = frame([trade(1, T0), trade(2, T0 + MINUTE)])
    pd.testing.assert_frame_equal(
        bars_from_trades(tape, "1m", until=T0), bars_from_trades(tape, "1m")
    )


def test_watermark_closes_what_it_proves_over_and_no_more() -> None:
    builder = BarBuilder("XUSDT", "1m")
    assert builder.advance(T0 + 10 * MINUTE) == []
    builder.update(trade(1, T0 + 1))
    assert builder.advance(T0 + MINUTE - 1) == []
    assert [bar.open_time for bar in builder.advance(T0 + MINUTE)] == [T0]
    assert builder.advance(T0 + MINUTE) == []
    assert builder.advance(T0) == []


def test_the_first_trade_after_a_watermark_opens_its_bar() -> None:
    builder = BarBuilder("XUSDT", "1m")
    builder.update(trade(1, T0, 100.0))
    builder.advance(T0 + MINUTE)
    assert builder.update(trade(2, T0 + MINUTE + 5, 90.0)) == []
    forming = builder.forming
    assert forming is not None
    assert values(forming)[:4] == (90.0, 90.0, 90.0, 90.0)


def test_forming_is_a_view_and_none_before_the_first_trade() -> None:
    builder = BarBuilder("XUSDT", "1m")
    assert builder.forming is None
    assert builder.flush() is None
    builder.update(trade(1, T0, 5.0))
    first = builder.forming
    assert first is not None
    assert first.quality == PARTIAL
    assert builder.forming == first


def test_a_bar_flushed_and_then_closed_goes_out_as_a_revision() -> None:
    builder = BarBuilder("XUSDT", "1m")
    builder.update(trade(1, T0))
    flushed = builder.flush()
    assert flushed is not None
    assert (flushed.quality, flushed.revision) == (PARTIAL, 0)
    closed, after = [*builder.update(trade(2, T0 + MINUTE)), builder.forming]
    assert (closed.quality, closed.revision) == (COMPLETE, 1)
    assert after is not None
    assert after.revision == 0


def test_builder_refuses_a_trade_of_a_closed_bar_and_is_unchanged() -> None:
    builder = BarBuilder("XUSDT", "1m")
    builder.update(trade(1, T0))
    builder.update(trade(2, T0 + MINUTE))
    before = builder.forming
    with pytest.raises(LateTradeError, match=f"agg_id 3, expected a time from {T0 + MINUTE}") as e:
        builder.update(trade(3, T0 + MINUTE - 1))
    assert (e.value.agg_id, e.value.open_time) == (3, T0 + MINUTE)
    assert str(pickle.loads(pickle.dumps(e.value))) == str(e.value)
    assert builder.forming == before
    (closed,) = builder.update(trade(3, T0 + 2 * MINUTE))
    assert closed.quality == COMPLETE


def test_a_trade_slightly_back_in_time_counts_while_its_bar_is_open() -> None:
    (bar,) = streamed([trade(1, T0 + 10, 7.0), trade(2, T0 + 5, 8.0)])
    assert (bar.open, bar.close, bar.trades) == (7.0, 8.0, 2)


def test_batch_counts_a_late_trade_in_the_bar_of_its_own_time() -> None:
    tape = [
        trade(1, T0, 10.0),
        trade(2, T0 + MINUTE, 11.0),
        trade(3, T0 + MINUTE - 1, 12.0),
        trade(4, T0 + MINUTE + 1, 13.0),
    ]
    first, second = iter_bars(bars_from_trades(frame(tape), "1m"))
    assert (first.open, first.close, first.trades) == (10.0, 12.0, 2)
    assert (second.open, second.close, second.trades) == (11.0, 13.0, 2)


@pytest.mark.parametrize("agg_id", [2, 1])
def test_a_doubled_or_falling_id_is_refused(agg_id: int) -> None:
    tape = [trade(1, T0), trade(2, T0), trade(agg_id, T0)]
    with pytest.raises(DataError, match=f"agg_id {agg_id} after 2"):
        bars_from_trades(frame(tape), "1m")
    with pytest.raises(DataError, match=f"agg_id {agg_id} after 2"):
        streamed(tape)


def test_bars_touched_by_missing_ids_are_partial_and_their_neighbours_are_not() -> None:
    times = [0, 1, 3, 4]
    tape = [trade(k + (10 if k > 1 else 0), T0 + time * MINUTE) for k, time in enumerate(times)]
    quality = ["complete", "partial", "partial", "partial", "complete"]
    assert bars_from_trades(frame(tape), "1m")["quality"].tolist() == quality
    assert [bar.quality for bar in streamed(tape)[:-1]] == quality[:-1]


def test_every_second_trade_alone_makes_every_bar_partial() -> None:
    tape = frame([trade(2 * k, T0 + k * MINUTE) for k in range(1, 50)])
    assert set(bars_from_trades(tape, "1m")["quality"]) == {"partial"}


def test_repaired_trades_mark_the_bars_they_touch() -> None:
    builder = BarBuilder("XUSDT", "1m")
    builder.update(trade(1, T0))
    bars = builder.update(trade(2, T0 + 2 * MINUTE), REPAIRED)
    bars += builder.update(trade(3, T0 + 3 * MINUTE))
    bars += builder.update(trade(4, T0 + 4 * MINUTE))
    assert [bar.quality for bar in bars] == [REPAIRED, REPAIRED, REPAIRED, COMPLETE]


def test_the_worse_quality_stays() -> None:
    builder = BarBuilder("XUSDT", "1m")
    builder.update(trade(1, T0), PARTIAL)
    builder.update(trade(2, T0), REPAIRED)
    (bar,) = builder.update(trade(3, T0 + MINUTE))
    assert bar.quality == PARTIAL


def test_trades_are_not_touched() -> None:
    tape = frame([trade(1, T0), trade(2, T0 + MINUTE), trade(3, T0 + 5)])
    before = tape.copy(deep=True)
    bars_from_trades(tape, "1m")
    pd.testing.assert_frame_equal(tape, before)


def test_other_time_units_give_the_same_bars() -> None:
    tape = frame([trade(1, T0 + 1000), trade(2, T0 + 3 * MINUTE)])
    coarse = tape.assign(trade_time=tape["trade_time"].astype("datetime64[ms, UTC]"))
    naive = tape.assign(
        trade_time=tape["trade_time"].astype("datetime64[ns, UTC]").dt.tz_localize(None)
    )
    number = tape.assign(trade_time=tape["trade_time"].astype("int64"))
    for other in (coarse, naive, number):
        pd.testing.assert_frame_equal(bars_from_trades(other, "1m"), bars_from_trades(tape, "1m"))


def test_one_compiled_kernel_serves_every_layout_of_the_columns() -> None:
    tape = frame([trade(k, T0 + k * MINUTE // 2) for k in range(1, 20)])
    late = frame([trade(1, T0), trade(2, T0 + MINUTE), trade(3, T0)])
    shifted = tape.assign(agg_id=tape["agg_id"] * 2).iloc[::2].astype({"price": "float32"})
    for each in (tape, late, shifted, tape.iloc[1:].copy()):
        bars_from_trades(each, "1m")
    assert len(folding.fold.signatures) == 1


def test_trades_folded_in_parts_on_threads_make_the_same_bars(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    times = rng.choice([0, 0, 1, 30, 400], 500).cumsum() * 1_000_000
    tape = [trade(k, time=int(time)) for k, time in enumerate(times)]
    whole = bars_from_trades(frame(tape), "1m", until=int(times[-1]) + 600_000_000)
    monkeypatch.setattr("microstream_lab.threads.PART_ROWS", 7)
    monkeypatch.setattr("microstream_lab.threads.cpu_count", lambda: 3)
    in_parts = bars_from_trades(frame(tape), "1m", until=int(times[-1]) + 600_000_000)
    pd.testing.assert_frame_equal(in_parts, whole, check_exact=True)


def test_numba_is_not_loaded_before_the_first_batch() -> None:
    code = "import sys, microstream_lab.bars; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unusable_trades_are_refused() -> None:
    tape = frame([trade(1, T0), trade(2, T0)])
    with pytest.raises(DataError, match="no column price"):
        bars_from_trades(tape.drop(columns="price"), "1m")
    with pytest.raises(DataError, match="no rows"):
        bars_from_trades(tape.iloc[:0], "1m")
    with pytest.raises(DataError, match="2 values of symbol"):
        bars_from_trades(tape.assign(symbol=["A", "B"]), "1m")
    with pytest.raises(DataError, match="a quantity that is negative, not finite"):
        bars_from_trades(tape.assign(quantity=[1.0, np.nan]), "1m")
    with pytest.raises(SettingsError, match="7m"):
        bars_from_trades(tape, "7m")
    with pytest.raises(SettingsError, match="7m"):
        BarBuilder("XUSDT", "7m")


scales = st.sampled_from([(4, 8), (10, 6), (16, 8), (18, 0), (9, 1)])
"""Digits of a number in all, and behind the point; a float holds fifteen."""


@st.composite
def decimals(draw: st.DrawFn, n: int) -> list[Decimal]:
    digits, places = draw(scales)
    largest = 10 ** min(digits, 15) - 1
    rows = st.lists(st.integers(1, largest), min_size=n, max_size=n)
    return [Decimal(unit).scaleb(-places) for unit in draw(rows)]


def half_up(number: Decimal) -> float:
    return float(number.quantize(Decimal("1e-8"), rounding=ROUND_HALF_UP))


@given(st.integers(1, 300), st.data())
@settings(max_examples=200, deadline=None)
def test_sums_of_any_size_are_the_nearest_floats(n: int, data: st.DataObject) -> None:
    price, size = data.draw(decimals(n)), data.draw(decimals(n))
    assume(sum(p * q for p, q in zip(price, size, strict=True)) < 10**17)
    sold = [bool(k % 3) for k in range(n)]
    tape = [trade(k + 1, T0 + k, float(price[k]), float(size[k]), sold=sold[k]) for k in range(n)]
    with localcontext(prec=60):
        amounts = [p * q for p, q in zip(price, size, strict=True)]
        expected = tuple(
            half_up(sum(compress(numbers, chosen), Decimal(0)))
            for chosen in ([True] * n, [not each for each in sold])
            for numbers in (size, amounts)
        )
    (bar,), (batch,) = streamed(tape), iter_bars(bars_from_trades(frame(tape), "1m"))
    names = ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote")
    assert tuple(getattr(bar, name) for name in names) == expected
    assert values(batch) == values(bar)


def test_the_largest_numbers_that_messages_may_hold_are_added_as_well_as_floats_can() -> None:
    tape = [trade(k + 1, T0 + k, 9e17, 9.9e17) for k in range(1_000)]
    (bar,), (batch,) = streamed(tape), iter_bars(bars_from_trades(frame(tape), "1m"))
    for each in (bar, batch):
        assert each.volume == 9.9e20
        assert each.quote_volume == pytest.approx(8.91e38, rel=1e-12)
    with pytest.raises(DataError, match="too large"):
        bars_from_trades(frame([trade(1, T0, 1.0, 1e18)]), "1m")


def test_a_busy_day_of_large_trades_loses_no_decimal() -> None:
    n, amount = 50_000, Decimal("61837.63") * Decimal("99.99999")
    tape = [trade(k + 1, T0 + k, 61837.63, 99.99999) for k in range(n)]
    (bar,) = streamed(tape)
    assert (bar.volume, bar.quote_volume) == (float(n * Decimal("99.99999")), float(n * amount))
    assert bar.taker_buy_quote == bar.quote_volume
    (batch,) = iter_bars(bars_from_trades(frame(tape), "1m"))
    assert values(batch) == values(bar)


@given(tapes(), st.lists(st.integers(0, 60), max_size=5))
@settings(max_examples=100, deadline=None)
def test_trades_absorbed_together_make_the_bars_of_trades_taken_singly(
    tape: list[AggTrade], cuts: list[int]
) -> None:
    builder, bars, places = BarBuilder("XUSDT", "1m"), [], [0, *sorted(cuts), len(tape)]
    for start, stop in pairwise(places):
        part, place = tape[start:stop], 0
        while (place := builder.absorb(part, place)) < len(part):
            bars += builder.update(part[place])
            place += 1
    assert bars == streamed(tape)[:-1]
    assert builder.flush() == streamed(tape)[-1]


def test_absorbing_stops_at_a_hole_a_late_trade_and_a_new_bar() -> None:
    for odd in (trade(4, T0 + 2), trade(3, T0 - 1), trade(3, T0 + MINUTE)):
        builder = BarBuilder("XUSDT", "1m")
        assert builder.absorb([trade(1, T0)]) == 0
        builder.update(trade(1, T0))
        assert builder.absorb([trade(1, T0), trade(2, T0 + 1), odd], 1) == 2


def test_builder_holds_a_bounded_number_of_trades() -> None:
    builder = BarBuilder("XUSDT", "1d")
    for k in range(10_000):
        builder.update(trade(k, T0 + k))
        assert len(builder._held) <= 64
        assert len(builder._prices) < 2_048
    assert builder.absorb([trade(k, T0 + k) for k in range(10_000, 20_000)]) == 10_000
    assert len(builder._held) == len(builder._prices) == 0
    assert builder.flush().trades == 20_000  # type: ignore[union-attr]


def test_a_watermark_far_in_the_future_is_refused_and_changes_nothing() -> None:
    builder = BarBuilder("XUSDT", "1s")
    builder.update(trade(1, T0))
    before = builder.forming
    with pytest.raises(DataError, match=r"1s bars of XUSDT: found a watermark of 9"):
        builder.advance(9 * 10**17)
    with pytest.raises(DataError, match="1s bars of XUSDT"):
        builder.update(trade(2, 9 * 10**17))
    assert builder.forming == before
    assert len(builder.advance(T0 + 10**8)) == 100


def captured_trades(folder: Path) -> list[AggTrade]:
    """Single trades of the raw capture, read without the package's own wire code."""
    trades = []
    for day in ("20240808", "20240809"):
        with gzip.open(folder / "websocket" / f"spot_btcusdt_{day}.gz", "rt") as lines:
            for line in lines:
                if '"btcusdt@trade"' in line[:60]:
                    t = json.loads(line.split(" ", 1)[1])["data"]
                    price, quantity, id_ = float(t["p"]), float(t["q"]), t["t"]
                    time = t["T"] * 1000
                    trades.append(AggTrade("BTCUSDT", id_, price, quantity, id_, id_, time, t["m"]))
    return trades


@pytest.mark.realdata
def test_captured_trades_give_the_bars_of_the_exchange(real_data: Path) -> None:
    trades = captured_trades(real_data)
    bars = bars_from_trades(frame(trades), "5m").loc["2024-08-08 23:55":"2024-08-09 00:00"]
    names = [f"k{i}" for i in range(12)]
    klines = pd.read_csv(real_data / "klines_5m" / "BTCUSDT-5m-2024-08.zip", names=names)
    klines = klines.set_index(pd.to_datetime(klines.pop("k0"), unit="ms", utc=True))
    expected = klines.loc[bars.index, ["k1", "k2", "k3", "k4", "k5", "k7", "k8", "k9", "k10"]]
    assert bars["trades"].tolist() == [8863, 9913]
    np.testing.assert_array_equal(bars[list(BAR_VALUES)].to_numpy(), expected.to_numpy())
    builder = BarBuilder("BTCUSDT", "5m")
    live = [bar for each in trades for bar in builder.update(each)]
    assert live[1:3] == list(iter_bars(bars))


@pytest.fixture(scope="module")
def archived_day(real_data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trades of a day, and their volumes as exact integers: units of 1e-8 base and 1e-7 quote."""
    names = ["agg_id", "price", "quantity", "first_id", "last_id", "trade_time", "buyer_is_maker"]
    path = real_data / "trades" / "BTCUSDC-aggTrades-2025-10-08.zip"
    text = pd.read_csv(path, names=[*names, "best"], dtype={"price": str, "quantity": str})
    base, price = (
        text[name].str.replace(".", "").astype("int64") for name in ("quantity", "price")
    )
    quote = (base // 1000) * (price // 1_000_000)  # lots of 1e-5 times cents
    exact = pd.DataFrame({"base": base, "quote": quote, "time": text["trade_time"]})
    trades = text.astype({"price": float, "quantity": float}).assign(
        trade_time=pd.to_datetime(text["trade_time"], unit="us", utc=True),
        market="spot",
        symbol="BTCUSDC",
    )
    return trades, exact


@pytest.mark.realdata
@pytest.mark.parametrize("interval", ["1s", "1m", "1d"])
def test_archived_trades_of_a_day_equal_an_exact_sum(
    archived_day: tuple[pd.DataFrame, pd.DataFrame], interval: str
) -> None:
    trades, exact = archived_day
    bars = bars_from_trades(trades, interval)
    by_bar = exact.groupby(exact["time"] // interval_us(interval)).sum()
    traded = bars[bars["trades"] > 0]
    np.testing.assert_array_equal(traded["volume"], by_bar["base"] / 1e8)
    np.testing.assert_array_equal(traded["quote_volume"], by_bar["quote"] / 1e7)
    assert bars["trades"].sum() == (trades["last_id"] - trades["first_id"] + 1).sum()
    assert set(bars["quality"]) == {"complete"}
