"""Bars from plain text files of prices and volumes, for research on years long past.

Invariant: what such a file does not tell is NaN, never zero: number of trades and taker volumes.
A feature that needs them is NaN then, and a training that needs the feature says so.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from microstream_lab.errors import DataError
from microstream_lab.schema import BAR_COLUMNS, COMPLETE, TIME_DTYPE, interval_us, require_bars

__all__ = ["read_ohlc"]

_log = logging.getLogger(__name__)

_COLUMNS: Final = ("timestamp", "open", "high", "low", "close", "volume", "quote_volume")
_UNTOLD: Final = ("trades", "taker_buy_base", "taker_buy_quote")


def read_ohlc(
    path: Path | str, symbol: str, interval: str = "5m", market: str = "spot"
) -> pd.DataFrame:
    """A bars frame from CSV files with the columns timestamp, OHLC, volume and quote_volume.

    Parameters
    ----------
    path : Path or str
        A file, or a folder whose ``*.csv`` and ``*.csv.gz`` are all taken, in order of name.
    symbol, interval, market : str
        What the files hold; they do not say so themselves.

    Returns
    -------
    DataFrame
        Bars off the interval's grid, as exchanges left them after outages, are dropped and their
        number is logged; holes stay holes.

    Raises
    ------
    DataError
        If there is no such file, or one is not of this kind.
    """
    place = Path(path)
    files = sorted(place.glob("*.csv*")) if place.is_dir() else [place]
    if not files or not all(file.is_file() for file in files):
        raise DataError(str(place), "no file", "a CSV file, or a folder of them")
    raw = pd.concat([_read(file) for file in files])
    on_grid = pd.DatetimeIndex(raw.index).asi8 % interval_us(interval) == 0
    if dropped := int((~on_grid).sum()):
        _log.info("%s: %d bars off the grid of %s left out", place, dropped, interval)
    bars = raw[on_grid].assign(**dict.fromkeys(_UNTOLD, np.nan), quality=COMPLETE)
    bars = bars.assign(market=market, symbol=symbol, interval=interval)
    labels = ["quality", "market", "symbol", "interval"]
    bars[labels] = bars[labels].astype("category")
    return require_bars(bars[list(BAR_COLUMNS)], str(place))


def _read(file: Path) -> pd.DataFrame:
    frame = pd.read_csv(file)
    if missing := [name for name in _COLUMNS if name not in frame.columns]:
        raise DataError(str(file), f"no column {missing[0]}", f"columns {' '.join(_COLUMNS)}")
    try:
        times = pd.to_datetime(frame["timestamp"], utc=True, format="ISO8601").astype(TIME_DTYPE)
        values = frame[list(_COLUMNS[1:])].astype(np.float64)
    except ValueError as error:
        raise DataError(str(file), str(error), "times and numbers") from error
    return values.set_index(pd.DatetimeIndex(times, name="open_time"))
