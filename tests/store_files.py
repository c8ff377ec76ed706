"""Kline files for tests, written without the package."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def write_klines(folder: Path, bars: pd.DataFrame, name: str) -> Path:
    """A kline file in the exchange's layout, in milliseconds, without header."""
    folder.mkdir(parents=True, exist_ok=True)
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8 // 1000
    rows = pd.DataFrame(
        {
            "open_time": times,
            **{name: bars[name].to_numpy() for name in ("open", "high", "low", "close", "volume")},
            "close_time": times + 59_999,
            "quote_volume": bars["quote_volume"].to_numpy(),
            "trades": bars["trades"].to_numpy(),
            "taker_buy_base": bars["taker_buy_base"].to_numpy(),
            "taker_buy_quote": bars["taker_buy_quote"].to_numpy(),
            "ignore": 0,
        }
    )
    rows.to_csv(folder / name, index=False, header=False)
    return folder / name
