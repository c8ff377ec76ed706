"""Binance's REST interface: pages of klines and aggregate trades within the weight budget.

Invariant: what is returned has passed the same checks as the archive's files, and a bar is
returned only once the exchange's own clock is past its end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import httpx
import msgspec
import numpy as np
import pandas as pd

from microstream_lab.errors import DecodeError, ExchangeError, ParameterError
from microstream_lab.market.budget import FUTURES_LIMIT, SPOT_LIMIT, WeightBudget
from microstream_lab.market.files.checks import check_klines
from microstream_lab.market.files.table import Rows
from microstream_lab.market.http import HttpClient, require_ok
from microstream_lab.market.wire import (
    Columns,
    bars_frame,
    decode_agg_trades,
    decode_klines,
    decode_quote,
    to_micros,
)
from microstream_lab.schema import AggTrade, as_micros, interval_us
from microstream_lab.settings import Settings

__all__ = ["PAGE", "RestClient", "rest_url"]

PAGE: Final = 1_000
_FUTURES_URL: Final = "https://fapi.binance.com"
_BOOK_TICKER: Final = "ticker/bookTicker"
_SPOT_WEIGHTS: Final = {
    **{"klines": 2, "aggTrades": 4, _BOOK_TICKER: 2},
    **{"exchangeInfo": 20, "time": 1, "ping": 1},
}
_FUTURES_WEIGHTS: Final = {
    **{"klines": 5, "aggTrades": 20, _BOOK_TICKER: 2},
    **{"exchangeInfo": 1, "time": 1, "ping": 1},
}
_USED_WEIGHT: Final = "X-MBX-USED-WEIGHT-1M"


def rest_url(settings: Settings, market: str) -> str:
    """Where the REST interface of a market is: the user's address, or Binance's futures host."""
    default = Settings.model_fields["binance_rest_url"].default
    if market == "um" and settings.binance_rest_url == default:
        return _FUTURES_URL
    return settings.binance_rest_url


class RestClient:
    """Public market data over REST; an async context manager.

    Parameters
    ----------
    base_url : str
        Such as ``https://api.binance.com``.
    budget : WeightBudget, optional
        Shared by all clients of that host; a new one of the market's limit if not given.
    market : {"spot", "um", "sim"}
        ``um`` asks the futures paths; the simulated market is served under the spot ones.
    settings : Settings, optional
        Loaded if not given.
    timeout_s : float
        For connecting and for every silence while reading.
    """

    def __init__(
        self,
        base_url: str,
        budget: WeightBudget | None = None,
        market: str = "spot",
        settings: Settings | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        futures = market == "um"
        self.market = market
        self.budget = budget or WeightBudget(FUTURES_LIMIT if futures else SPOT_LIMIT)
        self._prefix = "/fapi/v1" if futures else "/api/v3"
        self._weights = _FUTURES_WEIGHTS if futures else _SPOT_WEIGHTS
        self._http = HttpClient(base_url, self.budget.gate, settings, timeout_s)

    async def __aenter__(self) -> RestClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._http.__aexit__(*raised)

    async def ping(self) -> None:
        """Return if the exchange answers."""
        await self._get("ping")

    async def server_time(self) -> int:
        """The exchange's clock in microseconds."""
        answer = _decode_object(await self._get("time"))
        return to_micros(answer.get("serverTime", 0))

    async def exchange_info(self, symbol: str) -> dict[str, Any]:
        """What the exchange says about a symbol, under its own keys."""
        params = {} if self.market == "um" else {"symbol": symbol}
        answer = _decode_object(await self._get("exchangeInfo", **params))
        for entry in answer.get("symbols", ()):
            if entry.get("symbol") == symbol:
                return dict(entry)
        raise ExchangeError(f"exchangeInfo: found nothing about {symbol}, expected its entry")

    async def klines(self, symbol: str, interval: str, start: object, end: object) -> pd.DataFrame:
        """The closed bars with `start` <= open_time < `end`, as a bars frame, perhaps empty."""
        step, cursor = interval_us(interval), as_micros(start)
        last = min(as_micros(end), await self.server_time() - step + 1)
        pages: list[Columns] = []
        while cursor < last:
            page = await self._kline_page(symbol, interval, cursor, last)
            pages.append(page)
            if len(page["open_time"]) < PAGE:
                break
            cursor = int(page["open_time"][-1]) + step
        return bars_frame(_joined(pages), symbol, interval, self.market)

    async def klines_since(self, symbol: str, interval: str, start: int) -> pd.DataFrame:
        """Up to a page of bars from `start` (us) on, as a bars frame; the last may be forming.

        Where a later one is known all others are final, however far behind the stream the
        exchange's database may be.
        """
        page = await self._kline_page(symbol, interval, start, start + PAGE * interval_us(interval))
        return bars_frame(page, symbol, interval, self.market)

    async def first_trade(self, symbol: str, start: int) -> AggTrade | None:
        """The first aggregate trade from `start` (us) on; None if there is none yet."""
        async with aclosing(self.agg_trade_pages(symbol, start=start)) as pages:
            page = await anext(pages, None)
        return page[0] if page else None

    async def next_trades(self, symbol: str, from_id: int) -> list[AggTrade]:
        """A page of aggregate trades from `from_id` on; empty if there are none yet."""
        async with aclosing(self.agg_trade_pages(symbol, from_id=from_id)) as pages:
            return await anext(pages, None) or []

    async def newest_trade(self, symbol: str) -> AggTrade | None:
        """The aggregate trade that the exchange knows last; None if there is none yet."""
        page = decode_agg_trades(await self._get("aggTrades", symbol=symbol, limit=1), symbol)
        return page[-1] if page else None

    async def quote(self, symbol: str) -> tuple[float, float]:
        """Best bid and ask just now, 0 for an empty side of the book."""
        return decode_quote(await self._get(_BOOK_TICKER, symbol=symbol), symbol)

    async def first_bar(self, symbol: str, interval: str) -> int | None:
        """Open time (us) of the oldest bar there is; None if there is none."""
        body = await self._get("klines", symbol=symbol, interval=interval, startTime=0, limit=1)
        times = decode_klines(body)["open_time"].tolist()
        return to_micros(times[0]) if times else None

    async def _kline_page(self, symbol: str, interval: str, start: int, end: int) -> Columns:
        body = await self._get(
            "klines",
            symbol=symbol,
            interval=interval,
            startTime=-(-start // 1_000),
            endTime=(end - 1) // 1_000,
            limit=PAGE,
        )
        rows = Rows(decode_klines(body), f"{symbol} {interval} klines")
        if not len(rows.columns["open_time"]):
            return rows.columns
        check_klines(rows, interval)
        times = rows.columns["open_time"]
        if times[0] < start or times[-1] >= end:
            raise ExchangeError(f"{rows.where}: found bars outside the span asked for")
        return rows.columns

    async def agg_trades(
        self,
        symbol: str,
        from_id: int | None = None,
        to_id: int | None = None,
        start: object = None,
        end: object = None,
    ) -> list[AggTrade]:
        """All of :meth:`agg_trade_pages` in one list."""
        pages = self.agg_trade_pages(symbol, from_id, to_id, start, end)
        return [trade async for page in pages for trade in page]

    async def agg_trade_pages(
        self,
        symbol: str,
        from_id: int | None = None,
        to_id: int | None = None,
        start: object = None,
        end: object = None,
    ) -> AsyncGenerator[list[AggTrade], None]:
        """Aggregate trades in order of id, page by page, as far as the exchange has them.

        Parameters
        ----------
        symbol : str
            Such as ``BTCUSDT``.
        from_id, to_id : int, optional
            First and last id, both included.
        start, end : time, optional
            Trades with `start` <= trade_time < `end`. Either `from_id` or `start` must be given.

        Notes
        -----
        The exchange answers from a database that may lag behind the stream: if `to_id` has not
        come, it was not there yet.
        """
        if (from_id is None) == (start is None):
            raise ParameterError("aggTrades: expected either from_id or start")
        where: dict[str, int] = (
            {"fromId": from_id}
            if from_id is not None
            else {"startTime": -(-as_micros(start) // 1_000)}
        )
        end_us = None if end is None else as_micros(end)
        while True:
            body = await self._get("aggTrades", symbol=symbol, limit=PAGE, **where)
            page = decode_agg_trades(body, symbol)
            _require_order(page, where.get("fromId", 0), symbol)
            wanted = [trade for trade in page if _within(trade, to_id, end_us)]
            if wanted:
                yield wanted
            if len(page) < PAGE or len(wanted) < len(page):
                return
            where = {"fromId": page[-1].agg_id + 1}

    async def _get(self, endpoint: str, **params: Any) -> bytes:
        async def attempt() -> httpx.Response:
            await self.budget.spend(self._weights[endpoint])
            response = await self._http.get(f"{self._prefix}/{endpoint}", params)
            if (used := response.headers.get(_USED_WEIGHT, "")).isdigit():
                self.budget.observe(int(used))
            require_ok(response)
            return response

        return (await self._http.persist(attempt)).content


def _within(trade: AggTrade, to_id: int | None, end_us: int | None) -> bool:
    return (to_id is None or trade.agg_id <= to_id) and (
        end_us is None or trade.trade_time < end_us
    )


def _require_order(page: list[AggTrade], from_id: int, symbol: str) -> None:
    before = from_id - 1
    for trade in page:
        if trade.agg_id <= before:
            found = f"agg_id {trade.agg_id} after {before}"
            raise ExchangeError(f"aggTrades of {symbol}: found {found}, expected ascending ids")
        before = trade.agg_id


def _joined(pages: list[Columns]) -> Columns:
    if not pages:
        return decode_klines(b"[]")
    return {name: np.concatenate([page[name] for page in pages]) for name in pages[0]}


def _decode_object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise DecodeError(f"REST answer: {error}; found {body[:80]!r}") from error
