"""The store: bars, signals, gaps and runs in one DuckDB file that many programs share.

Invariant: every call opens the file, does one thing whole or not at all, and closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import pandas as pd

from microstream_lab.market.files import find_files
from microstream_lab.schema import Bar, Gap, Signal, Watermark
from microstream_lab.settings import Settings
from microstream_lab.store import bars as bars_table
from microstream_lab.store import journal
from microstream_lab.store import signals as signals_table
from microstream_lab.store.connection import transaction
from microstream_lab.store.coverage import Coverage, measure_coverage
from microstream_lab.store.drift import DriftTable
from microstream_lab.store.export import Table, export_series, series_in
from microstream_lab.store.importer import import_staged, staged_files
from microstream_lab.store.outbox import OutboxTable
from microstream_lab.store.query import answer
from microstream_lab.store.results import ImportReport, StoreStatus, WriteCounts
from microstream_lab.store.runs import RunBook
from microstream_lab.store.series import Series, fetch_frame, span_of
from microstream_lab.store.sharing import shared_file
from microstream_lab.store.status import look_at

__all__ = ["Store"]

_LIST_SERIES: Final = """
SELECT market, symbol, interval, count(*) AS bars, min(open_time) AS first, max(open_time) AS last
FROM bars GROUP BY ALL ORDER BY ALL
"""


class Store(RunBook, DriftTable, OutboxTable):
    """Bars, signals, drift, gaps and runs in a DuckDB file, wherever that is.

    Parameters
    ----------
    path : Path or str, optional
        The file, or where a store is served, such as ``quack:127.0.0.1:9494``; by default that of
        the settings. The first write makes a file.
    timeout_s : float
        How long a call waits for whoever is in the way.
    token : str, optional
        What lets one in where a store is served; by default that of the settings, or of the user's
        own store if it is that one.

    Notes
    -----
    No connection to a file outlives a call, so notebooks, a recorder and training runs can share
    it, and one object can be used by several threads. While somebody serves the file (``microstream
    store serve``), every call goes there instead, with the same results. All methods raise
    :class:`StoreError`, or :class:`StoreLockedError` with the holder's name when the wait was in
    vain; what was stored is then as it was.
    """

    def __init__(
        self, path: Path | str | None = None, timeout_s: float = 10.0, token: str | None = None
    ) -> None:
        self.path = Path(path) if path is not None else Settings.load().store_path
        self.timeout_s = timeout_s
        super().__init__(shared_file(self.path, timeout_s, token))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open between calls."""

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def import_klines(
        self,
        path: Path | str | Iterable[Path],
        market: str = "spot",
        symbol: str | None = None,
        interval: str | None = None,
        *,
        replace: bool = False,
        progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    ) -> ImportReport:
        """Import kline files of Binance; each file lands whole or not at all.

        Parameters
        ----------
        path : Path, str or iterable of Path
            A CSV or zip, a folder of them, a glob, or a list of files.
        market : {"spot", "um", "sim"}
            The market they are of.
        symbol, interval : str, optional
            Needed only where the file names do not tell.
        replace : bool
            Overwrite stored bars that differ, under a higher revision. Otherwise only partial
            ones give way, and the rest are counted as ``differing``.
        progress : callable
            Wraps the list of files while it is worked through, as ``tqdm.tqdm`` does.

        Raises
        ------
        DataError
            At the first file that is not as it should be; those before it are stored.
        """
        files = find_files(path)
        staged = staged_files(progress(files), symbol, interval, market)
        done = tuple(import_staged(self._file, staged, replace))
        touched = dict.fromkeys(Series(each.market, each.symbol, each.interval) for each in done)
        with self._file.reading() as connection:
            coverage = tuple(measure_coverage(connection, series) for series in touched)
        return ImportReport(done, coverage)

    def write_bars(
        self, bars: pd.DataFrame | Iterable[Bar], *, replace: bool = False
    ) -> WriteCounts:
        """Write a bars frame, or records of any number of series, in one transaction.

        A stored bar gives way to one of a higher revision, to a repaired one that differs, and,
        if it is partial, to one that knows more; its revision rises. Otherwise it stays.

        Parameters
        ----------
        bars : DataFrame or iterable of Bar
            A frame may have a column ``revision``.
        replace : bool
            Overwrite whatever differs.
        """
        rows = bars_table.stage(bars)
        if rows is None:
            return WriteCounts()
        with self._file.writing() as connection, transaction(connection):
            return bars_table.write_staged(connection, rows, replace=replace)

    def bars(
        self,
        symbol: str,
        interval: str,
        start: object | None = None,
        end: object | None = None,
        market: str = "spot",
    ) -> pd.DataFrame:
        """The bars frame of a series from `start` to `end` (exclusive); empty if none is stored.

        Times are anything :func:`microstream_lab.schema.as_micros` reads.
        """
        series, span = Series(market, symbol, interval).checked(), span_of(start, end)
        with self._file.reading() as connection:
            return bars_table.read_bars(connection, series, span)

    def write_signals(
        self,
        signals: pd.DataFrame | Iterable[Signal],
        bundle_id: str | None = None,
        *,
        market: str = "spot",
        symbol: str | None = None,
        interval: str | None = None,
    ) -> WriteCounts:
        """Write signals in one transaction; those stored stay, recomputed ones stand beside them.

        Parameters
        ----------
        signals : DataFrame or iterable of Signal
            A frame of :meth:`ModelBundle.signals`, or records, which know their series and bundle.
        bundle_id, market, symbol, interval : str
            Of a frame, which does not know them.
        """
        frames = list(signals_table.frames_of(signals, bundle_id, market, symbol, interval))
        if not frames:
            return WriteCounts()
        with self._file.writing() as connection, transaction(connection):
            counts = [
                signals_table.write_signals(connection, frame, series, bundle)
                for series, bundle, frame in frames
            ]
        return sum(counts, WriteCounts())

    def signals(
        self,
        symbol: str,
        interval: str,
        start: object | None = None,
        end: object | None = None,
        market: str = "spot",
        bundle_id: str | None = None,
        which: signals_table.Which = "latest",
    ) -> pd.DataFrame:
        """One signal for each bar, laid out as by ``ModelBundle.signals``.

        Parameters
        ----------
        bundle_id : str, optional
            The bundle that made them; by default whichever wrote last (or first).
        which : {"latest", "first"}
            Of several signals of a bar the last one written, or the first: what was known live.

        Returns
        -------
        DataFrame
            With the columns ``bundle_id`` and ``revision`` at the end.
        """
        series, span = Series(market, symbol, interval).checked(), span_of(start, end)
        with self._file.reading() as connection:
            return signals_table.read_signals(connection, series, span, bundle_id, which)

    def write_gaps(self, gaps: Iterable[Gap]) -> WriteCounts:
        """Write gaps, or bring those already there up to date (a repair), in one transaction."""
        gaps = list(gaps)
        if not gaps:
            return WriteCounts()
        with self._file.writing() as connection, transaction(connection):
            return journal.write_gaps(connection, gaps)

    def watermarks(self, interval: str, market: str = "spot") -> dict[str, Watermark]:
        """How far recorders of an interval have come, by symbol; empty if there is no store."""
        if not self._file.exists():
            return {}
        with self._file.reading() as connection:
            return journal.read_watermarks(connection, market, interval)

    def open_gaps(self, market: str = "spot") -> list[Gap]:
        """Gaps of a market that are on record and not repaired, by symbol and id."""
        with self._file.reading() as connection:
            return journal.read_open_gaps(connection, market)

    def gaps(
        self,
        symbol: str | None = None,
        start: object | None = None,
        end: object | None = None,
        market: str = "spot",
    ) -> pd.DataFrame:
        """Gaps of a symbol (or of all) that touch the span, with the fields of :class:`Gap`."""
        with self._file.reading() as connection:
            return journal.read_gaps(connection, market, symbol, span_of(start, end))

    def coverage(
        self,
        symbol: str,
        interval: str,
        market: str = "spot",
        start: object | None = None,
        end: object | None = None,
    ) -> Coverage:
        """How complete a series is, from its first bar to its last or between given times."""
        series = Series(market, symbol, interval).checked()
        with self._file.reading() as connection:
            return measure_coverage(connection, series, start, end)

    def series(self) -> pd.DataFrame:
        """The series there are: market, symbol, interval, number of bars, first and last."""
        with self._file.reading() as connection:
            return fetch_frame(connection, _LIST_SERIES)

    def sql(
        self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> pd.DataFrame:
        """The answer to one SQL query; times come back as ``datetime64[us, UTC]``.

        Parameters
        ----------
        query : str
            One statement that only reads, with ``?`` or ``$name`` for values.
        params : sequence or mapping, optional
            The values.

        Raises
        ------
        StoreError
            If it writes, is not one statement, or DuckDB cannot make sense of it.
        """
        with self._file.reading() as connection:
            return answer(connection, query, params)

    def export_parquet(self, folder: Path | str, table: Table = "bars") -> list[Path]:
        """Write a table as ``market=/symbol=/interval=/month=`` folders of Parquet files.

        Each file appears whole, over that of an earlier export; returns the files written.
        """
        folder = Path(folder).expanduser().resolve()
        with self._file.reading() as connection:
            every = series_in(connection, table)
        files: list[Path] = []
        for series in every:
            with self._file.reading() as connection:
                files += export_series(connection, table, series, folder)
        return files

    def status(self) -> StoreStatus:
        """Whether the store can be read right now, and if not, why and who is in the way."""
        return look_at(self._file)
