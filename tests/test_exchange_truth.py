"""What the local exchange holds to be true: digits, bars, recordings, and what it keeps of them."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from exchange_client import dialled, receive, run_async
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.bars import BarBuilder, bars_from_trades
from microstream_lab.errors import DataError, SettingsError
from microstream_lab.market.exchange import LocalExchange, Recording, as_source
from microstream_lab.market.exchange.klines import as_bars, fold, settled, with_quiet
from microstream_lab.market.exchange.ledger import Ledger
from microstream_lab.market.exchange.messages import Messages, Template, frame
from microstream_lab.market.exchange.sources import Block
from microstream_lab.market.exchange.tape import as_frame, as_tape, single_trades
from microstream_lab.market.files import read_agg_trades, write_agg_trades
from microstream_lab.market.simulate import simulate_market
from microstream_lab.schema import AggTrade, as_micros

E8 = Decimal("0.00000001")
MINUTE = 60_000_000
START = as_micros("2024-05-01")

TRADES = st.lists(
    st.tuples(
        st.integers(1, 10**13),  # price, 1e-8
        st.integers(1, 10**12),  # quantity, 1e-8
        st.integers(0, 5),  # further single trades
        st.integers(0, 3 * MINUTE),  # us after the trade before
        st.booleans(),
        st.sampled_from([1, 1, 1, 1, 3]),  # steps of the id
    ),
    min_size=1,
    max_size=60,
)


def make_tape(rows: list[tuple[Any, ...]]) -> np.ndarray:
    tape = np.zeros((8, len(rows)), np.int64)
    agg_id, single, now = 100, 1000, START
    for k, (price, quantity, more, wait, maker, step) in enumerate(rows):
        agg_id, single, now = agg_id + step, single + 7 * (step - 1), now + wait
        tape[:, k] = agg_id, price, quantity, single, single + more, now, maker, now
        single += more + 1
    return tape


@settings(max_examples=80, deadline=None)
@given(TRADES)
def test_bars_equal_the_sums_of_decimals(rows: list[tuple[Any, ...]]) -> None:
    tape = make_tape(rows)
    bars = as_bars(settled(fold(tape, MINUTE)), "XUSDT", "1m", "sim")
    groups: dict[int, list[np.ndarray]] = defaultdict(list)
    for trade in tape.T:
        groups[int(trade[5]) // MINUTE * MINUTE].append(trade)
    assert bars.index.as_unit("us").asi8.tolist() == list(groups)
    for (_, bar), trades in zip(bars.iterrows(), groups.values(), strict=True):
        price = [Decimal(int(t[1])) * E8 for t in trades]
        size = [Decimal(int(t[2])) * E8 for t in trades]
        bought = [not t[6] for t in trades]
        quote = [p * q for p, q in zip(price, size, strict=True)]
        assert bar["open"] == float(price[0])
        assert bar["close"] == float(price[-1])
        assert (bar["high"], bar["low"]) == (float(max(price)), float(min(price)))
        assert bar["volume"] == float(sum(size))
        assert bar["taker_buy_base"] == float(
            sum(q for q, b in zip(size, bought, strict=True) if b)
        )
        total = sum(quote).quantize(E8, ROUND_HALF_UP)
        assert bar["quote_volume"] == float(total)
        taken = sum((q for q, b in zip(quote, bought, strict=True) if b), Decimal(0))
        assert bar["taker_buy_quote"] == float(taken.quantize(E8, ROUND_HALF_UP))
        assert bar["trades"] == sum(int(t[4] - t[3] + 1) for t in trades)


@settings(max_examples=50, deadline=None)
@given(TRADES)
def test_quiet_bars_and_holes_are_marked_as_bars_from_trades_marks_them(
    rows: list[tuple[Any, ...]],
) -> None:
    tape = make_tape(rows)
    ours = as_bars(with_quiet(settled(fold(tape, MINUTE)), MINUTE, 0), "XUSDT", "1m", "sim")
    theirs = bars_from_trades(as_frame(tape, "XUSDT", "sim"), "1m")
    for name in ("open", "high", "low", "close", "trades", "quality"):
        assert ours[name].astype(str).tolist() == theirs[name].astype(str).tolist()
    assert ours.index.equals(theirs.index)


@settings(max_examples=50, deadline=None)
@given(TRADES)
def test_single_trades_add_up_and_their_ids_follow_each_other(rows: list[tuple[Any, ...]]) -> None:
    tape = make_tape(rows)
    singles = single_trades(tape)
    expected = [
        k for first, last in zip(tape[3], tape[4], strict=True) for k in range(first, last + 1)
    ]
    assert singles[0].tolist() == expected
    assert singles[2].sum() == tape[2].sum()
    assert (singles[2] >= 0).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-(2**62), 2**62), st.booleans()), max_size=20),
    st.text(max_size=80),
)
def test_rendered_messages_are_what_formatting_gives(
    rows: list[tuple[int, bool]], text: str
) -> None:
    text = text.replace("%", "")
    template = Template(text + "%int%:%dec%%bool%" + text)
    numbers = np.array([n for n, _ in rows], np.int64)
    flags = np.array([f for _, f in rows], np.int64)
    framed = template.render([numbers, numbers, flags], numbers)
    bare = template.render([numbers, numbers, flags], numbers, framed=False)
    for k, (number, flag) in enumerate(rows):
        decimal = f"{Decimal(number) * E8:.8f}" if number else "0.00000000"
        expected = f"{text}{number}:{decimal}{str(flag).lower()}{text}".encode()
        assert bare[k] == expected
        assert framed[k] == frame(expected)
    order = np.array([k for k in range(len(rows)) for _ in range(2)], np.int64)[::-1].copy()
    assert framed.take(order).tobytes() == b"".join(framed[int(k)] for k in order)


def test_merging_keeps_the_order_of_time_and_then_of_batches() -> None:
    def batch(name: bytes, *times: int) -> Messages:
        one = [Messages.of([b"%s%d" % (name, time)], time) for time in times]
        return Messages.joined(one)

    merged = Messages.merged([batch(b"a", 1, 3, 3), batch(b"b", 0, 3, 9)])
    assert [merged[k] for k in range(6)] == [b"b0", b"a1", b"a3", b"a3", b"b3", b"b9"]


@given(st.integers(0, 200_000))
@settings(max_examples=30, deadline=None)
def test_frames_of_every_length_are_what_websockets_reads(length: int) -> None:
    from websockets.client import ClientProtocol
    from websockets.frames import Frame
    from websockets.protocol import State
    from websockets.uri import parse_uri

    client = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN, max_size=None)
    client.receive_data(frame(b"x" * length))
    (event,) = client.events_received()
    assert isinstance(event, Frame)
    assert bytes(event.data) == b"x" * length


def test_ledger_forgets_the_oldest_and_never_a_trade_it_promised_to_keep() -> None:
    tape = make_tape([(1, 1, 0, 1_000_000, False, 1)] * 5000)
    ledger = Ledger("XUSDT", "sim", keep=1000)
    for start in range(0, 5000, 37):
        ledger.append(tape[:, start : start + 37])
        assert min(start, 1000) <= len(ledger) <= 2037
        assert ledger.tape[0, -1] == tape[0, min(start + 36, 4999)]
    assert ledger.n_forgotten + len(ledger) == 5000
    first_whole = ledger.bars("1m", int(tape[5, -1])).iloc[0]
    assert first_whole["trades"] == 60


@pytest.mark.parametrize(
    ("column", "value"), [("price", 0.123456789), ("quantity", -1.0), ("price", float("nan"))]
)
def test_number_that_eight_decimals_cannot_hold_is_refused(column: str, value: float) -> None:
    trades = simulate_market("2024-01-01", 5).trades
    trades.loc[3, column] = value
    with pytest.raises(DataError, match=column):
        as_source(trades)


def test_trades_out_of_order_and_empty_sources_are_refused() -> None:
    trades = simulate_market("2024-01-01", 5).trades
    with pytest.raises(DataError, match="ascending"):
        as_source(trades.iloc[::-1])
    with pytest.raises(SettingsError, match="no trades"):
        as_source(trades.iloc[:0])
    with pytest.raises(SettingsError, match="no trades of XUSDT"):
        Recording({"XUSDT": Block(np.empty((8, 0), np.int64))}, "sim")


def test_recordings_of_one_symbol_are_joined_and_of_several_kept_apart(tmp_path: Path) -> None:
    market = simulate_market("2025-01-01", 3 * 1440)
    files = write_agg_trades(market.trades, tmp_path)
    other = market.trades.iloc[:100].assign(symbol="OTHER")
    source = as_source([*files, other])
    assert source.symbols == ("SIMUSDT", "OTHER")
    (block,) = source.blocks("SIMUSDT")
    np.testing.assert_array_equal(block.tape, as_tape(market.trades, "here"))
    with pytest.raises(SettingsError, match="out of order"):
        as_source(files[::-1])


def test_file_that_is_no_recording_is_refused_with_its_first_line(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("dear diary\n")
    with pytest.raises(DataError, match="dear diary"):
        as_source(file)
    with pytest.raises(DataError, match="readable"):
        as_source(tmp_path / "absent.csv")


@run_async
async def test_trade_with_an_earlier_time_counts_in_the_bar_of_its_own_time() -> None:
    trades = simulate_market("2024-01-01", 10).trades
    trades.loc[100, "trade_time"] = trades["trade_time"].iloc[100] - pd.Timedelta(minutes=1)
    async with (
        LocalExchange(trades, speed=None) as exchange,
        dialled(exchange, "/ws/simusdt@aggTrade") as connection,
    ):
        received = await receive(connection, len(trades))
        await exchange.finished()
        bars = exchange.bars("SIMUSDT", "1m")
    assert [m["a"] for m in received] == trades["agg_id"].tolist()
    assert received[100]["T"] == as_micros(trades["trade_time"].iloc[100]) // 1000
    assert all(m["E"] >= m["T"] for m in received)
    pd.testing.assert_frame_equal(bars, bars_from_trades(trades, "1m"))


def write_capture(path: Path) -> None:
    lines = []
    for k in range(5):
        when = 1_723_161_255_342 + k * 100
        trade = {"e": "trade", "E": when + 1, "s": "BTCUSDT", "t": 50 + k, "p": "61837.63000000"}
        trade |= {"q": f"0.0{k + 1}000000", "T": when, "m": k % 2 == 0, "M": True}
        quote = {"u": 900 + k, "s": "BTCUSDT", "b": "1.5", "B": "2", "a": "1.6", "A": "3"}
        lines += [("btcusdt@trade", trade), ("btcusdt@bookTicker", quote)]
    text = "".join(
        f"{k}000 {json.dumps({'stream': stream, 'data': data})}\n"
        for k, (stream, data) in enumerate(lines, 1)
    )
    with gzip.open(path, "wt") as file:
        file.write(text.replace("\n", '\n77 {"lastUpdateId":5,"bids":[["1","2"]],"asks":[]}\n', 1))


@run_async
async def test_capture_is_played_with_its_own_quotes(tmp_path: Path) -> None:
    write_capture(tmp_path / "capture.gz")
    path = "/stream?streams=btcusdt@trade/btcusdt@bookTicker"
    async with (
        LocalExchange(tmp_path / "capture.gz", speed=None) as exchange,
        dialled(exchange, path) as connection,
    ):
        received = await receive(connection, 8)
    trades = [m["data"] for m in received if m["stream"] == "btcusdt@trade"]
    quotes = [m["data"] for m in received if m["stream"] == "btcusdt@bookTicker"]
    assert [t["t"] for t in trades] == [50, 51, 52, 53, 54][: len(trades)]
    assert quotes[0] == {
        "u": 900,
        "s": "BTCUSDT",
        "b": "1.50000000",
        "B": "2.00000000",
        "a": "1.60000000",
        "A": "3.00000000",
    }


@pytest.mark.realdata
@run_async
async def test_real_day_of_aggregate_trades_replays_to_its_own_bars(real_data: Path) -> None:
    file = real_data / "trades" / "BTCUSDC-aggTrades-2025-10-08.zip"
    trades, evening = read_agg_trades(file), pd.Timestamp("2025-10-08 22:00", tz="UTC")
    n_late = int((trades["trade_time"] > evening).sum())
    builder = BarBuilder("BTCUSDC", "1m")
    volumes = []
    async with (
        LocalExchange(file, speed=None, play_from=evening) as exchange,
        dialled(exchange, "/ws/btcusdc@aggTrade?timeUnit=MICROSECOND") as connection,
    ):
        for m in await receive(connection, n_late):
            values = float(m["p"]), float(m["q"]), m["f"], m["l"], m["T"], m["m"]
            volumes += builder.update(AggTrade(m["s"], m["a"], *values))
        await exchange.finished()
        truth = exchange.bars("BTCUSDC", "1m")
        assert exchange.trades("BTCUSDC").equals(trades)
    pd.testing.assert_frame_equal(truth, bars_from_trades(trades, "1m", until="2025-10-09"))
    for name in ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote", "close", "trades"):
        assert [getattr(bar, name) for bar in volumes] == truth.loc[evening:, name].iloc[
            :-1
        ].tolist()


@pytest.mark.realdata
@run_async
async def test_ids_missing_in_a_recording_are_missing_everywhere(real_data: Path) -> None:
    file = real_data / "trades" / "binance_trades_2025-10-10_TRXUSDT.csv.gz"
    async with LocalExchange(file, speed=None, play_from="2025-10-11") as exchange:
        trades = exchange.trades("TRXUSDT")
        ids = trades["agg_id"].to_numpy()
        (place,) = np.flatnonzero(np.diff(ids) != 1)
        assert ids[place + 1] - ids[place] - 1 == 8
        async with httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False) as client:
            params = {"symbol": "TRXUSDT", "fromId": int(ids[place]), "limit": 3}
            page = (await client.get("/api/v3/aggTrades", params=params)).json()
        assert [t["a"] for t in page] == ids[place : place + 3].tolist()
        bars = exchange.bars("TRXUSDT", "1m")
        partial = bars.index[bars["quality"] == "partial"]
        holed = trades["trade_time"].iloc[[place, place + 1]].dt.floor("min")
        assert set(partial) == set(pd.date_range(*holed, freq="min"))
        pd.testing.assert_frame_equal(bars, bars_from_trades(trades, "1m", until="2025-10-11"))


@pytest.mark.realdata
@run_async
async def test_real_captures_give_the_archives_five_minute_bars(real_data: Path) -> None:
    folder = real_data / "websocket"
    files = [folder / f"spot_btcusdt_2024080{day}.gz" for day in (8, 9)]
    async with LocalExchange(files, speed=None, play_from="2024-08-09 00:05") as exchange:
        ours = exchange.bars("BTCUSDT", "5m")
    from microstream_lab.market.files import read_klines

    archive = read_klines(real_data / "klines_5m" / "BTCUSDT-5m-2024-08.zip")
    for moment in ("2024-08-08 23:55", "2024-08-09 00:00"):
        at = pd.Timestamp(moment, tz="UTC")
        pd.testing.assert_series_equal(ours.loc[at], archive.loc[at])
