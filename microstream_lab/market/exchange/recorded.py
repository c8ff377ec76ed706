"""Recorded markets as frames: archive files, CSVs of single trades, raw stream captures.

Invariant: a single trade is an aggregate of one, whose id is the trade's own, so that ids that are
missing in a recording stay missing.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from microstream_lab.errors import DataError
from microstream_lab.market.exchange.tape import UNITS, Ints
from microstream_lab.market.files import is_agg_trades, read_agg_trades
from microstream_lab.market.wire import to_micros, trades_frame

__all__ = ["read_recording"]

_CSV_COLUMNS = ["symbol", "timestamp", "id", "side", "price", "amount"]
_CAPTURED = re.compile(rb"\d+ \{")


def read_recording(path: str) -> tuple[pd.DataFrame, dict[str, Ints]]:
    """Read a recording, whatever it is.

    Returns
    -------
    DataFrame
        Trades, perhaps of several symbols.
    dict
        By symbol the best bids and offers, where they were recorded: an array of shape (6, n).

    Raises
    ------
    DataError
        If the file is none that is known.
    """
    file = Path(path).expanduser()
    if is_agg_trades(file):
        return read_agg_trades(file), {}
    first = next(_lines(file), b"")
    if _CAPTURED.match(first):
        return _read_capture(file)
    if b"timestamp" in first and b"side" in first:
        return _read_single_trades(file), {}
    expected = "an aggTrade file, a CSV with timestamp, side and price, or a stream capture"
    raise DataError(str(file), repr(first[:60].decode(errors="replace")), expected, 1)


def _lines(file: Path) -> Iterator[bytes]:
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rb") as stream:
            yield from stream
    except (OSError, EOFError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise DataError(str(file), found, "a readable file") from error


def _read_single_trades(file: Path) -> pd.DataFrame:
    """A CSV in the layout of tardis.dev: times in us, the side of the taker."""
    try:
        rows = pd.read_csv(file, usecols=_CSV_COLUMNS, engine="pyarrow")
    except (OSError, EOFError, ValueError) as error:
        raise DataError(str(file), str(error), f"columns {' '.join(_CSV_COLUMNS)}") from error
    bad = ~rows["side"].isin(["buy", "sell"])
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise DataError(str(file), f"side {rows['side'].iloc[row]!r}", "buy or sell", row + 2)
    frames = [_single_trades(str(symbol), part) for symbol, part in rows.groupby("symbol")]
    return _one_frame(frames)


def _single_trades(symbol: str, rows: pd.DataFrame) -> pd.DataFrame:
    ids = rows["id"].to_numpy(np.int64)
    columns = {
        "agg_id": ids,
        "price": rows["price"].to_numpy(np.float64),
        "quantity": rows["amount"].to_numpy(np.float64),
        "first_id": ids,
        "last_id": ids,
        "trade_time": rows["timestamp"].to_numpy(np.int64),
        "buyer_is_maker": (rows["side"] == "sell").to_numpy(),
    }
    return trades_frame(columns, symbol, "spot")


def _one_frame(frames: list[pd.DataFrame]) -> pd.DataFrame:
    if len(frames) == 1:
        return frames[0]
    whole = pd.concat([frame.astype({"symbol": "str"}) for frame in frames], ignore_index=True)
    return whole.astype({"symbol": "category"})


def _read_capture(file: Path) -> tuple[pd.DataFrame, dict[str, Ints]]:
    """Lines of a receive time and a combined-stream message, as they came over the wire."""
    trades: dict[str, list[dict[str, Any]]] = {}
    quotes: dict[str, list[tuple[int, ...]]] = {}
    now = 0
    for number, line in enumerate(_lines(file), 1):
        try:
            data = json.loads(line.partition(b" ")[2])["data"]
            now = max(now, to_micros(data["E"])) if "E" in data else now
            if data.get("e") == "trade":
                trades.setdefault(data["s"], []).append(data)
            elif "e" not in data and "B" in data and now:
                quotes.setdefault(data["s"], []).append(_quote(data, now))
        except (ValueError, KeyError, TypeError) as error:
            if b'"stream"' not in line and b"lastUpdateId" in line:
                continue  # a REST snapshot of the order book, laid in between
            raise DataError(
                str(file), f"{error!r}", "a message of a combined stream", number
            ) from error
    if not trades:
        raise DataError(str(file), "no @trade message", "some")
    frames = [_captured(symbol, rows) for symbol, rows in trades.items()]
    return _one_frame(frames), {symbol: np.array(rows).T for symbol, rows in quotes.items()}


def _captured(symbol: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    ids = np.array([row["t"] for row in rows], np.int64)
    columns = {
        "agg_id": ids,
        "price": np.array([float(row["p"]) for row in rows]),
        "quantity": np.array([float(row["q"]) for row in rows]),
        "first_id": ids,
        "last_id": ids,
        "trade_time": np.array([to_micros(row["T"]) for row in rows], np.int64),
        "buyer_is_maker": np.array([row["m"] for row in rows], np.bool_),
    }
    return trades_frame(columns, symbol, "spot")


def _quote(data: dict[str, Any], now: int) -> tuple[int, ...]:
    amounts = (round(float(data[key]) * UNITS) for key in ("b", "B", "a", "A"))
    return (now, int(data["u"]), *amounts)
