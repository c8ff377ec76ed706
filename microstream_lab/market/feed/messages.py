"""JSON of the market streams to records, converted while it is parsed.

Invariant: :func:`decode` returns a record whose times are microseconds and whose numbers are
finite and in range, or raises :class:`~microstream_lab.errors.DecodeError`; nothing else ever
leaves it, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field
from msgspec.structs import astuple, replace

from microstream_lab.errors import DecodeError
from microstream_lab.market.wire import EARLIEST_US, LATEST_US, to_micros
from microstream_lab.schema import COMPLETE, PARTIAL, AggTrade, Bar, Quality

__all__ = [
    "NOT_PARSED",
    "CombinedEvent",
    "Kline",
    "Message",
    "Quote",
    "Refusal",
    "Reply",
    "Shutdown",
    "SingleTrade",
    "StreamTrade",
    "decode",
    "parse",
]

_EXCERPT: Final = 100

_Id = Annotated[int, Meta(ge=0, le=2**62)]
_Time = Annotated[int, Meta(ge=EARLIEST_US // 1_000_000, lt=LATEST_US)]
_Price = Annotated[float, Meta(gt=0, lt=1e18)]
_Amount = Annotated[float, Meta(ge=0, lt=1e18)]


class Kline(msgspec.Struct, frozen=True, gc=False):
    """The exchange's own bar, to check ours by: ``bar`` is partial until ``is_closed``."""

    bar: Bar
    is_closed: bool
    event_time: int


class Quote(msgspec.Struct, frozen=True, gc=False):
    """Best bid and ask. No time comes with it; prices in quote, sizes in base units."""

    symbol: str
    update_id: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float


class SingleTrade(msgspec.Struct, frozen=True, gc=False):
    """One single trade, as an :class:`AggTrade` of itself: all three ids are its own."""

    trade: AggTrade


class Shutdown(msgspec.Struct, frozen=True, gc=False):
    """The server is about to go: a new connection is needed at once."""

    event_time: int


