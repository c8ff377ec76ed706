"""Units, frames and JSON at the edge: what the exchange writes becomes ours here and only here."""

from __future__ import annotations

import contextlib
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microstream_lab.errors import DecodeError
from microstream_lab.market.wire import (
    EARLIEST_US,
    LATEST_US,
    bars_frame,
    decode_agg_trades,
    decode_klines,
    infer_unit,
    to_micros,
    to_micros_column,
    trades_frame,
)
from microstream_lab.schema import BAR_COLUMNS, TIME_DTYPE, TRADE_COLUMNS

TRADE = (
    b'[{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27784,'
    b'"T":1498793709153,"m":true,"M":true}]'
)
KLINE = (
    b'[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",'
    b'1499040059999,"2434.19055334",308,"1756.87402397","28.46694368","0"]]'
)

moments = st.integers(EARLIEST_US, LATEST_US - 1)


@given(moments)
def test_every_unit_of_a_moment_gives_the_moment(micros: int) -> None:
    assert to_micros(micros) == micros
    assert to_micros(micros // 1_000) == micros // 1_000 * 1_000
    assert to_micros(micros // 1_000_000) == micros // 1_000_000 * 1_000_000


@given(moments)
def test_seconds_with_a_fraction_keep_their_microseconds(micros: int) -> None:
    assert to_micros(micros / 1e6) == micros


@given(st.lists(moments, min_size=1))
def test_columns_of_times_are_converted_as_single_times_are(micros: list[int]) -> None:
    seconds = np.array([m / 1e6 for m in micros])
    assert to_micros_column(seconds, 1_000_000).tolist() == micros
    assert to_micros_column(np.array(micros), 1).tolist() == micros


@pytest.mark.parametrize(
    "value",
    [0, -1, 5, 1e8, 1.2e9, 4.2e9, 1.2e12, 4.2e12, 1e14, 4.2e15, 1e18, 1e30, math.nan, math.inf],
)
def test_impossible_years_have_no_unit(value: float) -> None:
    assert infer_unit(value) is None
    with pytest.raises(DecodeError, match="2009 and 2100"):
        to_micros(value)


def test_agg_trades_of_a_page_become_records() -> None:
    (trade,) = decode_agg_trades(TRADE, "BNBBTC")
    assert (trade.symbol, trade.agg_id, trade.first_id, trade.last_id) == (
        "BNBBTC",
        26129,
        27781,
        27784,
    )
    assert (trade.price, trade.quantity, trade.buyer_is_maker) == (0.01633102, 4.70443515, True)
    assert trade.trade_time == 1_498_793_709_153_000


def test_klines_of_a_page_become_columns() -> None:
    columns = decode_klines(KLINE)
    assert columns["open_time"].tolist() == [1_499_040_000_000]
    assert columns["quote_volume"].tolist() == [2434.19055334]
    assert columns["trades"].dtype == np.int64
    assert "ignore" not in columns
    assert all(len(column) == 0 for column in decode_klines(b"[]").values())


@given(st.decimals(min_value=0, max_value=10**12, places=8))
def test_decimals_in_strings_are_read_as_python_reads_them(value: object) -> None:
    body = TRADE.replace(b"0.01633102", f"{value:f}".encode())
    assert decode_agg_trades(body, "X")[0].price == float(f"{value:f}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"0.01633102"', b'"-1"'),
        (b'"0.01633102"', b'"nan"'),
        (b'"0.01633102"', b'"inf"'),
        (b'"0.01633102"', b"null"),
        (b'"0.01633102"', b'"x"'),
        (b"26129", b"-1"),
        (b"26129", b"99999999999999999999"),
        (b"26129", b"1.5"),
        (b"1498793709153", b"7"),
        (b'"m":true', b'"m":2'),
        (b'"f":27781,', b""),
        (b"}]", b""),
    ],
)
def test_agg_trades_that_cannot_be_are_a_decode_error(old: bytes, new: bytes) -> None:
    assert old in TRADE
    with pytest.raises(DecodeError):
        decode_agg_trades(TRADE.replace(old, new), "BNBBTC")


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_no_bytes_make_decoding_raise_anything_else(body: bytes) -> None:
    for decode in (decode_klines, lambda body: decode_agg_trades(body, "X")):
        with contextlib.suppress(DecodeError):
            decode(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=12) | st.dictionaries(st.sampled_from("apqflTmM"), inner)
    ),
    max_leaves=40,
)


@given(st.lists(json_values, max_size=3))
def test_no_json_makes_decoding_raise_anything_else(value: object) -> None:
    body = msgspec.json.encode(value)
    for decode in (decode_klines, lambda body: decode_agg_trades(body, "X")):
        with contextlib.suppress(DecodeError):
            decode(body)


def test_frames_have_the_columns_and_types_of_the_schema() -> None:
    columns = decode_klines(KLINE)
    columns["open_time"] = to_micros_column(columns["open_time"], 1_000)
    bars = bars_frame(columns, "BNBBTC", "1m", "spot")
    assert bars.columns.tolist() == list(BAR_COLUMNS)
    assert str(bars.index.dtype) == TIME_DTYPE
    assert [str(bars[name].dtype) for name in ("quality", "market", "symbol", "interval")] == [
        "category"
    ] * 4
    empty = {name: np.array([], dtype=np.int64) for name in TRADE_COLUMNS}
    trades = trades_frame(empty, "BNBBTC", "spot")
    assert trades.columns.tolist() == [*TRADE_COLUMNS, "market", "symbol"]
    assert str(trades["trade_time"].dtype) == TIME_DTYPE
