"""Messages: what goes in comes out, and what is no bar is told so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import nan
from typing import Any

import msgspec
import pytest
from factories import make_bars
from hypothesis import given
from hypothesis import strategies as st

from microstream_lab.bus.messages import bar_message, decode_bar, decode_signal, signal_message
from microstream_lab.errors import DataError
from microstream_lab.schema import Bar, Signal, iter_bars

BAR = next(iter_bars(make_bars(5)))
PRICES = st.floats(1e-8, 1e9, allow_nan=False)


@given(PRICES, PRICES, st.floats(0, 1e12), st.integers(0, 2**53), st.integers(0, 99))
def test_a_bar_comes_back_to_the_last_digit(
    a: float, b: float, volume: float, trades: int, revision: int
) -> None:
    bar = msgspec.structs.replace(
        BAR, open=a, close=b, low=min(a, b), high=max(a, b), volume=volume, trades=trades
    )
    bar = msgspec.structs.replace(bar, revision=revision, quality="repaired", market="um")
    assert decode_bar(bar_message(bar)) == bar


@given(st.lists(st.floats(0, 1) | st.just(nan), max_size=4), st.floats() | st.just(nan))
def test_a_signal_comes_back_to_the_last_digit_with_its_nans(
    probs: list[float], feature: float
) -> None:
    if abs(feature) == float("inf"):
        feature = nan  # no feature is ever infinite
    signal = Signal(
        *("BTCUSDT", "1m", 60_000_000, "bundle", {"log_return": feature}, nan, False, -1),
        *(tuple(probs), nan),
        revision=3,
    )
    assert repr(decode_signal(signal_message(signal))) == repr(signal)


def test_a_message_says_its_version_first_and_is_plain_json() -> None:
    told = json.loads(bar_message(BAR))
    assert next(iter(told.items())) == ("version", 1)
    assert told["symbol"] == "BTCUSDT"


def test_fields_that_a_later_version_adds_within_version_1_are_passed_over() -> None:
    told = json.loads(bar_message(BAR)) | {"vwap": 1.5}
    assert decode_bar(json.dumps(told).encode()) == BAR


@dataclass
class Spoilt:
    """Fields of a good message changed, and what is said about it."""

    changes: dict[str, Any]
    reason: str


@pytest.mark.parametrize(
    "case",
    [
        Spoilt({"version": 2}, "version 2"),
        Spoilt({"version": "1"}, "version"),
        Spoilt({"close": "30000"}, "close"),
        Spoilt({"trades": 1.5}, "trades"),
        Spoilt({"symbol": None}, "symbol"),
        Spoilt({"quality": "fine"}, "quality"),
        Spoilt({"open_time": BAR.open_time + 1}, "multiple of 1m"),
        Spoilt({"interval": "7m"}, "'7m'"),
        Spoilt({"market": "moon"}, "'moon'"),
        Spoilt({"close": 0.0}, "close"),
        Spoilt({"volume": -1.0}, "volume"),
        Spoilt({"revision": -1}, "revision"),
        Spoilt({"low": BAR.high * 2}, "low"),
    ],
    ids=lambda case: next(iter(case.changes.items())),
)
def test_a_spoilt_bar_is_refused_with_the_reason(case: Spoilt) -> None:
    told = json.loads(bar_message(BAR)) | case.changes
    with pytest.raises(DataError, match=case.reason):
        decode_bar(json.dumps(told).encode())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[1, 2]", "no version"),
        (b"{}", "no version"),
        (b'{"version":1}', "missing"),
        (b'{"version":1,"close":1e999}', "no JSON|out of range"),
        (b" " * 200_000, "200,000 bytes"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_message_is_refused_with_the_reason(value: bytes | None, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode_bar(value)


def test_records_stay_what_the_schema_says() -> None:
    assert type(decode_bar(bar_message(BAR))) is Bar
