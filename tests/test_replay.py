"""Recorded days, replayed over real sockets, give the bars that their trades give in batch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from microstream_lab.bars import BarBuilder, bars_from_trades
from microstream_lab.market.backfill import Backfill
from microstream_lab.market.exchange import LocalExchange
from microstream_lab.market.exchange.recorded import read_recording
from microstream_lab.market.feed import Feed
from microstream_lab.market.feed.records import Fill
from microstream_lab.market.rest import RestClient
from microstream_lab.market.stream import MarketStream, stream_names
from microstream_lab.schema import AggTrade, Bar, Gap, as_micros, iter_bars

MINUTE = 60_000_000

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@dataclass
class Replayed:
    """What came out of the feed, and the trades of the recording."""

    truth: pd.DataFrame
    feed: Feed
    bars: list[Bar] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)


async def replay(path: Path, symbol: str) -> Replayed:
    """Play a recording as fast as it is taken, and ask REST for every gap."""
    feed, builder = Feed([symbol]), BarBuilder(symbol, "1m")
    replayed = Replayed(read_recording(str(path))[0], feed)
    last_id, end = replayed.truth[["agg_id", "trade_time"]].iloc[-1]
    async with (
        LocalExchange(path, speed=None) as exchange,
        RestClient(exchange.rest_url) as client,
        MarketStream(exchange.ws_url, stream_names([symbol])) as stream,
    ):
        async for frames in stream:
            for event in feed.drain(frames):
                if isinstance(event, AggTrade):
                    replayed.bars += builder.update(event)
                elif isinstance(event, Gap):
                    replayed.gaps.append(event)
            if feed.next_id(symbol) > last_id:
                break
        replayed.fills = [await Backfill(client).fill(gap) for gap in replayed.gaps]
    replayed.bars += builder.advance(as_micros(end.ceil("min")))
    return replayed


def test_untouched_day_comes_through_in_every_field(real_data: Path) -> None:
    path = real_data / "trades" / "BTCUSDC-aggTrades-2025-10-08.zip"
    replayed = asyncio.run(asyncio.wait_for(replay(path, "BTCUSDC"), 60))
    assert len(replayed.truth) == 256_978
    assert replayed.bars == list(iter_bars(bars_from_trades(replayed.truth, "1m")))
    assert replayed.gaps == []
    assert replayed.feed.counters.received == 256_978


def test_hole_of_the_crash_day_is_one_gap_that_nobody_can_fill(real_data: Path) -> None:
    path = real_data / "trades" / "binance_trades_2025-10-10_TRXUSDT.csv.gz"
    replayed = asyncio.run(asyncio.wait_for(replay(path, "TRXUSDT"), 60))
    assert len(replayed.truth) == 282_021
    assert replayed.bars == list(iter_bars(bars_from_trades(replayed.truth, "1m")))
    (gap,), (fill,) = replayed.gaps, replayed.fills
    assert gap.to_id - gap.from_id + 1 == 8
    assert fill.trades == []
    assert fill.gap.repaired_at is None
    assert "unknown to the exchange" in fill.gap.cause
    partial = [bar.open_time for bar in replayed.bars if bar.quality == "partial"]
    minutes = [time // MINUTE * MINUTE for time in (gap.from_time, gap.to_time)]
    assert partial == [*range(minutes[0], minutes[1] + 1, MINUTE)]
