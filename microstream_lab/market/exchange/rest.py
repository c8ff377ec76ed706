"""The exchange's REST interface: public market data, weights, limits and errors.

Invariant: an answer says what the ledgers hold and nothing else; what is asked wrongly is answered
with the exchange's own code and costs its weight.

References
----------
Binance, Public REST API for Binance; Error codes for Binance.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import numpy as np

from microstream_lab.market.exchange.clock import Clock
from microstream_lab.market.exchange.faults import FaultLine
from microstream_lab.market.exchange.ledger import Ledger
from microstream_lab.market.exchange.limits import BanPolicy
from microstream_lab.market.exchange.payloads import (
    rest_agg_trades,
    rest_book_ticker,
    rest_klines,
)
from microstream_lab.market.exchange.symbols import symbol_entry
from microstream_lab.market.exchange.ticker import quotes_of
from microstream_lab.schema import INTERVALS

__all__ = ["PREFIX", "Reply", "RestService"]

PREFIX: Final = "/api/v3/"
_BOOK_TICKER: Final = "ticker/bookTicker"
_WEIGHTS: Final = {
    **{"aggTrades": 4, "klines": 2, _BOOK_TICKER: 2},
    **{"exchangeInfo": 20, "time": 1, "ping": 1},
}
_STATUSES: Final = {"too_many": 429, "ban": 418}
_DEFAULT_LIMIT, _MAX_LIMIT = 500, 1_000
_MICROS_FROM: Final = 10**14
"""Times in microseconds are larger from 1973 on, times in milliseconds smaller until 5138."""
_SECOND_US: Final = 1_000_000
_JSON: Final = {"Content-Type": "application/json;charset=UTF-8"}


@dataclass(slots=True)
class Reply:
    """What is sent back, `delay_s` seconds late."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


class _BadRequest(Exception):  # noqa: N818
    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(text)


