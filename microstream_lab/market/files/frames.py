"""Binance kline and aggTrade files as checked frames, and frames as such files.

Invariant: a file is read whole or refused with one error that names file, line, what was found and
what was expected; writing and reading back gives the same frame.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.market.files.checks import check_agg_trades, check_klines
from microstream_lab.market.files.rendering import FUTURES_KLINE_HEADER, agg_trade_text, kline_text
from microstream_lab.market.files.table import read_rows
from microstream_lab.market.names import (
    AGG_TRADES,
    KLINES,
    FileName,
    Kind,
    Period,
    parse_name,
    wants_micros,
)
from microstream_lab.market.packed import read_content, write_zip
from microstream_lab.market.wire import (
    AGG_TRADE_LAYOUT,
    KLINE_LAYOUT,
    bars_frame,
    trades_frame,
)
from microstream_lab.schema import MARKETS, PARTIAL, interval_us, require_bars, series_key

__all__ = [
    "find_files",
    "is_agg_trades",
    "read_agg_trades",
    "read_klines",
    "write_agg_trades",
    "write_klines",
]

_SUFFIXES = (".csv", ".zip")


def read_klines(
    path: Path | str, symbol: str | None = None, interval: str | None = None, market: str = "spot"
) -> pd.DataFrame:
    """Read a kline file: CSV or zip, with or without header, in seconds, ms or us.

    Parameters
    ----------
    path : Path or str
        A file named as in Binance's archive, such as ``BTCUSDT-1m-2024-05.zip``. A ``.CHECKSUM``
        file beside it is verified.
    symbol, interval : str, optional
        Needed where the name does not tell them; otherwise they must agree with it.
    market : {"spot", "um", "sim"}
        The market the bars are of, which no file tells.

    Returns
    -------
    DataFrame
        A bars frame (see :func:`microstream_lab.schema.require_bars`), every bar ``complete``.

    Raises
    ------
    DataError
        With file and line of the first thing that is not as it should be.
    ChecksumError
        If the content is not what the checksum file says.
    """
    path = Path(path)
    _require_market(market)
    content = read_content(path)
    name = _identify(path, content.member, KLINES, symbol, interval)
    assert name.interval is not None
    rows = read_rows(content.text, KLINE_LAYOUT, str(path))
    check_klines(rows, name.interval, name.period)
    return bars_frame(rows.columns, name.symbol, name.interval, market)


def read_agg_trades(
    path: Path | str, symbol: str | None = None, market: str = "spot"
) -> pd.DataFrame:
    """Read an aggTrade file; parameters and errors as for :func:`read_klines`.

    Returns
    -------
    DataFrame
        The columns of :data:`microstream_lab.schema.TRADE_COLUMNS`, then ``market`` and
        ``symbol``; ``agg_id`` ascends, and may have holes.
    """
    path = Path(path)
    _require_market(market)
    content = read_content(path)
    name = _identify(path, content.member, AGG_TRADES, symbol, None)
    rows = read_rows(content.text, AGG_TRADE_LAYOUT, str(path))
    check_agg_trades(rows, name.period)
    return trades_frame(rows.columns, name.symbol, market)


def is_agg_trades(path: Path | str) -> bool:
    """Whether the name is that of an aggTrade file."""
    name = parse_name(path)
    return name is not None and name.kind == AGG_TRADES


def write_klines(bars: pd.DataFrame, folder: Path | str, monthly: bool = True) -> list[Path]:
    """Write a bars frame as the archive would: a zip and its checksum for every month or day.

    The same bars give the same bytes. Prices and volumes are written with eight decimals. Spot
    (and simulated) files are in microseconds from 2025 on, all others in milliseconds.

    Returns
    -------
    list of Path
        The zips, oldest first.

    Raises
    ------
    DataError
        If `bars` is no bars frame, or has partial bars, which the archive cannot express.
    """
    require_bars(bars)
    if (bars["quality"] == PARTIAL).any():
        moment = bars.index[bars["quality"] == PARTIAL][0]
        raise DataError("bars to write", f"a partial bar at {moment}", "complete or repaired ones")
    market, symbol, interval = series_key(bars)
    header = FUTURES_KLINE_HEADER if market == "um" else ""
    written = []
    for period, part in _by_period(bars, pd.DatetimeIndex(bars.index), monthly):
        name = FileName(symbol, KLINES, interval, period)
        text = header + kline_text(part, 1 if wants_micros(period, market) else 1_000)
        written.append(write_zip(Path(folder) / f"{name.stem}.zip", text.encode()))
    return written


def write_agg_trades(trades: pd.DataFrame, folder: Path | str) -> list[Path]:
    """Write the trades of one symbol as the archive would: a zip and its checksum for every day.

    As :func:`write_klines`. A time that the file's unit cannot express is a :class:`DataError`.
    """
    market, symbol = (str(trades[name].iloc[0]) for name in ("market", "symbol"))
    written = []
    times = pd.DatetimeIndex(trades["trade_time"])
    for period, part in _by_period(trades, times, monthly=False):
        name = FileName(symbol, AGG_TRADES, None, period)
        text = agg_trade_text(part, 1 if wants_micros(period, market) else 1_000)
        written.append(write_zip(Path(folder) / f"{name.stem}.zip", text.encode()))
    return written


def _by_period(
    frame: pd.DataFrame, times: pd.DatetimeIndex, monthly: bool
) -> Iterator[tuple[Period, pd.DataFrame]]:
    micros = times.as_unit("us").asi8
    units = micros.view("M8[us]").astype("M8[M]" if monthly else "M8[D]")
    for unit in np.unique(units):
        rows = units == unit
        yield Period.holding(int(micros[rows.argmax()]), monthly), frame[rows]


def find_files(path: Path | str | Iterable[Path]) -> list[Path]:
    """The CSV and zip files that `path` stands for: a file, a folder (searched deeply) or a glob.

    Sorted so that each series comes in order of time; hidden files are passed over. Files that are
    listed one by one are only sorted.

    Raises
    ------
    DataError
        If there are none.
    """
    if not isinstance(path, (str, Path)):
        return sorted(path, key=_series_order)
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    found = place.rglob("*") if place.is_dir() else _matches(place)
    files = [file for file in found if file.suffix in _SUFFIXES and file.is_file()]
    files = [file for file in files if not file.name.startswith(".")]
    if not files:
        raise DataError(str(path), "no files", "a .csv or .zip file, a folder of them or a glob")
    return sorted(files, key=_series_order)


def _matches(pattern: Path) -> list[Path]:
    return [Path(match) for match in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207


def _series_order(path: Path) -> tuple[str, str, str, int, str]:
    name = parse_name(path)
    if name is None:
        return ("~", "", "", 0, str(path))
    start = name.period.start_us if name.period else 0
    return (name.kind, name.symbol, name.interval or "", start, str(path))


def _require_market(market: str) -> None:
    if market not in MARKETS:
        raise SettingsError(f"market: found {market!r}, expected one of {' '.join(MARKETS)}")


def _identify(
    path: Path, member: str | None, kind: Kind, symbol: str | None, interval: str | None
) -> FileName:
    """What the file is, of its name, of the name inside the zip and of what the caller says."""
    outer, inner = parse_name(path), parse_name(member) if member else None
    if outer and inner and outer != inner:
        raise DataError(str(path), f"{member} inside", f"{outer.stem}.csv as the zip is named")
    named = outer or inner
    if named is None:
        return _from_caller(path, kind, symbol, interval)
    if named.kind != kind:
        raise DataError(str(path), f"a file of {named.kind}", f"one of {kind}")
    _require_agreement(path, "symbol", named.symbol, symbol)
    _require_agreement(path, "interval", named.interval, interval)
    return named


def _from_caller(path: Path, kind: Kind, symbol: str | None, interval: str | None) -> FileName:
    if symbol is None or (kind == KLINES and interval is None):
        expected = "SYMBOL-1m-YYYY-MM.zip" if kind == KLINES else "SYMBOL-aggTrades-YYYY-MM-DD.zip"
        raise DataError(
            str(path), f"the name {path.name}", f"one like {expected}, or symbol and interval given"
        )
    if interval is not None:
        interval_us(interval)
    return FileName(symbol, kind, interval)


def _require_agreement(path: Path, what: str, named: str | None, given: str | None) -> None:
    if given is not None and given != named:
        raise DataError(str(path), f"{what} {named} in its name", f"{given} as given")
