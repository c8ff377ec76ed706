"""Messages of the market streams as the exchange writes them, for tests."""

from __future__ import annotations

import json
from typing import Any

from microstream_lab.schema import AggTrade

START = 1_723_161_255_342_000
"""Time (us) of the trade with id 0; ids are a millisecond apart."""


def make_trade(agg_id: int, symbol: str = "BTCUSDT", n_singles: int = 2) -> AggTrade:
    """A trade whose every value follows from its id; singles are contiguous."""
    first = agg_id * n_singles
    price, quantity = 100.0 + agg_id % 7, 0.5 + agg_id % 3
    when = START + agg_id * 1_000
    last = first + n_singles - 1
    return AggTrade(symbol, agg_id, price, quantity, first, last, when, agg_id % 2 == 0)


def data_of(trade: AggTrade, **changes: Any) -> dict[str, Any]:
    """The payload of an aggTrade message, in microseconds, with `changes`."""
    data = {
        "e": "aggTrade",
        "E": trade.trade_time + 700,
        "s": trade.symbol,
        "a": trade.agg_id,
        "p": f"{trade.price:.8f}",
        "q": f"{trade.quantity:.8f}",
        "f": trade.first_id,
        "l": trade.last_id,
        "T": trade.trade_time,
        "m": trade.buyer_is_maker,
        "M": True,
    }
    return data | changes


def combined(data: object, stream: str = "btcusdt@aggTrade") -> bytes:
    """The payload in the envelope of a combined stream."""
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def message(agg_id: int, symbol: str = "BTCUSDT", **changes: Any) -> bytes:
    """The combined message of :func:`make_trade`."""
    trade = make_trade(agg_id, symbol)
    return combined(data_of(trade, **changes), f"{symbol.lower()}@aggTrade")
