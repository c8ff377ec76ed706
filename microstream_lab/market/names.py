"""What Binance's archive calls its files, and what such a name promises about the rows inside.

Invariant: a name is the only thing that says which symbol and interval a CSV holds, so a name that
is not understood is never guessed at.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

from microstream_lab.errors import DataError
from microstream_lab.schema import INTERVALS, as_micros

__all__ = ["AGG_TRADES", "KLINES", "FileName", "Kind", "Period", "parse_name", "wants_micros"]

Kind = Literal["klines", "aggTrades"]
KLINES: Final = "klines"
AGG_TRADES: Final = "aggTrades"

SPOT_MICROS_SINCE: Final = date(2025, 1, 1)
"""First day of the spot archive in microseconds; earlier days, and futures, are in milliseconds."""

_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9_]{2,40})-(?P<series>aggTrades|[0-9]+[a-zA-Z]+)"
    r"(?:-(?P<year>\d{4})-(?P<month>\d\d)(?:-(?P<day>\d\d))?)?"
)


class Period(msgspec.Struct, frozen=True):
    """One UTC month, or one UTC day of it."""

    first: date
    monthly: bool

    @property
    def end(self) -> date:
        """The day after the last one."""
        if not self.monthly:
            return self.first + timedelta(days=1)
        return (self.first.replace(day=28) + timedelta(days=4)).replace(day=1)

    @property
    def start_us(self) -> int:
        """First microsecond."""
        return as_micros(self.first)

    @property
    def end_us(self) -> int:
        """First microsecond after it."""
        return as_micros(self.end)

    @property
    def days(self) -> list[Period]:
        """The days it consists of."""
        count = (self.end - self.first).days
        return [Period(self.first + timedelta(days=n), monthly=False) for n in range(count)]

    @classmethod
    def holding(cls, micros: int, monthly: bool) -> Period:
        """The UTC month or day that `micros` falls in."""
        day = datetime.fromtimestamp(micros // 1_000_000, UTC).date()
        return cls(day.replace(day=1) if monthly else day, monthly)

    def __str__(self) -> str:
        return f"{self.first:%Y-%m}" if self.monthly else f"{self.first:%Y-%m-%d}"


class FileName(msgspec.Struct, frozen=True):
    """The parts of ``BTCUSDT-1m-2024-05.zip`` or ``BTCUSDT-aggTrades-2024-05-01.zip``.

    ``interval`` is None for aggTrades; ``period`` is None where the name declares none.
    """

    symbol: str
    kind: Kind
    interval: str | None = None
    period: Period | None = None

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        parts = (self.symbol, self.interval or AGG_TRADES, str(self.period or ""))
        return "-".join(part for part in parts if part)

    def archive_path(self, market: str) -> str:
        """Where the public archive keeps the zip, below its ``data`` folder."""
        if self.period is None:
            raise DataError(self.stem, "no date", "the month or day of an archive file")
        branch = "futures/um" if market == "um" else "spot"
        rhythm = "monthly" if self.period.monthly else "daily"
        folders = [branch, rhythm, self.kind, self.symbol, self.interval]
        return "/".join([part for part in folders if part] + [f"{self.stem}.zip"])


def parse_name(path: Path | str) -> FileName | None:
    """Read a file name as the archive writes it; None if it is not of that form.

    Raises
    ------
    DataError
        If the name is of that form but declares a date that does not exist.
    """
    path = Path(path)
    stem = path.name.removesuffix(path.suffix) if path.suffix in (".zip", ".csv") else path.name
    match = _NAME.fullmatch(stem)
    if not match:
        return None
    series = match["series"]
    if series == AGG_TRADES:
        return FileName(match["symbol"], AGG_TRADES, None, _period(path, match))
    if series not in INTERVALS:
        return None
    return FileName(match["symbol"], KLINES, series, _period(path, match))


def _period(path: Path, match: re.Match[str]) -> Period | None:
    if match["year"] is None:
        return None
    try:
        first = date(int(match["year"]), int(match["month"]), int(match["day"] or 1))
    except ValueError as error:
        raise DataError(str(path), f"a name that ends in {match[0]!r}", "a real date") from error
    return Period(first, monthly=match["day"] is None)


def wants_micros(period: Period, market: str) -> bool:
    """Whether the archive writes this month or day in microseconds (else milliseconds)."""
    return market != "um" and period.first >= SPOT_MICROS_SINCE
