"""What the exchange writes: its key names, its order of keys, strings for numbers.

Invariant: the only difference between two time units is the last three digits of times.

References
----------
Binance, Web Socket Streams for Binance; Public REST API for Binance.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from microstream_lab.market.exchange.klines import KLINE_ROWS
from microstream_lab.market.exchange.messages import Messages, Template
from microstream_lab.market.exchange.streams import Stream
from microstream_lab.market.exchange.tape import (
    AGG_ID,
    DUE,
    FIRST_ID,
    LAST_ID,
    MAKER,
    PRICE,
    QUANTITY,
    TIME,
    Ints,
)
from microstream_lab.schema import interval_us

__all__ = [
    "agg_trade_messages",
    "book_ticker_messages",
    "kline_messages",
    "rest_agg_trades",
    "rest_book_ticker",
    "rest_klines",
    "trade_messages",
]

_AGG_TRADE: Final = (
    '{"e":"aggTrade","E":%int%,"s":"SYMBOL","a":%int%,"p":"%dec%","q":"%dec%",'
    '"f":%int%,"l":%int%,"T":%int%,"m":%bool%,"M":true}'
)
_TRADE: Final = (
    '{"e":"trade","E":%int%,"s":"SYMBOL","t":%int%,"p":"%dec%","q":"%dec%",'
    '"T":%int%,"m":%bool%,"M":true}'
)
_BOOK_TICKER: Final = '{"u":%int%,"s":"SYMBOL","b":"%dec%","B":"%dec%","a":"%dec%","A":"%dec%"}'
_KLINE: Final = (
    '{"e":"kline","E":%int%,"s":"SYMBOL","k":{"t":%int%,"T":%int%,"s":"SYMBOL","i":"INTERVAL",'
    '"f":%int%,"L":%int%,"o":"%dec%","c":"%dec%","h":"%dec%","l":"%dec%","v":"%dec%","n":%int%,'
    '"x":%bool%,"q":"%dec%","V":"%dec%","Q":"%dec%","B":"0"}}'
)
_REST_AGG_TRADE: Final = Template(
    ',{"a":%int%,"p":"%dec%","q":"%dec%","f":%int%,"l":%int%,"T":%int%,"m":%bool%,"M":true}'
)
_REST_KLINE: Final = Template(
    ',[%int%,"%dec%","%dec%","%dec%","%dec%","%dec%",%int%,"%dec%",%int%,"%dec%","%dec%","0"]'
)
_REST_BOOK_TICKER: Final = (
    '{"symbol":"SYMBOL","bidPrice":"%dec%","bidQty":"%dec%","askPrice":"%dec%","askQty":"%dec%"}'
)


@lru_cache(maxsize=4096)
def _template(text: str, stream: Stream, combined: bool) -> Template:
    text = text.replace("SYMBOL", stream.symbol).replace("INTERVAL", stream.interval)
    return Template(f'{{"stream":"{stream.name}","data":{text}}}' if combined else text)


def agg_trade_messages(stream: Stream, tape: Ints, unit_us: int, combined: bool) -> Messages:
    """``@aggTrade`` frames of the trades of `tape`."""
    values = [
        tape[DUE] // unit_us,
        *tape[[AGG_ID, PRICE, QUANTITY, FIRST_ID, LAST_ID]],
        tape[TIME] // unit_us,
        tape[MAKER],
    ]
    return _template(_AGG_TRADE, stream, combined).render(values, tape[DUE])


def trade_messages(stream: Stream, singles: Ints, unit_us: int, combined: bool) -> Messages:
    """``@trade`` frames of single trades."""
    values = [
        singles[DUE] // unit_us,
        *singles[[AGG_ID, PRICE, QUANTITY]],
        singles[TIME] // unit_us,
        singles[MAKER],
    ]
    return _template(_TRADE, stream, combined).render(values, singles[DUE])


def book_ticker_messages(stream: Stream, quotes: Ints, combined: bool) -> Messages:
    """``@bookTicker`` frames; rows of `quotes`: time, update id, bid, size, ask, size."""
    return _template(_BOOK_TICKER, stream, combined).render(list(quotes[1:]), quotes[0])


def kline_messages(
    stream: Stream, klines: Ints, times: Ints, closed: Ints, unit_us: int, combined: bool
) -> Messages:
    """``@kline`` frames of klines as they stood at `times` (us)."""
    row = dict(zip(KLINE_ROWS, klines, strict=True))
    values = [
        times // unit_us,
        row["open_time"] // unit_us,
        (row["open_time"] + interval_us(stream.interval)) // unit_us - 1,
        *(row[name] for name in ("first_id", "last_id", "open", "close", "high", "low")),
        *(row["volume"], row["trades"], closed),
        *(row[name] for name in ("quote_volume", "taker_buy_base", "taker_buy_quote")),
    ]
    return _template(_KLINE, stream, combined).render(values, times)


def rest_agg_trades(tape: Ints, unit_us: int) -> bytes:
    """A page of ``/api/v3/aggTrades``."""
    values = [*tape[[AGG_ID, PRICE, QUANTITY, FIRST_ID, LAST_ID]], tape[TIME] // unit_us]
    page = _REST_AGG_TRADE.render([*values, tape[MAKER]], tape[TIME], framed=False)
    return b"[%s]" % page.tobytes()[1:]


def rest_book_ticker(symbol: str, quote: Ints) -> bytes:
    """``/api/v3/ticker/bookTicker`` of one symbol; `quote` is bid, size, ask, size."""
    template = Template(_REST_BOOK_TICKER.replace("SYMBOL", symbol))
    return template.render(list(quote[:, None]), np.zeros(1, np.int64), framed=False).tobytes()


def rest_klines(klines: Ints, step: int, unit_us: int) -> bytes:
    """A page of ``/api/v3/klines``."""
    row = dict(zip(KLINE_ROWS, klines, strict=True))
    values = [
        row["open_time"] // unit_us,
        *(row[name] for name in ("open", "high", "low", "close", "volume")),
        (row["open_time"] + step) // unit_us - 1,
        *(row[name] for name in KLINE_ROWS[6:10]),
    ]
    page = _REST_KLINE.render(values, np.zeros(klines.shape[1], np.int64), framed=False)
    return b"[%s]" % page.tobytes()[1:]
