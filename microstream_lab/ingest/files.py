"""Files into the store: klines as they are, aggTrades as the bars they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from microstream_lab.ingest.report import IngestReport
from microstream_lab.ingest.trades import TradeImporter
from microstream_lab.market.files import find_files, is_agg_trades
from microstream_lab.market.names import parse_name
from microstream_lab.settings import Settings
from microstream_lab.store import FileImport, Store

__all__ = ["import_path"]


def import_path(
    store: Store,
    path: Path | str | Iterable[Path],
    market: str = "spot",
    *,
    symbol: str | None = None,
    interval: str | None = None,
    replace: bool = False,
    progress: bool = True,
) -> IngestReport:
    """Import Binance files into the store, each whole or not at all.

    Parameters
    ----------
    store : Store
        Where the bars go.
    path : Path, str or iterable of Path
        A CSV or zip of klines or aggTrades, a folder of them, a glob, or a list.
    market : {"spot", "um", "sim"}
        The market they are of, which no file tells.
    symbol, interval : str, optional
        Needed where the file names do not tell. For aggTrades the interval is that of the bars to
        be made, by default the one of the settings.
    replace : bool
        Whether bars of kline files overwrite stored ones that differ.
    progress : bool
        Whether to show a bar, which needs a terminal.

    Raises
    ------
    DataError
        At the first file that is not as it should be; those before it are stored.
    """
    files = find_files(path)
    klines = [file for file in files if not is_agg_trades(file)]
    trades = [file for file in files if is_agg_trades(file)]
    done: list[FileImport] = []
    n_gaps = 0
    with tqdm(total=len(files), unit="file", disable=None if progress else True) as bar:

        def ticking(some: Sequence[Path]) -> Iterator[Path]:
            for file in some:
                bar.set_postfix_str(file.name)
                yield file
                bar.update()

        if klines:
            done += store.import_klines(
                klines, market, symbol, interval, replace=replace, progress=ticking
            ).files
        of_trades = interval or Settings.load().interval
        for _, group in groupby(trades, key=_symbol_of):
            importer = TradeImporter(store, of_trades, market, symbol)
            done += importer.run(ticking(list(group)))
            n_gaps += importer.n_gaps
    series = dict.fromkeys((each.symbol, each.interval, each.market) for each in done)
    coverage = tuple(store.coverage(*key) for key in series)
    return IngestReport(tuple(done), coverage, n_gaps=n_gaps)


def _symbol_of(file: Path) -> str:
    name = parse_name(file)
    return name.symbol if name else ""
