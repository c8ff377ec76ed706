"""What ``exchangeInfo`` says about a symbol.

Invariant: the grids of prices and sizes are those of the trades so far, nothing is made up.
"""

from __future__ import annotations

from typing import Any, Final

from microstream_lab.market.exchange.ledger import Ledger
from microstream_lab.market.exchange.tape import UNITS

__all__ = ["symbol_entry"]

_QUOTES: Final = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")


def symbol_entry(ledger: Ledger) -> dict[str, Any]:
    """An entry of ``symbols``."""
    base, quote = _assets(ledger.symbol)
    tick, lot = _decimal(max(1, ledger.tick)), _decimal(max(1, ledger.lot))
    return {
        "symbol": ledger.symbol,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "stepSize": lot},
        ],
        "permissions": ["SPOT"],
    }


def _assets(symbol: str) -> tuple[str, str]:
    for quote in _QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    return symbol[:-3] or symbol, symbol[-3:]


def _decimal(units: int) -> str:
    return f"{units // UNITS}.{units % UNITS:08d}"
