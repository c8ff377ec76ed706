"""Tick, volume and dollar bars against decimal arithmetic, and one face against the other."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from decimal import Decimal
from typing import cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.bars import SampledBar, SampledBarBuilder, sampled_bars
from microstream_lab.bars.sampled import SampleKind
from microstream_lab.errors import DataError, SettingsError
from microstream_lab.schema import BAR_VALUES, AggTrade

KINDS = pytest.mark.parametrize(("kind", "size"), [("tick", 7), ("volume", 0.9), ("dollar", 123.4)])


def make_trades(n: int = 300, seed: int = 0, holes: Iterable[int] = ()) -> list[AggTrade]:
    """Trades of one to four single ones; some carry the time of the trade before."""
    rng = np.random.default_rng(seed)
    prices = np.round(100 + rng.normal(0, 0.1, n).cumsum(), 2).tolist()
    sizes = np.round(rng.exponential(0.2, n) + 1e-5, 5).tolist()
    single = rng.integers(1, 5, n)
    last_ids = single.cumsum()
    ids = zip((last_ids - single + 1).tolist(), last_ids.tolist(), strict=True)
    times = (1_700_000_000_000_000 + (rng.integers(0, 2, n) * 1000).cumsum()).tolist()
    sold = (rng.random(n) < 0.4).tolist()
    rows = enumerate(zip(prices, sizes, ids, times, sold, strict=True))
    made = [AggTrade("XUSDT", i, p, q, *ids, t, m) for i, (p, q, ids, t, m) in rows]
    return [trade for trade in made if trade.agg_id not in set(holes)]


def frame(trades: list[AggTrade]) -> pd.DataFrame:
    names = [name for name in AggTrade.__struct_fields__ if name != "symbol"]
    data = pd.DataFrame([[getattr(t, name) for name in names] for t in trades], columns=names)
    data["trade_time"] = pd.to_datetime(data["trade_time"], unit="us", utc=True)
    return data.assign(market="spot", symbol="XUSDT")


def streamed(
    trades: list[AggTrade], kind: SampleKind, size: float
) -> tuple[list[SampledBar], SampledBar | None]:
    builder = SampledBarBuilder("XUSDT", kind, size)
    bars = [bar for trade in trades if (bar := builder.update(trade)) is not None]
    return bars, builder.flush()


def as_rows(table: pd.DataFrame) -> list[tuple[object, ...]]:
    times = [table[name].astype("int64").tolist() for name in ("open_time", "close_time")]
    values = [table[name].tolist() for name in BAR_VALUES]
    return list(zip(*times, *values, table["quality"].astype(str), strict=True))


def as_row(bar: SampledBar) -> tuple[object, ...]:
    names = ("open_time", "close_time", *BAR_VALUES, "quality")
    return tuple(getattr(bar, name) for name in names)


def decimal_count(trade: AggTrade, kind: SampleKind) -> Decimal:
    if kind == "tick":
        return Decimal(trade.last_id - trade.first_id + 1)
    quantity = Decimal(repr(trade.quantity))
    return quantity if kind == "volume" else quantity * Decimal(repr(trade.price))


@KINDS
def test_bars_are_the_trades_it_takes_to_reach_the_size(kind: SampleKind, size: float) -> None:
    trades, count = make_trades(), Decimal(0)
    groups: list[list[AggTrade]] = [[]]
    for trade in trades:
        groups[-1].append(trade)
        count += decimal_count(trade, kind)
        if count >= Decimal(repr(size)):
            groups.append([])
            count = Decimal(0)
    table = sampled_bars(frame(trades), kind, size)
    assert len(table) == len(groups) - 1 > 20
    for row, group in zip(table.itertuples(), groups, strict=False):
        prices = [trade.price for trade in group]
        assert (row.open, row.high, row.low, row.close) == (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
        )
        assert row.volume == float(sum(Decimal(repr(t.quantity)) for t in group))
        assert row.trades == sum(t.last_id - t.first_id + 1 for t in group)
        assert row.open_time.value // 1000 == group[0].trade_time
        assert row.close_time.value // 1000 == group[-1].trade_time


@KINDS
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 120), holes=st.sets(st.integers(1, 118)))
def test_one_trade_at_a_time_gives_the_bars_of_all_at_once(
    kind: SampleKind, size: float, seed: int, n: int, holes: set[int]
) -> None:
    trades = make_trades(n, seed, holes)
    bars, _ = streamed(trades, kind, size)
    assert [as_row(bar) for bar in bars] == as_rows(sampled_bars(frame(trades), kind, size))


@KINDS
def test_bars_and_the_one_that_forms_add_up_to_all_trades(kind: SampleKind, size: float) -> None:
    trades = make_trades()
    bars, forming = streamed(trades, kind, size)
    everything = [*bars, forming] if forming else bars
    total = sum(Decimal(repr(bar.volume)) for bar in everything)
    assert total == sum(Decimal(repr(trade.quantity)) for trade in trades)
    assert sum(bar.trades for bar in everything) == trades[-1].last_id


@KINDS
def test_later_trades_change_no_earlier_bar(kind: SampleKind, size: float) -> None:
    trades = make_trades()
    whole = as_rows(sampled_bars(frame(trades), kind, size))
    prefix = as_rows(sampled_bars(frame(trades[:170]), kind, size))
    assert prefix == whole[: len(prefix)]


def test_ten_tenths_fill_a_volume_bar_of_one() -> None:
    trades = [AggTrade("XUSDT", i, 100.0, 0.1, i, i, 10**15 + i, False) for i in range(20)]
    assert [bar.volume for bar in streamed(trades, "volume", 1.0)[0]] == [1.0, 1.0]
    assert sampled_bars(frame(trades), "volume", 1.0)["trades"].tolist() == [10, 10]


def test_a_hole_makes_the_bar_partial_whose_trades_it_took() -> None:
    trades = [AggTrade("XUSDT", i, 100.0, 1.0, i, i, 10**15 + i, False) for i in range(10)]
    del trades[4]  # the bars hold 0 1, 2 3, 5 6, 7 8
    table = sampled_bars(frame(trades), "tick", 2)
    assert table["quality"].tolist() == ["complete", "complete", "partial", "complete"]


def test_too_few_trades_make_no_bar_and_no_trades_are_an_error() -> None:
    table = sampled_bars(frame(make_trades(3)), "volume", 1e6)
    assert table.empty
    assert table.columns.tolist()[:3] == ["open_time", "close_time", "open"]
    with pytest.raises(DataError, match="no rows"):
        sampled_bars(frame(make_trades(3)).iloc[:0], "tick", 5)


def test_a_builder_goes_on_where_it_was_pickled() -> None:
    builder = SampledBarBuilder("XUSDT", "dollar", 100.0)
    trades = make_trades()
    for trade in trades[:50]:
        builder.update(trade)
    copy = pickle.loads(pickle.dumps(builder))
    assert [copy.update(t) for t in trades[50:]] == [builder.update(t) for t in trades[50:]]
    assert SampledBarBuilder("XUSDT", "tick", 5).flush() is None


def test_the_bar_that_forms_is_told_as_partial() -> None:
    bars, forming = streamed(make_trades(30), "volume", 1e6)
    assert not bars
    assert forming is not None
    assert (forming.quality, forming.open) == ("partial", make_trades(30)[0].price)


def test_a_refused_trade_changes_nothing() -> None:
    builder, trades = SampledBarBuilder("XUSDT", "tick", 6), make_trades()
    builder.update(trades[3])
    before = builder.flush()
    with pytest.raises(DataError):
        builder.update(trades[1])
    assert builder.flush() == before


def test_a_kind_or_size_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match="tick volume dollar"):
        sampled_bars(frame(make_trades(3)), cast(SampleKind, "time"), 5)
    with pytest.raises(SettingsError, match="found 0"):
        SampledBarBuilder("XUSDT", "tick", 0)
