"""Trades kept as Parquet segments, which any number of readers read without a lock.

Invariant: a file appears whole or not at all, and holds trades of one symbol whose ids follow each
other without a hole; its name tells which, so that what is kept can be read off the folder, and no
trade is ever written twice.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from operator import attrgetter
from os import fsync
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from microstream_lab.errors import DataError
from microstream_lab.schema import TRADE_COLUMNS, AggTrade

__all__ = ["Segments"]

_NAME: Final = re.compile(r"(\d+)-(\d+)\.parquet")
_DAY_US: Final = 86_400_000_000
_TYPES: Final = {
    "agg_id": pa.int64(),
    "price": pa.float64(),
    "quantity": pa.float64(),
    "first_id": pa.int64(),
    "last_id": pa.int64(),
    "trade_time": pa.timestamp("us", tz="UTC"),
    "buyer_is_maker": pa.bool_(),
}
_agg_id = attrgetter("agg_id")


class Segments:
    """A folder of trades: ``market=/symbol=/date=/<first id>-<last id>.parquet``.

    Parameters
    ----------
    folder : Path
        Made when there is something to write.
    market : str
        Of the trades.
    roll_s : float
        A symbol's trades are written when they have waited so long,
    roll_trades : int
        or when they are so many.
    """

    def __init__(
        self, folder: Path, market: str, roll_s: float = 300.0, roll_trades: int = 100_000
    ) -> None:
        self.folder, self._market = folder, market
        self._roll_s, self._roll_trades = roll_s, roll_trades
        self._kept: dict[str, list[tuple[int, int]]] = {}
        self._pending: dict[str, list[AggTrade]] = {}
        self._since: dict[str, float] = {}

    def last_trade(self, symbol: str) -> AggTrade | None:
        """The trade with the highest id that is kept."""
        files = {self._ids(path): path for path in self._files(symbol)}
        if not files:
            return None
        table = pq.read_table(files[max(files, key=lambda ids: ids[1])], partitioning=None)
        row = {name: table[name][-1] for name in TRADE_COLUMNS}
        values = [v.value if k == "trade_time" else v.as_py() for k, v in row.items()]
        return AggTrade(symbol, *values)

    def add(self, trades: Iterable[AggTrade]) -> None:
        """Take trades of any symbols; they are written by :meth:`write`."""
        for trade in trades:
            try:
                self._pending[trade.symbol].append(trade)
            except KeyError:
                self._pending[trade.symbol] = [trade]
                self._since[trade.symbol] = time.monotonic()

    @property
    def n_pending(self) -> int:
        """Trades that are not written yet."""
        return sum(map(len, self._pending.values()))

    def write(self, everything: bool = False) -> list[Path]:
        """Write the symbols whose turn it is, or all of them; returns the files written.

        A symbol of which nothing is kept yet has its turn at once: its first file says from where
        on its trades are kept.

        Raises
        ------
        DataError
            If the folder cannot be written; the trades wait for the next call.
        """
        now, files = time.monotonic(), []
        for symbol, trades in list(self._pending.items()):
            is_due = now - self._since[symbol] >= self._roll_s
            is_due |= len(trades) >= self._roll_trades or not self._ranges(symbol)
            if everything or is_due:
                files += self._write_symbol(symbol, trades)
                del self._pending[symbol]
        return files

    def _write_symbol(self, symbol: str, trades: list[AggTrade]) -> list[Path]:
        trades.sort(key=_agg_id)  # those found late come last
        kept = self._ranges(symbol)
        files = []
        for run in _runs(_without(trades, kept)):
            files.append(self._write_run(symbol, run))
            kept.append((run[0].agg_id, run[-1].agg_id))
        self._kept[symbol] = _merged(kept)
        return files

    def _write_run(self, symbol: str, run: list[AggTrade]) -> Path:
        day = time.strftime("%Y-%m-%d", time.gmtime(run[0].trade_time // 1_000_000))
        folder = self._folder(symbol) / f"date={day}"
        path = folder / f"{run[0].agg_id}-{run[-1].agg_id}.parquet"
        table = pa.table(
            {
                name: pa.array([getattr(trade, name) for trade in run], _TYPES[name])
                for name in TRADE_COLUMNS
            }
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_whole(table, path)
        except OSError as error:
            found = error.strerror or str(error)
            raise DataError(str(path), found, "a folder that can be written") from error
        return path

    def _folder(self, symbol: str) -> Path:
        return self.folder / f"market={self._market}" / f"symbol={symbol}"

    def _files(self, symbol: str) -> list[Path]:
        found = self._folder(symbol).glob("date=*/*.parquet")
        return [path for path in found if _NAME.fullmatch(path.name)]

    def _ranges(self, symbol: str) -> list[tuple[int, int]]:
        """Ids that are kept, as spans (first, last)."""
        if symbol not in self._kept:
            self._kept[symbol] = _merged([self._ids(path) for path in self._files(symbol)])
        return self._kept[symbol]

    @staticmethod
    def _ids(path: Path) -> tuple[int, int]:
        match = _NAME.fullmatch(path.name)
        assert match is not None
        return int(match[1]), int(match[2])


def _write_whole(table: pa.Table, path: Path) -> None:
    """Write beside its place, and move it there once it is on disk."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=".", suffix=".new", delete=False
    ) as file:
        draft = Path(file.name)
        try:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            fsync(file.fileno())
            draft.chmod(0o644)
            draft.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise


def _without(trades: Iterable[AggTrade], kept: list[tuple[int, int]]) -> Iterator[AggTrade]:
    """The trades, ascending by id, that are not kept yet, each once."""
    spans, last_id = iter(sorted(kept)), -1
    first, last = next(spans, (1 << 63, 1 << 63))
    for trade in trades:
        agg_id = trade.agg_id
        while agg_id > last:
            first, last = next(spans, (1 << 63, 1 << 63))
        if agg_id < first and agg_id != last_id:
            yield trade
        last_id = agg_id


def _runs(trades: Iterable[AggTrade]) -> Iterator[list[AggTrade]]:
    """Stretches of one day without a hole in the ids."""
    run: list[AggTrade] = []
    for trade in trades:
        if run and (
            trade.agg_id != run[-1].agg_id + 1
            or trade.trade_time // _DAY_US != run[-1].trade_time // _DAY_US
        ):
            yield run
            run = []
        run.append(trade)
    if run:
        yield run


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch each other as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
