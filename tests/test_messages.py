"""Every documented message becomes its record, and everything else one kind of error."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stream_messages import START, combined, data_of, make_trade

from microstream_lab.errors import DecodeError
from microstream_lab.market.feed.messages import (
    Kline,
    Quote,
    Refusal,
    Reply,
    Shutdown,
    SingleTrade,
    StreamTrade,
    decode,
)
from microstream_lab.schema import AggTrade, Bar

TRADE = make_trade(26_129)
SINGLE = {
    "e": "trade",
    "E": 1_723_161_255_343,
    "s": "BTCUSDT",
    "t": 3_735_683_259,
    "p": "61837.63000000",
    "q": "0.02000000",
    "T": 1_723_161_255_342,
    "m": True,
    "M": True,
}
KLINE = {
    "e": "kline",
    "E": 1_723_161_301_007,
    "s": "BTCUSDT",
    "k": {
        "t": 1_723_161_240_000,
        "T": 1_723_161_299_999,
        "s": "BTCUSDT",
        "i": "1m",
        "f": 100,
        "L": 200,
        "o": "10.0",
        "c": "11.5",
        "h": "12.0",
        "l": "9.0",
        "v": "1000.25",
        "n": 101,
        "x": True,
        "q": "10500.5",
        "V": "500.125",
        "Q": "5250.25",
        "B": "123456",
    },
}
QUOTE = {"u": 400_900_217, "s": "BNBUSDT", "b": "25.35", "B": "31.21", "a": "25.36", "A": "40.66"}
SHUTDOWN = {"e": "serverShutdown", "E": 1_723_161_255_342}


def raw(data: object) -> bytes:
    return json.dumps(data).encode()


def test_combined_trade_in_microseconds_has_every_value() -> None:
    assert decode(combined(data_of(TRADE))) == TRADE


def test_trade_in_milliseconds_is_told_in_microseconds() -> None:
    record = decode(combined(data_of(TRADE, T=1_723_161_255_342)))
    assert isinstance(record, AggTrade)
    assert record.trade_time == 1_723_161_255_342_000


@pytest.mark.parametrize("data", [data_of(TRADE), SINGLE, KLINE, QUOTE, SHUTDOWN])
def test_raw_and_combined_messages_say_the_same_as_text_and_as_bytes(data: dict[str, Any]) -> None:
    assert decode(raw(data)) == decode(combined(data, "a@b")) == decode(raw(data).decode())


def test_single_trade_is_an_aggregate_of_itself() -> None:
    trade = AggTrade(
        "BTCUSDT",
        3_735_683_259,
        61_837.63,
        0.02,
        3_735_683_259,
        3_735_683_259,
        1_723_161_255_342_000,
        True,
    )
    assert decode(raw(SINGLE)) == SingleTrade(trade)


def test_closed_kline_is_a_complete_bar_of_the_given_market() -> None:
    values = (10.0, 12.0, 9.0, 11.5, 1000.25, 10500.5, 101, 500.125, 5250.25)
    bar = Bar("BTCUSDT", "1m", 1_723_161_240_000_000, *values, "complete", 0, "sim")
    assert decode(raw(KLINE), "sim") == Kline(bar, True, 1_723_161_301_007_000)


def test_open_kline_is_a_partial_bar() -> None:
    record = decode(raw(KLINE | {"k": KLINE["k"] | {"x": False}}))  # type: ignore[operator]
    assert isinstance(record, Kline)
    assert (record.is_closed, record.bar.quality) == (False, "partial")


def test_quote_keeps_sides_and_sizes_apart() -> None:
    expected = Quote("BNBUSDT", 400_900_217, bid=25.35, bid_size=31.21, ask=25.36, ask_size=40.66)
    assert decode(raw(QUOTE)) == expected


def test_shutdown_is_understood_with_its_time() -> None:
    assert decode(combined(SHUTDOWN, "!serverShutdown")) == Shutdown(1_723_161_255_342_000)


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ('{"result":null,"id":1}', Reply(1, None)),
        ('{"result":["btcusdt@aggTrade"],"id":"x"}', Reply("x", ["btcusdt@aggTrade"])),
        ('{"result":true,"id":7}', Reply(7, True)),
        ('{"code":2,"msg":"Invalid request"}', Refusal(None, 2, "Invalid request")),
        ('{"error":{"code":-1121,"msg":"Bad"},"id":3}', Refusal(3, -1121, "Bad")),
    ],
)
def test_answers_to_control_messages_are_told_apart(text: str, record: Reply | Refusal) -> None:
    assert decode(text) == record


def test_record_parsed_in_place_is_like_any_other_record() -> None:
    record = decode(combined(data_of(TRADE)))
    assert type(record) is StreamTrade
    assert (record == TRADE, record != TRADE, {record, TRADE}) == (True, False, {TRADE})
    assert record != make_trade(1)
    assert record != "trade"
    assert pickle.loads(pickle.dumps(record)) == TRADE


BAD = [
    *({"p": price} for price in ("0", "-1", "NaN", "Infinity", "1e400", "1_0", "", " 1", None)),
    *({"q": quantity} for quantity in ("-0.1", "inf", [], {}, True)),
    *({"a": agg_id} for agg_id in (-1, 2**70, "x", 1.5, None)),
    *({"T": time} for time in (5, 10**30, -START, "soon", 4_102_444_800_000_000, 10**13)),
    *({"s": symbol} for symbol in (3, None, [])),
    *({"m": maker} for maker in ("maybe", None, 3)),
    {"l": TRADE.first_id - 1},
]


@pytest.mark.parametrize("changes", BAD, ids=str)
def test_impossible_value_is_refused(changes: dict[str, Any]) -> None:
    for write in (raw, combined):
        with pytest.raises(DecodeError, match=r"^stream message: "):
            decode(write(data_of(TRADE, **changes)))


def test_refusal_names_the_field_and_clips_what_was_found() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(combined(data_of(TRADE, p="-1", M="x" * 10_000)))
    assert "$.data.p" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{" * 100_000,
        b'{"data":' * 100_000,
        b'{"x":' * 50_000 + b"1" + b"}" * 50_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"T":' + b"9" * 100_000 + b"}",
        b"\xff\xfe\x00",
        b'{"e":"trade","s":"\xff"}',
        "\ud800",
        combined({"e": "depthUpdate", "E": 1}),
        combined(data_of(TRADE))[:-5],
        combined(data_of(TRADE)) * 2,
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_is_no_message_is_refused(text: str | bytes) -> None:
    with pytest.raises(DecodeError):
        decode(text)


def require_sound(message: str | bytes) -> None:
    """Decode `message`; what comes out may be believed."""
    try:
        record = decode(message)
    except DecodeError as error:
        assert len(str(error)) < 1_000  # noqa: PT017  both outcomes are right
        return
    if isinstance(record, SingleTrade):
        record = record.trade
    if isinstance(record, AggTrade):
        assert math.isfinite(record.price)
        assert record.price > 0
        assert math.isfinite(record.quantity)
        assert record.quantity >= 0
        assert 0 <= record.first_id <= record.last_id <= 2**62
        assert 1_230_768_000_000_000 <= record.trade_time < 4_102_444_800_000_000


SEEDS = [combined(d) for d in (data_of(TRADE), SINGLE, KLINE, QUOTE, SHUTDOWN)] + [
    raw(d) for d in (data_of(TRADE), SINGLE, KLINE, QUOTE, SHUTDOWN, {"result": None, "id": 1})
]
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(["NaN", "-Infinity", "1e999", "0", "-0.0", "0x10", "\u0661", "1" * 400]),
    st.integers(-(2**80), 2**80).map(str),
    st.floats().map(str),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=20)),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)


@pytest.mark.fuzz
@given(st.binary(max_size=300))
@example(b'{"stream":"a","data":null}')
def test_no_bytes_raise_anything_but_a_decode_error(text: bytes) -> None:
    require_sound(text)


@pytest.mark.fuzz
@given(st.sampled_from(SEEDS), st.data())
def test_no_damaged_message_raises_anything_but_a_decode_error(
    seed: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(start, min(start + 8, len(damaged))))
        damaged[start:end] = data.draw(st.binary(max_size=8))
    require_sound(bytes(damaged))


@pytest.mark.fuzz
@given(
    st.sampled_from([data_of(TRADE), SINGLE, KLINE, QUOTE, SHUTDOWN]),
    st.dictionaries(st.sampled_from("eEsapqflTmMtukBbAidrn"), VALUES, max_size=4),
    st.sampled_from([raw, combined, lambda data: json.dumps(data)]),
)
def test_no_values_raise_anything_but_a_decode_error(
    data: dict[str, Any], changes: dict[str, Any], write: Any
) -> None:
    require_sound(write(data | changes))
