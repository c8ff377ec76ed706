"""A range of bars from Binance: the archive's files, and over REST whatever they do not have.

Invariant: what has been stored stays when a later step fails, and doing it again goes on from
there.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any, TypeVar

import pandas as pd
from tqdm import tqdm

from microstream_lab.errors import DataError, ExchangeError, SettingsError
from microstream_lab.ingest.files import import_path
from microstream_lab.ingest.report import IngestReport
from microstream_lab.market.archive import Archive, Download, plan_files
from microstream_lab.market.names import KLINES, Period
from microstream_lab.market.rest import RestClient, rest_url
from microstream_lab.schema import as_micros, interval_us
from microstream_lab.settings import Settings
from microstream_lab.store import Store, WriteCounts

__all__ = ["ingest"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_DEFAULT_SPAN_US = 30 * 86_400_000_000


def ingest(
    store: Store,
    symbol: str,
    interval: str,
    start: object | None = None,
    end: object | None = None,
    market: str = "spot",
    *,
    settings: Settings | None = None,
    replace: bool = False,
    progress: bool = True,
    clock: Callable[[], float] = time.time,
) -> IngestReport:
    """Bring the bars of a range into the store: from the archive, the rest over REST.

    Parameters
    ----------
    store : Store
        Where the bars go.
    symbol, interval : str
        Such as ``BTCUSDT`` and ``1m``.
    start, end : time, optional
        Bars with `start` <= open_time < `end`; from the last one stored (or 30 days back) up to
        the last closed one if not given.
    market : {"spot", "um"}
        Spot or USD-M futures.
    settings : Settings, optional
        Addresses and folders; loaded if not given.
    replace : bool
        Whether what comes overwrites stored bars that differ.
    progress : bool
        Whether to show bars, which need a terminal.
    clock : callable
        Seconds since 1970.

    Raises
    ------
    SettingsError
        If the exchange does not know the symbol, or the market cannot be downloaded.
    DataError
        If there are no bars in the range, or a file is not as it should be.
    ExchangeError
        If archive or exchange stay unreachable; what came before is stored.
    """
    if market not in ("spot", "um"):
        raise SettingsError(f"market: found {market!r}, expected spot or um to download from")
    if not re.fullmatch(r"[A-Z0-9]{2,30}", symbol):
        raise SettingsError(f"symbol: found {symbol!r}, expected one such as BTCUSDT")
    span = _span(store, symbol, interval, start, end, market, clock)
    settings = settings or Settings.load()
    source = _Source(settings, symbol, interval, market, progress)
    span = (max(span[0], source.listed_from(span[0])), span[1])
    download = source.download(*span)
    imported = IngestReport()
    if download.files:
        imported = import_path(store, download.files, market, replace=replace, progress=progress)
    rest = WriteCounts()
    for first, last in _ranges(download.missing, *span):
        rest += store.write_bars(source.klines(first, last), replace=replace)
    if not imported.files and not rest.rows:
        where = f"{symbol} {interval} ({market})"
        raise DataError(where, "no bars in the archive nor over REST", "bars in the range")
    coverage = store.coverage(symbol, interval, market, *span)
    return IngestReport(imported.files, (coverage,), rest, tuple(download.missing))


def _span(
    store: Store,
    symbol: str,
    interval: str,
    start: object | None,
    end: object | None,
    market: str,
    clock: Callable[[], float],
) -> tuple[int, int]:
    """First open time and the end, in microseconds; never past the last bar that has closed."""
    step = interval_us(interval)
    closed = int(clock() * 1_000_000) // step * step
    last = closed if end is None else min(as_micros(end), closed)
    if start is not None:
        first = as_micros(start)
    else:
        first = _last_stored(store, symbol, interval, market) or last - _DEFAULT_SPAN_US
    if first >= last:
        moments = [f"{pd.Timestamp(moment, unit='us'):%Y-%m-%d %H:%M}" for moment in (first, last)]
        raise SettingsError(
            f"range: found {moments[0]} to {moments[1]}, expected closed bars in it"
        )
    return first, last


def _last_stored(store: Store, symbol: str, interval: str, market: str) -> int | None:
    if not store.status().exists:
        return None
    last = store.coverage(symbol, interval, market).last
    return None if last is None else as_micros(last)


def _ranges(days: list[date], start: int, end: int) -> list[tuple[int, int]]:
    """Days as ranges of microseconds within `start` .. `end`, neighbours joined."""
    ranges: list[tuple[int, int]] = []
    for period in (Period(day, monthly=False) for day in days):
        first, last = max(period.start_us, start), min(period.end_us, end)
        if ranges and ranges[-1][1] == first:
            first = ranges.pop()[0]
        ranges.append((first, last))
    return ranges


class _Source:
    """Archive and REST of one series, asked from code that is not asynchronous."""

    def __init__(
        self, settings: Settings, symbol: str, interval: str, market: str, progress: bool
    ) -> None:
        self._settings, self._symbol, self._interval = settings, symbol, interval
        self._market, self._progress = market, progress

    def _rest(self) -> RestClient:
        url = rest_url(self._settings, self._market)
        return RestClient(url, market=self._market, settings=self._settings)

    def listed_from(self, otherwise: int) -> int:
        """When the first bar began, so that earlier days need not be asked for."""

        async def ask() -> int | None:
            async with self._rest() as client:
                return await client.first_bar(self._symbol, self._interval)

        try:
            return run_blocking(ask()) or otherwise
        except ExchangeError as error:
            log.warning("%s; going on without the date of listing", error)
            return otherwise

    def download(self, start: int, end: int) -> Download:
        folder = self._settings.path("data", "archive")
        archive = Archive(self._settings.binance_archive_url, folder, self._settings)
        plan = plan_files(self._symbol, KLINES, self._interval, start, end)
        days = sum(len(name.period.days) for name in plan if name.period)
        off = None if self._progress else True
        with tqdm(total=days, unit="day", desc="Downloading", disable=off) as bar:
            n_bytes = 0

            def advance(fraction_of_days: float, received: int) -> None:
                nonlocal n_bytes
                n_bytes += received
                bar.set_postfix_str(f"{n_bytes / 1e6:.1f} MB", refresh=False)
                bar.update(fraction_of_days)

            task = archive.download(self._symbol, self._interval, start, end, self._market, advance)
            return run_blocking(task)

    def klines(self, start: int, end: int) -> pd.DataFrame:
        async def ask() -> pd.DataFrame:
            async with self._rest() as client:
                return await client.klines(self._symbol, self._interval, start, end)

        return run_blocking(ask())


def run_blocking(task: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(task)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, task).result()