class Reply(msgspec.Struct, frozen=True):
    """Our control message `id` was carried out."""

    id: int | str | None
    result: bool | list[str] | None


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Our control message `id` was refused (or some message that the exchange cannot name)."""

    id: int | str | None
    code: int
    message: str


Message = AggTrade | SingleTrade | Kline | Quote | Shutdown | Reply | Refusal


class StreamTrade(AggTrade, frozen=True, gc=False, eq=False, tag_field="e", tag="aggTrade"):
    """An :class:`AggTrade` parsed in place, which saves making each record twice.

    It equals the :class:`AggTrade` of the same values.
    """

    symbol: str = field(name="s")
    agg_id: _Id = field(name="a")
    price: _Price = field(name="p")
    quantity: _Amount = field(name="q")
    first_id: _Id = field(name="f")
    last_id: _Id = field(name="l")
    trade_time: _Time = field(name="T")
    buyer_is_maker: bool = field(name="m")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AggTrade):
            return NotImplemented
        return astuple(self) == astuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(AggTrade(*astuple(self)))

    def record(self, market: str) -> AggTrade:
        """The same with its time in microseconds, checked for what types cannot say."""
        if self.last_id < self.first_id:
            raise DecodeError(f"found last id {self.last_id}, expected at least {self.first_id}")
        plain = AggTrade(*astuple(self))
        return replace(plain, trade_time=to_micros(self.trade_time))


class _Trade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="trade"):
    s: str
    t: _Id
    p: _Price
    q: _Amount
    T: _Time
    m: bool

    def record(self, market: str) -> SingleTrade:
        when = to_micros(self.T)
        return SingleTrade(AggTrade(self.s, self.t, self.p, self.q, self.t, self.t, when, self.m))


class _KlineBody(msgspec.Struct, frozen=True, gc=False):
    t: _Time
    i: Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]
    o: _Price
    h: _Price
    l: _Price  # noqa: E741  the exchange's name
    c: _Price
    v: _Amount
    n: _Id
    x: bool
    q: _Amount
    V: _Amount
    Q: _Amount


class _Kline(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="kline"):
    E: _Time
    s: str
    k: _KlineBody

    def record(self, market: str) -> Kline:
        k = self.k
        values = (k.o, k.h, k.l, k.c, k.v, k.q, k.n, k.V, k.Q)
        quality: Quality = COMPLETE if k.x else PARTIAL
        bar = Bar(self.s, k.i, to_micros(k.t), *values, quality, 0, market)
        return Kline(bar, k.x, to_micros(self.E))


class _Shutdown(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="serverShutdown"):
    E: _Time

    def record(self, market: str) -> Shutdown:
        return Shutdown(to_micros(self.E))


class _Quote(msgspec.Struct, frozen=True, gc=False):
    u: _Id
    s: str
    b: _Amount  # an empty side of the book is quoted as zero
    B: _Amount
    a: _Amount
    A: _Amount

    def record(self, market: str) -> Quote:
        return Quote(self.s, self.u, self.b, self.B, self.a, self.A)


class _Error(msgspec.Struct, frozen=True, gc=False):
    code: int
    msg: str


class _Answer(msgspec.Struct, frozen=True):
    id: int | str | None = None
    result: bool | list[str] | UnsetType | None = UNSET
    error: _Error | UnsetType = UNSET
    code: int | UnsetType = UNSET
    msg: str = ""

    def record(self, market: str) -> Reply | Refusal:
        if self.error is not UNSET:
            return Refusal(self.id, self.error.code, self.error.msg)
        if self.code is not UNSET:
            return Refusal(self.id, self.code, self.msg)
        if self.result is UNSET:  # for the parser alone, any object would be an answer
            raise msgspec.ValidationError("none of the known keys")
        return Reply(self.id, self.result)


_Event = StreamTrade | _Trade | _Kline | _Shutdown


class CombinedEvent(msgspec.Struct, frozen=True, gc=False):
    """A message of a combined stream, unchecked for what types cannot say."""

    data: _Event


class _CombinedQuote(msgspec.Struct, frozen=True, gc=False):
    data: _Quote

    def record(self, market: str) -> Quote:
        return self.data.record(market)


# Numbers come as strings, which strict decoding would refuse.
parse: Final[Callable[[Any], Any]] = msgspec.json.Decoder(CombinedEvent, strict=False).decode
"""A combined message; raises one of :data:`NOT_PARSED` for whatever is none."""
_combined_quote = msgspec.json.Decoder(_CombinedQuote, strict=False).decode
_raw_event = msgspec.json.Decoder(_Event, strict=False).decode
_raw_quote = msgspec.json.Decoder(_Quote, strict=False).decode
_answer = msgspec.json.Decoder(_Answer).decode

NOT_PARSED: Final = (msgspec.DecodeError, RecursionError, UnicodeError)
"""What the parser raises: bad JSON, bad values, nesting without end, and bad UTF-8."""


def decode(message: str | bytes, market: str = "spot") -> Message:
    """The record of one message of a raw or combined stream.

    Parameters
    ----------
    message : str or bytes
        A text frame, times in ms or us.
    market : {"spot", "um", "sim"}
        Written into the bars of klines.

    Raises
    ------
    DecodeError
        If it is anything else, with the beginning of what was found.
    """
    try:
        event = parse(message).data
    except NOT_PARSED as refused:
        return _decode_other(message, market, refused)
    if (
        type(event) is StreamTrade
        and event.trade_time >= EARLIEST_US
        and event.last_id >= event.first_id
    ):
        return event
    return _record(event, message, market)


def _decode_other(message: str | bytes, market: str, refused: Exception) -> Message:
    """Try what is not a combined event, the busiest first."""
    reasons: dict[Callable[..., Any], str] = {parse: str(refused)}
    for other in (_combined_quote, _raw_event, _raw_quote, _answer):
        try:
            return _record(other(message), message, market)
        except NOT_PARSED as error:
            reasons[other] = str(error)
    head = _text(message)
    likeliest = parse if '"data"' in head else _raw_event if '"e"' in head else _answer
    raise DecodeError(_told(reasons[likeliest], message)) from refused


def _record(
    event: _Event | _CombinedQuote | _Quote | _Answer, message: str | bytes, market: str
) -> Message:
    try:
        return event.record(market)
    except DecodeError as error:
        raise DecodeError(_told(str(error), message)) from error


def _text(message: str | bytes) -> str:
    head = message[:_EXCERPT]
    return head if isinstance(head, str) else head.decode("utf-8", "backslashreplace")


def _told(reason: str, message: str | bytes) -> str:
    clipped = "..." if len(message) > _EXCERPT else ""
    return f"stream message: {reason[:200]}; found {_text(message)!r}{clipped}"
