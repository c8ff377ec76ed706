"""Bars and signals as messages: JSON with a version, keyed by symbol.

Invariant: what is encoded decodes to an equal record, to the last digit; what cannot be a bar or a
signal is refused with the reason, before anything is computed from it.
"""

from __future__ import annotations

from math import nan
from typing import Final, TypeVar

import msgspec

from microstream_lab.errors import DataError
from microstream_lab.schema import INTERVALS, MARKETS, Bar, Signal

__all__ = ["MAX_BYTES", "VERSION", "bar_message", "decode_bar", "decode_signal", "signal_message"]

T = TypeVar("T")

VERSION: Final = 1
MAX_BYTES: Final = 100_000
"""No bar or signal is anywhere near as long."""
_PREFIX: Final = b'{"version":%d,' % VERSION
_POSITIVE: Final = ("open", "high", "low", "close")
_NOT_NEGATIVE: Final = (
    *("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote", "revision"),
)
_encoder: Final = msgspec.json.Encoder()


class _Version(msgspec.Struct):
    version: int


class _Signal(msgspec.Struct, frozen=True):
    """A signal on the wire: JSON knows no NaN, which is null there."""

    symbol: str
    interval: str
    open_time: int
    bundle_id: str
    features: dict[str, float | None]
    anomaly_score: float | None
    is_anomaly: bool
    regime: int
    filtered_probs: tuple[float | None, ...]
    expected_stress: float | None
    revision: int
    market: str
    anomaly_quantile: float | None


_version_decoder: Final = msgspec.json.Decoder(_Version)
_bar_decoder: Final = msgspec.json.Decoder(Bar)
_signal_decoder: Final = msgspec.json.Decoder(_Signal)


def bar_message(bar: Bar) -> bytes:
    """A bar as the value of a message."""
    return _PREFIX + _encoder.encode(bar)[1:]


def signal_message(signal: Signal) -> bytes:
    """A signal as the value of a message; NaN becomes null."""
    return _PREFIX + _encoder.encode(signal)[1:]


def decode_bar(value: bytes | None) -> Bar:
    """The bar in a message.

    Raises
    ------
    DataError
        If it is no bar of a version we know, or one that cannot be.
    """
    bar = _decode(value, _bar_decoder, "a bar")
    _require_possible(bar)
    return bar


def decode_signal(value: bytes | None) -> Signal:
    """The signal in a message; null is NaN.

    Raises
    ------
    DataError
        If it is no signal of a version we know.
    """
    found = _decode(value, _signal_decoder, "a signal")
    return Signal(
        *(found.symbol, found.interval, found.open_time, found.bundle_id),
        {name: _number(each) for name, each in found.features.items()},
        *(_number(found.anomaly_score), found.is_anomaly, found.regime),
        tuple(_number(each) for each in found.filtered_probs),
        *(_number(found.expected_stress), found.revision, found.market),
        _number(found.anomaly_quantile),
    )


def _number(value: float | None) -> float:
    return nan if value is None else value


def _decode(value: bytes | None, decoder: msgspec.json.Decoder[T], what: str) -> T:
    if value is None or len(value) > MAX_BYTES:
        size = "no value" if value is None else f"{len(value):,} bytes"
        raise DataError("message", size, f"{what} of at most {MAX_BYTES:,} bytes")
    try:
        version = _version_decoder.decode(value).version
    except msgspec.ValidationError as error:
        raise DataError("message", f"no version ({error})", f"version {VERSION}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError("message", f"no JSON ({error})", f"{what} as JSON") from error
    if version != VERSION:
        raise DataError("message", f"version {version}", f"version {VERSION}")
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError("message", f"{error}", what) from error


def _require_possible(bar: Bar) -> None:
    """Refuse a bar that no market can have, or that is off the grid."""
    step = INTERVALS.get(bar.interval)
    if step is None:
        raise DataError("interval", repr(bar.interval[:40]), f"one of {' '.join(INTERVALS)}")
    if bar.market not in MARKETS:
        raise DataError("market", repr(bar.market[:40]), f"one of {' '.join(MARKETS)}")
    if bar.open_time % step or bar.open_time < 0:
        raise DataError("open_time", str(bar.open_time), f"a multiple of {bar.interval}")
    for name in _POSITIVE:
        if not getattr(bar, name) > 0:
            raise DataError(name, str(getattr(bar, name)), "a price above zero")
    for name in _NOT_NEGATIVE:
        if getattr(bar, name) < 0:
            raise DataError(name, str(getattr(bar, name)), "zero or more")
    if bar.low > min(bar.open, bar.close) or bar.high < max(bar.open, bar.close):
        found = f"low {bar.low}, high {bar.high}"
        raise DataError("bar", found, "low and high around open and close")
