"""The exchange's archive: a zip for every day and month that is over, made when asked for.

Invariant: a file is written by the same writers that users have, and never changes once served.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from microstream_lab.errors import DataError
from microstream_lab.market.exchange.ledger import Ledger
from microstream_lab.market.exchange.rest import Reply
from microstream_lab.market.files import write_agg_trades, write_klines
from microstream_lab.market.names import AGG_TRADES, FileName, parse_name
from microstream_lab.market.packed import CHECKSUM_SUFFIX, checksum_path
from microstream_lab.schema import COMPLETE

__all__ = ["ARCHIVE_PREFIX", "ArchiveService"]

ARCHIVE_PREFIX: Final = "/data/"
_ZIP: Final = {"Content-Type": "application/zip", "Accept-Ranges": "bytes"}
_TEXT: Final = {"Content-Type": "text/plain"}
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class ArchiveService:
    """Serves ``/data/spot/...``.

    Parameters
    ----------
    folder : Path
        Where files are kept once they are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(
        self, path: str, headers: Mapping[str, str], now: int, ledgers: Mapping[str, Ledger]
    ) -> Reply:
        """Answer a request for `path` at `now` (us), from what has traded by symbol.

        Takes its time; whoever calls this off the event loop passes ledgers that rest.
        """
        wanted = path.removeprefix(ARCHIVE_PREFIX)
        zipped = wanted.removesuffix(CHECKSUM_SUFFIX)
        file = self._file(zipped, now, ledgers)
        if file is None:
            return Reply(404, b"<Error><Code>NoSuchKey</Code></Error>", dict(_TEXT))
        if wanted != zipped:
            return Reply(200, checksum_path(file).read_bytes(), dict(_TEXT))
        return _ranged(file.read_bytes(), headers)

    def _file(self, wanted: str, now: int, ledgers: Mapping[str, Ledger]) -> Path | None:
        """The file, made if need be; None if there is none, or its time is not over yet."""
        try:
            name = parse_name(wanted.rpartition("/")[2]) if wanted.endswith(".zip") else None
        except DataError:
            return None
        if name is None or name.period is None or name.archive_path("spot") != wanted:
            return None
        ledger = ledgers.get(name.symbol)
        if ledger is None or name.period.end_us > now:
            return None
        file = self._folder / wanted
        return file if file.is_file() else self._make(ledger, name, file)

    def _make(self, ledger: Ledger, name: FileName, file: Path) -> Path | None:
        assert name.period is not None
        start, end = name.period.start_us, name.period.end_us
        if ledger.has_forgotten(start):
            return None
        if name.kind == AGG_TRADES:
            trades = ledger.trades(start, end)
            # The archive has aggregate trades by the month as well; we have them by the day only.
            if trades.empty or name.period.monthly:
                return None
            write_agg_trades(trades, file.parent)
        else:
            assert name.interval is not None
            bars = ledger.bars(name.interval, end, start)
            if bars.empty:
                return None
            # An archive cannot say that ids are missing.
            bars["quality"] = bars["quality"].where(bars["quality"] == COMPLETE, COMPLETE)
            write_klines(bars, file.parent, monthly=name.period.monthly)
        return file


def _ranged(content: bytes, headers: Mapping[str, str]) -> Reply:
    """The whole file, or the part that a client that was cut off lacks."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    reply = Reply(200, content, {**_ZIP, "ETag": etag})
    asked = _RANGE.fullmatch(headers.get("range", ""))
    if not asked or headers.get("if-range", etag) != etag:
        return reply
    first, last = int(asked[1]), int(asked[2] or len(content) - 1)
    if first >= len(content) or last < first:
        return Reply(416, b"", {**_ZIP, "Content-Range": f"bytes */{len(content)}"})
    last = min(last, len(content) - 1)
    reply.status, reply.body = 206, content[first : last + 1]
    reply.headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return reply
