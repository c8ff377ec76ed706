"""Names of streams, and what a client may say on a stream connection.

Invariant: a control message is answered with exactly one reply, and what is not understood is
answered with the exchange's own error and changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from microstream_lab.schema import INTERVALS

__all__ = [
    "MAX_STREAMS",
    "Dial",
    "Refusal",
    "Stream",
    "Subscriptions",
    "parse_dial",
    "parse_stream",
]

MAX_STREAMS: Final = 1024
_KINDS: Final = ("aggTrade", "trade", "bookTicker")
_MICROSECONDS: Final = "MICROSECOND"
_METHODS: Final = "SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY"
_PATH = re.compile(r"/(ws|stream)(?:/(.*))?")


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream: ``btcusdt@kline_1m`` is of symbol BTCUSDT, kind kline and interval 1m."""

    name: str
    symbol: str
    kind: str
    interval: str = ""


def parse_stream(name: str) -> Stream | None:
    """The stream of that name; None for one that this exchange does not serve.

    Names are lower case but for their kind, as on the exchange: ``BTCUSDT@trade`` is none.
    """
    symbol, _, kind = name.partition("@")
    if not re.fullmatch(r"[a-z0-9]{1,40}", symbol):
        return None
    if kind in _KINDS:
        return Stream(name, symbol.upper(), kind)
    if kind.startswith("kline_") and kind[6:] in INTERVALS:
        return Stream(name, symbol.upper(), "kline", kind[6:])
    return None


@dataclass(frozen=True, slots=True)
class Dial:
    """What the address a client dialled says."""

    names: tuple[str, ...]
    combined: bool
    unit_us: int


def parse_dial(target: str) -> Dial | None:
    """Read ``/ws/a/b`` or ``/stream?streams=a/b``, with a time unit; None for another path."""
    address = urlsplit(target)
    match = _PATH.fullmatch(unquote(address.path).rstrip("/"))
    if not match:
        return None
    options = {name.lower(): values[-1] for name, values in parse_qs(address.query).items()}
    combined = match[1] == "stream"
    listed = options.get("streams", "") if combined else match[2] or ""
    names = tuple(name for name in listed.split("/") if name)
    unit = options.get("timeunit", "").upper()
    return Dial(names, combined, 1 if unit == _MICROSECONDS else 1_000)


class _Request(msgspec.Struct):
    method: str
    id: Annotated[int, msgspec.Meta(ge=0)] | str | None = None
    params: list[Any] | None = None


class Refusal(Exception):  # noqa: N818
    """What the exchange says instead of doing it."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(text)


class Subscriptions:
    """The streams of one connection, in the order they were asked for.

    Raises :class:`Refusal` if the address asks for more than one connection may have.
    """

    def __init__(self, dial: Dial) -> None:
        self.combined, self.unit_us = dial.combined, dial.unit_us
        self._streams: dict[str, Stream | None] = {}
        self._add(list(dial.names))

    @property
    def streams(self) -> list[Stream]:
        """Those this exchange can serve; others are accepted and stay silent, as on Binance."""
        return [stream for stream in self._streams.values() if stream is not None]

    def answer(self, text: bytes) -> bytes:
        """Carry out a control message and return the reply."""
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.ValidationError as error:
            return _refused(2, f"Invalid request: {error}", None)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            return _refused(3, f"Invalid JSON: {error}", None)
        try:
            return msgspec.json.encode({"result": self._carry_out(request), "id": request.id})
        except Refusal as refusal:
            return _refused(refusal.code, refusal.text, request.id)

    def _carry_out(self, request: _Request) -> object:
        params = request.params or []
        match request.method:
            case "SUBSCRIBE":
                self._add(_names(params))
            case "UNSUBSCRIBE":
                for name in _names(params):
                    self._streams.pop(name, None)
            case "LIST_SUBSCRIPTIONS":
                return list(self._streams)
            case "SET_PROPERTY":
                self._set_property(params)
            case "GET_PROPERTY":
                if params != ["combined"]:
                    raise Refusal(0, "Unknown property")
                return self.combined
            case _:
                found = f"unknown variant {request.method}, expected one of {_METHODS}"
                raise Refusal(2, f"Invalid request: {found}")
        return None

    def _add(self, names: list[str]) -> None:
        wanted = {**self._streams, **{name: parse_stream(name) for name in names}}
        if len(wanted) > MAX_STREAMS:
            raise Refusal(2, f"Invalid request: more than {MAX_STREAMS} streams")
        self._streams = wanted

    def _set_property(self, params: list[Any]) -> None:
        if len(params) != 2 or params[0] != "combined":
            raise Refusal(0, "Unknown property")
        if not isinstance(params[1], bool):
            raise Refusal(1, "Invalid value type: expected Boolean")
        self.combined = params[1]


def _names(params: list[Any]) -> list[str]:
    if not params or not all(isinstance(name, str) for name in params):
        raise Refusal(2, "Invalid request: request params must be an array of strings")
    return params


def _refused(code: int, text: str, request_id: int | str | None) -> bytes:
    error = {"code": code, "msg": text}
    return msgspec.json.encode(error if request_id is None else {**error, "id": request_id})
