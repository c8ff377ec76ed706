"""AggTrade files into the store as bars, with every hole between their ids on record.

Invariant: a bar is stored as complete only if the ids prove that no trade of it is missing; files
must come in order of time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from microstream_lab.bars import bars_from_trades
from microstream_lab.errors import DataError
from microstream_lab.market.files import read_agg_trades
from microstream_lab.market.names import Period, parse_name
from microstream_lab.market.packed import sha256_of
from microstream_lab.schema import PARTIAL, Gap
from microstream_lab.store import FileImport, Store

__all__ = ["TradeImporter", "gaps_between"]

log = logging.getLogger(__name__)


def gaps_between(trades: pd.DataFrame, detected_at: int) -> list[Gap]:
    """The holes in the ascending ``agg_id`` of a trades frame, oldest first."""
    ids = trades["agg_id"].to_numpy()
    times = pd.DatetimeIndex(trades["trade_time"]).as_unit("us").asi8
    symbol, market = str(trades["symbol"].iloc[0]), str(trades["market"].iloc[0])
    return [
        Gap(
            symbol,
            int(ids[row]) + 1,
            int(ids[row + 1]) - 1,
            int(times[row]),
            int(times[row + 1]),
            "not in the file",
            detected_at,
            market=market,
        )
        for row in np.flatnonzero(np.diff(ids) > 1)
    ]


@dataclass(frozen=True)
class _TradeFile:
    path: Path
    period: Period | None
    trades: pd.DataFrame

    def borders(self, later: _TradeFile) -> bool:
        """Whether no time lies between this file and a later one, and ids go on ascending.

        Where days lie between two files their bars are missing; no bar is partial for that.
        """
        if self.period is None or later.period is None or self.period.end != later.period.first:
            return False
        before, after = self.trades["agg_id"].iloc[-1], later.trades["agg_id"].iloc[0]
        if after <= before:
            log.warning("%s: agg_id %s follows %s", later.path.name, after, before)
        return bool(after > before)


class TradeImporter:
    """Imports the aggTrade files of one symbol, one after the other.

    Ids are also followed from file to file, but not from one import to the next.

    Parameters
    ----------
    store : Store
        Where bars and gaps go.
    interval : str
        Of the bars to be made.
    market : str
        Of the trades.
    symbol : str, optional
        Only to be checked against the file names.
    """

    def __init__(self, store: Store, interval: str, market: str, symbol: str | None = None) -> None:
        self._store, self._interval, self._market = store, interval, market
        self._symbol = symbol
        self.n_gaps = 0

    def run(self, files: Iterable[Path]) -> Iterator[FileImport]:
        """Import files, oldest first; yields what became of each."""
        previous = current = None
        for path in files:
            try:
                following = self._read(path)
            except DataError:
                if current:
                    yield self._import(previous, current, None)
                raise
            if current:
                yield self._import(previous, current, following)
            previous, current = current, following
        if current:
            yield self._import(previous, current, None)

    def _read(self, path: Path) -> _TradeFile:
        name = parse_name(path)
        trades = read_agg_trades(path, self._symbol, self._market)
        return _TradeFile(path, name.period if name else None, trades)

    def _import(
        self, before: _TradeFile | None, file: _TradeFile, after: _TradeFile | None
    ) -> FileImport:
        trades = _with_neighbours(before, file, after)
        bars = self._bars(file, trades)
        counts = self._store.write_bars(bars)
        self._record(gaps_between(trades, time.time_ns() // 1_000))
        symbol = str(bars["symbol"].iloc[0])
        digest = sha256_of(file.path)
        return FileImport(file.path, digest, self._market, symbol, self._interval, counts)

    def _bars(self, file: _TradeFile, trades: pd.DataFrame) -> pd.DataFrame:
        """The bars of the file alone, though its neighbours were heard."""
        if file.period is None:
            return _with_open_ends(bars_from_trades(trades, self._interval))
        bars = bars_from_trades(trades, self._interval, until=file.period.end_us)
        times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
        return bars[(times >= file.period.start_us) & (times < file.period.end_us)]

    def _record(self, gaps: list[Gap]) -> None:
        """Write the gaps that are not on record; those that are may have been repaired since."""
        if not gaps:
            return
        known = self._store.gaps(gaps[0].symbol, market=self._market)
        keys = set(zip(known["from_id"], known["to_id"], strict=True))
        fresh = [gap for gap in gaps if (gap.from_id, gap.to_id) not in keys]
        self._store.write_gaps(fresh)
        self.n_gaps += len(fresh)


def _with_neighbours(
    before: _TradeFile | None, file: _TradeFile, after: _TradeFile | None
) -> pd.DataFrame:
    """The trades of a file between the last one before and the first one after it.

    They show whether ids are missing in between, and the one before gives quiet bars their price.
    """
    parts = [file.trades]
    if before and before.borders(file):
        parts.insert(0, before.trades.tail(1))
    if after and file.borders(after):
        parts.append(after.trades.head(1))
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _with_open_ends(bars: pd.DataFrame) -> pd.DataFrame:
    """Without a period in the file's name nothing shows that its first and last bar are whole."""
    quality = bars["quality"].copy()
    quality.iloc[[0, -1]] = PARTIAL
    return bars.assign(quality=quality)
