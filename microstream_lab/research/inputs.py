"""Bars for a notebook: from the store, or straight from a folder of files.

Invariant: files given by the user go through the same import as everything else, into a store
that is thrown away; the user's own store is only read.
"""

from __future__ import annotations

import logging
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from microstream_lab.errors import DataError
from microstream_lab.ingest import import_path
from microstream_lab.market.files import find_files
from microstream_lab.market.names import parse_name
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["load_bars", "series_there"]

log = logging.getLogger(__name__)

_LONG_HOLE: Final = np.timedelta64(7, "D")


def load_bars(
    symbol: str,
    interval: str,
    market: str = "spot",
    start: object | None = None,
    end: object | None = None,
    data_dir: Path | str | None = None,
    settings: Settings | None = None,
) -> pd.DataFrame:
    """A bars frame of one series.

    Parameters
    ----------
    symbol, interval, market : str
        The series.
    start, end : date, str or int of microseconds, optional
        First moment and the moment to stop before, UTC. Without a first moment the bars begin and
        end where a week or more is missing, and of such stretches the longest is taken: a few bars
        recorded today are no part of a history that ended long ago. What is left out is logged.
    data_dir : Path or str, optional
        A kline file, a folder of them or a glob, to read instead of the store; relative to the
        home folder.
    settings : Settings, optional
        Where the home folder is; the user's settings by default.

    Raises
    ------
    DataError
        If there are no such bars.
    """
    settings = settings or Settings.load()
    if data_dir is None:
        bars = Store(settings.store_path).bars(symbol, interval, start, end, market)
        source, hint = str(settings.store_path), series_there(Store(settings.store_path))
    else:
        source, hint = str(settings.path(str(data_dir))), ""
        bars = _from_files(Path(source), symbol, interval, market, start, end)
    if bars.empty:
        asked = f"bars of {symbol} {interval} ({market}) from {start or 'the first'}"
        raise DataError(source, "none", f"{asked} to {end or 'the last'}{hint}")
    return bars if start is not None else _longest_stretch(bars)


def _longest_stretch(bars: pd.DataFrame) -> pd.DataFrame:
    """The bars between two long holes, where there are the most."""
    times = pd.DatetimeIndex(bars.index)
    edges = [0, *np.flatnonzero(np.diff(times) >= _LONG_HOLE) + 1, len(bars)]
    first, last = max(pairwise(edges), key=lambda edge: edge[1] - edge[0])
    if n_left := len(bars) - (last - first):
        taken = f"{times[first]:%Y-%m-%d} to {times[last - 1]:%Y-%m-%d}"
        log.warning("%d bars beyond a hole are left out; taken are those of %s", n_left, taken)
    return bars.iloc[first:last]


def series_there(store: Store) -> str:
    """What to tell somebody who asked for a series the store does not have."""
    if not store.status().exists:
        return "; there is no store yet (microstream lab or ingest makes one)"
    series = store.series()[["market", "symbol", "interval"]].itertuples(index=False)
    there = ", ".join(" ".join(key) for key in series) or "no bars at all"
    return f"; there are {there} (microstream ingest brings more)"


def _from_files(
    path: Path, symbol: str, interval: str, market: str, start: object | None, end: object | None
) -> pd.DataFrame:
    files = [file for file in find_files(path) if _may_hold(file, symbol, interval)]
    if not files:
        return pd.DataFrame()
    with tempfile.TemporaryDirectory(prefix="microstream-") as folder:
        store = Store(Path(folder) / "imported.duckdb")
        import_path(store, files, market, symbol=symbol, interval=interval, progress=False)
        return store.bars(symbol, interval, start, end, market)


def _may_hold(file: Path, symbol: str, interval: str) -> bool:
    """Whether a file is of the series, or of its trades, or named so that one cannot tell."""
    name = parse_name(file)
    return name is None or (name.symbol == symbol and name.interval in (None, interval))
