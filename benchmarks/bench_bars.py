"""Trades to bars in batch, beside pandas' groupby; prices and counts have to be equal."""

from __future__ import annotations

import numpy as np
import pandas as pd
from made_up import trades
from turns import Figure, publish, ratio, take_turns, told

from microstream_lab import bars_from_trades
from microstream_lab.schema import interval_us

ROWS = 2_000_000
EXACT = ("open", "high", "low", "close", "trades")
HOW = (
    "{n:,} made-up trades to {bars:,} bars of {interval}, all nine columns; ours checks ids and "
    "compensates its sums; prices and counts equal, sums to {error:.1e}."
)


def grouped(frame: pd.DataFrame, interval: str) -> pd.DataFrame:
    """Bars as one would write them with pandas; quiet ones are absent."""
    buys = ~frame["buyer_is_maker"]
    quote = frame["price"] * frame["quantity"]
    table = pd.DataFrame(
        {
            "price": frame["price"],
            "volume": frame["quantity"],
            "quote_volume": quote,
            "trades": frame["last_id"] - frame["first_id"] + 1,
            "taker_buy_base": frame["quantity"].where(buys, 0.0),
            "taker_buy_quote": quote.where(buys, 0.0),
        }
    )
    groups = table.groupby(frame["trade_time"].to_numpy() // interval_us(interval))
    bars = groups["price"].agg(["first", "max", "min", "last"])
    bars.columns = list(EXACT[:4])
    return bars.join(groups[list(table.columns[1:])].sum())


def greatest_error(ours: pd.DataFrame, theirs: pd.DataFrame) -> float:
    """Of the sums, relative; raises where a price or a count differs."""
    traded = ours[ours["trades"] > 0]
    for name in EXACT:
        np.testing.assert_array_equal(traded[name].to_numpy(), theirs[name].to_numpy())
    sums = [name for name in theirs if name not in EXACT]
    known = theirs[sums].to_numpy()
    return float((np.abs(traded[sums].to_numpy() - known) / np.maximum(known, 1.0)).max())


def measure(interval: str) -> Figure:
    """One interval."""
    frame = trades(ROWS)
    bars = bars_from_trades(frame, interval)
    error = greatest_error(bars, grouped(frame, interval))
    ways = {
        "ours": lambda: bars_from_trades(frame, interval),
        "theirs": lambda: grouped(frame, interval),
    }
    taken = take_turns(ways, 7)
    return Figure(
        f"trades to bars of {interval}, batch, {ROWS:,} trades",
        "pandas groupby",
        8.0,
        ratio(taken["theirs"], taken["ours"]),
        told(taken["ours"], ROWS, " a trade"),
        told(taken["theirs"], ROWS, " a trade"),
        HOW.format(n=ROWS, bars=len(bars), interval=interval, error=error),
    )


if __name__ == "__main__":
    publish(measure("1m"), measure("1s"))
