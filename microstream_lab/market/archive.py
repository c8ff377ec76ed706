"""Binance's public archive: plan the files of a range, download what is not here yet, verify all.

Invariant: a zip appears under its own name only after its sha256 has matched the published one; the
checksum stays beside it, because the archive may be corrected later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from microstream_lab.errors import ChecksumError, DataError
from microstream_lab.market.budget import Gate
from microstream_lab.market.http import HttpClient, require_ok
from microstream_lab.market.names import AGG_TRADES, KLINES, FileName, Kind, Period
from microstream_lab.market.packed import (
    CHECKSUM_SUFFIX,
    checksum_path,
    parse_checksum,
    sha256_of,
    verify_checksum,
    write_atomically,
)
from microstream_lab.market.transfer import NotPublishedError, transfer
from microstream_lab.schema import as_micros
from microstream_lab.settings import Settings

__all__ = ["Archive", "Download", "Progress", "plan_files"]

log = logging.getLogger(__name__)

Progress = Callable[[float, int], None]
"""Called with the days of market data advanced (a fraction of a file counts) and bytes received."""

_DAY_US = 86_400_000_000


class Download(msgspec.Struct):
    """What came of asking the archive for a range.

    ``files`` are all zips of the range, in order of time, ``reused`` of which were here already;
    ``missing`` are the days the archive does not have (yet).
    """

    files: list[Path] = msgspec.field(default_factory=list)
    reused: int = 0
    missing: list[date] = msgspec.field(default_factory=list)
    n_bytes: int = 0


def plan_files(
    symbol: str, kind: Kind, interval: str | None, start: object, end: object
) -> list[FileName]:
    """The archive files that cover `start` to `end`: whole months in one, other days singly.

    aggTrades always come by the day: a month of a busy symbol is more than memory holds.
    """
    day = _day_of(as_micros(start))
    last = _day_of(as_micros(end) - 1)
    files = []
    while day <= last:
        month = Period(day, monthly=True)
        whole = kind == KLINES and day.day == 1 and month.end <= last + timedelta(days=1)
        period = month if whole else Period(day, monthly=False)
        files.append(FileName(symbol, kind, interval, period))
        day = period.end
    return files


def _day_of(micros: int) -> date:
    return datetime.fromtimestamp(micros // _DAY_US * 86_400, UTC).date()


class Archive:
    """Downloads into a folder that mirrors the archive's paths.

    Parameters
    ----------
    base_url : str
        Such as ``https://data.binance.vision``.
    folder : Path
        Where the files are kept.
    settings : Settings, optional
        Loaded if not given.
    parallel : int
        Files in transfer at a time.
    timeout_s : float
        For connecting and for every silence while reading.
    gate : Gate, optional
        Brings clock and sleep; shut by a 429.
    """

    def __init__(
        self,
        base_url: str,
        folder: Path,
        settings: Settings | None = None,
        parallel: int = 4,
        timeout_s: float = 30.0,
        gate: Gate | None = None,
    ) -> None:
        self.base_url, self.folder = base_url, folder
        self._settings, self._timeout_s = settings, timeout_s
        self._gate = gate or Gate()
        self._parallel = parallel

    async def download(
        self,
        symbol: str,
        interval: str | None,
        start: object,
        end: object,
        market: str = "spot",
        progress: Progress | None = None,
    ) -> Download:
        """Have every file of a range here, verified. Without an `interval`: aggTrades.

        What is here and verified is not asked for again; a transfer that was cut off goes on where
        it stopped. A month that is not published is taken day by day.

        Raises
        ------
        ChecksumError
            If a file does not match its published checksum twice in a row.
        ExchangeError
            If the archive stays unreachable; files that came are kept.
        """
        kind: Kind = AGG_TRADES if interval is None else KLINES
        names = plan_files(symbol, kind, interval, start, end)
        http = HttpClient(self.base_url, self._gate, self._settings, self._timeout_s)
        async with http:
            errand = _Errand(http, self.folder, market, self._parallel, progress)
            parts = await _all_or_first_error([errand.obtain(name) for name in names])
        return Download(
            [file for files in parts for file in files],
            errand.reused,
            sorted(errand.missing),
            errand.n_bytes,
        )


async def _all_or_first_error(
    tasks: Iterable[Coroutine[Any, Any, list[Path]]],
) -> list[list[Path]]:
    """Results in order; at the first error the others are stopped and the error is raised bare."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    return [task.result() for task in running]


class _Errand:
    """One range being fetched."""

    def __init__(
        self,
        http: HttpClient,
        folder: Path,
        market: str,
        parallel: int,
        progress: Progress | None,
    ) -> None:
        self._http, self._folder, self._market = http, folder, market
        self._slots = asyncio.Semaphore(parallel)
        self._progress = progress or (lambda days, n_bytes: None)
        self.reused = self.n_bytes = 0
        self.missing: list[date] = []

    async def obtain(self, name: FileName) -> list[Path]:
        """The zip of `name`, or those of its days, or nothing where nothing is published."""
        assert name.period is not None
        path = self._folder / name.archive_path(self._market)
        async with self._slots:
            if await asyncio.to_thread(_is_verified, path):
                self.reused += 1
                self._progress(len(name.period.days), 0)
                return [path]
            try:
                await self._fetch(name, path)
            except NotPublishedError:
                log.info("%s is not in the archive", path.name)
            except OSError as error:
                found = error.strerror or str(error)
                raise DataError(str(path), found, "a folder that can be written") from error
            else:
                return [path]
        if not name.period.monthly:
            self.missing.append(name.period.first)
            self._progress(1, 0)
            return []
        days = [msgspec.structs.replace(name, period=day) for day in name.period.days]
        parts = await _all_or_first_error([self.obtain(day) for day in days])
        return [file for files in parts for file in files]

    async def _fetch(self, name: FileName, path: Path) -> None:
        url = f"/data/{name.archive_path(self._market)}"
        part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        meter = self._meter(len(name.period.days) if name.period else 1)
        for is_last_try in (False, True):
            checksum = await self._get_checksum(url)
            published = parse_checksum(checksum, path.name, url + CHECKSUM_SUFFIX)
            await transfer(self._http, url, part, meter)
            digest = await asyncio.to_thread(sha256_of, part)
            if digest == published:
                write_atomically(checksum_path(path), checksum)
                part.replace(path)
                return
            part.unlink()
            log.warning("%s: sha256 %s is not the published %s", url, digest, published)
            if is_last_try:
                raise ChecksumError(url, f"sha256 {digest} twice", f"{published} as published")

    async def _get_checksum(self, url: str) -> bytes:
        async def attempt() -> bytes:
            response = await self._http.get(url + CHECKSUM_SUFFIX)
            if response.status_code == 404:
                raise NotPublishedError(url)
            require_ok(response)
            return response.content

        return await self._http.persist(attempt)

    def _meter(self, days: int) -> Progress:
        """Turns the fraction of a file reached, which may fall back, into days advanced."""
        reached = 0.0

        def advance(fraction: float, n_bytes: int) -> None:
            nonlocal reached
            self.n_bytes += n_bytes
            self._progress((fraction - reached) * days, n_bytes)
            reached = fraction

        return advance


def _is_verified(path: Path) -> bool:
    try:
        return path.is_file() and verify_checksum(path, sha256_of(path))
    except ChecksumError:
        return False