class RestService:
    """Answers requests below ``/api/v3/``.

    Parameters
    ----------
    ledgers : mapping
        What has traded, by symbol.
    clock : Clock
        The exchange's.
    policy : BanPolicy
        Counts weights.
    line : FaultLine
        What goes wrong.
    counts : Counter
        Faults that happened, by kind.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        clock: Clock,
        policy: BanPolicy,
        line: FaultLine,
        counts: Counter[str],
    ) -> None:
        self._ledgers, self._clock, self._policy = ledgers, clock, policy
        self._line, self._counts = line, counts
        self._endpoints: dict[str, Callable[[_Params, int], bytes]] = {
            "ping": lambda params, now: b"{}",
            "time": self._time,
            "exchangeInfo": self._exchange_info,
            "aggTrades": self._agg_trades,
            "klines": self._klines,
            _BOOK_TICKER: self._book_ticker,
        }

    def answer(self, endpoint: str, query: str, headers: Mapping[str, str]) -> Reply:
        """Answer one request."""
        if endpoint not in self._endpoints:
            return Reply(404, b"<html><body><h2>404 Not found</h2></body></html>")
        reply, now = Reply(200, b"", dict(_JSON)), self._clock.now
        reply.status, away_us = self._policy.spend(_WEIGHTS[endpoint], self._clock.limits_us)
        away_s = self._clock.wall_seconds(away_us)
        if reply.status == 200 and (fault := self._line.draw_one(now)) is not None:
            self._counts[fault.kind] += 1
            now, away_s = self._spoil(fault.kind, reply, now)
        used = str(self._policy.used)
        reply.headers |= {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
        if reply.status != 200:
            reply.body = self._refusal(reply.status, away_us)
            reply.headers["Retry-After"] = str(math.ceil(away_s))
            return reply
        try:
            reply.body = self._endpoints[endpoint](_Params(query, headers), now)
        except _BadRequest as error:
            reply.status, reply.body = 400, _error(error.code, error.text)
        return reply

    def _spoil(self, kind: str, reply: Reply, now: int) -> tuple[int, float]:
        """Let a fault happen; return the time the answer is of, and how long to stay away (s)."""
        faults = self._line.faults
        if kind == "lag":
            return now - int(faults.lag_s * _SECOND_US), 0.0
        if kind == "slow":
            reply.delay_s = faults.slow_s
            return now, 0.0
        reply.status = _STATUSES[kind]
        return now, faults.retry_after_s

    def _refusal(self, status: int, away_us: int) -> bytes:
        if status == 429:
            limit = f"{self._policy.limit} request weight per 1 MINUTE"
            return _error(-1003, f"Too much request weight used; current limit is {limit}.")
        until = (self._clock.now + away_us) // 1_000
        return _error(-1003, f"Way too much request weight used; IP banned until {until}.")

    def _time(self, params: _Params, now: int) -> bytes:
        params.require_all_read()
        return msgspec.json.encode({"serverTime": now // params.unit_us})

    def _exchange_info(self, params: _Params, now: int) -> bytes:
        wanted = params.symbols(self._ledgers)
        params.require_all_read()
        weight = ("REQUEST_WEIGHT", "MINUTE", 1, self._policy.limit)
        limits = [weight, ("RAW_REQUESTS", "MINUTE", 5, 300_000)]
        keys = ("rateLimitType", "interval", "intervalNum", "limit")
        info = {
            "timezone": "UTC",
            "serverTime": now // params.unit_us,
            "rateLimits": [dict(zip(keys, limit, strict=True)) for limit in limits],
            "exchangeFilters": [],
            "symbols": [symbol_entry(self._ledgers[symbol]) for symbol in wanted],
        }
        return msgspec.json.encode(info)

    def _agg_trades(self, params: _Params, now: int) -> bytes:
        ledger, limit = self._ledgers[params.symbol(self._ledgers)], params.limit()
        from_id = params.integer("fromId")
        start, end = params.span()
        params.require_all_read()
        if from_id is not None:
            if start is not None or end is not None:
                raise _BadRequest(-1128, "Combination of optional parameters invalid.")
            page = ledger.from_id(from_id, limit, now)
        else:
            until = now + 1 if end is None else min(end, now + 1)
            page = ledger.between(start or 0, until, limit, newest=start is None)
        return rest_agg_trades(page, params.unit_us)

    def _book_ticker(self, params: _Params, now: int) -> bytes:
        symbol = params.symbol(self._ledgers)
        params.require_all_read()
        quotes = quotes_of(self._ledgers[symbol], 1)
        return rest_book_ticker(symbol, quotes[2:, 0] if quotes.shape[1] else np.zeros(4, np.int64))

    def _klines(self, params: _Params, now: int) -> bytes:
        ledger, limit = self._ledgers[params.symbol(self._ledgers)], params.limit()
        interval = params.text("interval")
        if interval not in INTERVALS:
            raise _BadRequest(-1120, "Invalid interval.")
        if (params.optional("timeZone") or "0") != "0":
            raise _BadRequest(-1128, "Combination of optional parameters invalid.")
        start, end = params.span()
        params.require_all_read()
        step = INTERVALS[interval]
        end = now + 1 if end is None else min(end, now + 1)
        if start is None:
            klines = ledger.klines(interval, end - limit * step, end, now)[:, -limit:]
        else:
            first = max(start, ledger.oldest_open(step))
            end = min(end, first + (limit + 1) * step)
            klines = ledger.klines(interval, start, end, now)[:, :limit]
        return rest_klines(klines, step, params.unit_us)


class _Params:
    """The parameters of a request, each read at most once."""

    def __init__(self, query: str, headers: Mapping[str, str]) -> None:
        self._values = dict(parse_qsl(query, keep_blank_values=True))
        self._n_sent = len(self._values)
        unit = headers.get("x-mbx-time-unit", "MILLISECOND").upper()
        if unit not in ("MILLISECOND", "MICROSECOND"):
            expected = "expected either MICROSECOND or MILLISECOND"
            raise _BadRequest(-1194, f"Invalid value for time unit; {expected}.")
        self.unit_us = 1 if unit == "MICROSECOND" else 1_000

    def optional(self, name: str) -> str | None:
        return self._values.pop(name, None)

    def text(self, name: str) -> str:
        value = self.optional(name)
        if not value:
            found = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            raise _BadRequest(-1102, found)
        return value

    def integer(self, name: str) -> int | None:
        value = self.optional(name)
        if value is None:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise _BadRequest(-1100, f"Illegal characters found in parameter '{name}'.")
        return int(value)

    def limit(self) -> int:
        limit = self.integer("limit")
        if limit == 0:
            raise _BadRequest(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit or _DEFAULT_LIMIT, _MAX_LIMIT)

    def span(self) -> tuple[int | None, int | None]:
        """The times (us) from startTime, included, to endTime, excluded, as far as they are given.

        On the wire endTime is included, down to the last microsecond of its millisecond.
        """
        start, end = self.integer("startTime"), self.integer("endTime")
        start_us = None if start is None else start * _unit_of(start)
        end_us = None if end is None else (end + 1) * _unit_of(end)
        if start_us is not None and end_us is not None and start_us >= end_us:
            raise _BadRequest(-1127, "Start time is greater than end time.")
        return start_us, end_us

    def symbol(self, known: Mapping[str, Any]) -> str:
        symbol = self.text("symbol")
        if not re.fullmatch(r"[A-Z0-9\-_.]{1,40}", symbol):
            legal = "legal range is '^[A-Z0-9-_.]{1,20}$'"
            raise _BadRequest(-1100, f"Illegal characters found in parameter 'symbol'; {legal}.")
        if symbol not in known:
            raise _BadRequest(-1121, "Invalid symbol.")
        return symbol

    def symbols(self, known: Mapping[str, Any]) -> list[str]:
        """Those asked for by ``symbol`` or ``symbols``, or all."""
        if "symbol" in self._values:
            return [self.symbol(known)]
        listed = self.optional("symbols")
        if listed is None:
            return list(known)
        try:
            names = msgspec.json.decode(listed, type=list[str])
        except msgspec.DecodeError:
            raise _BadRequest(-1100, "Illegal characters found in parameter 'symbols'.") from None
        if not set(names) <= known.keys():
            raise _BadRequest(-1121, "Invalid symbol.")
        return names

    def require_all_read(self) -> None:
        if self._values:
            read = f"read '{self._n_sent - len(self._values)}' parameter(s)"
            raise _BadRequest(
                -1104, f"Not all sent parameters were read; {read} but was sent '{self._n_sent}'."
            )


def _unit_of(time: int) -> int:
    return 1 if time >= _MICROS_FROM else 1_000


def _error(code: int, text: str) -> bytes:
    return msgspec.json.encode({"code": code, "msg": text})
