"""Make the tables of docs/regimes.md: ``python tools/evaluate.py [DATA] [--quick]``.

DATA is a folder with ``klines_1m`` (Binance kline files of a year of minutes), ``klines_5m``
(``*.csv.gz`` of five-minute bars) and ``events.csv``; without it, or with --quick, the simulated
market stands in. The studies of known regimes need no data. Tables are printed and kept as CSV in
``data/evaluation``.
"""

from __future__ import annotations

import argparse
import re
import sys
from itertools import islice
from pathlib import Path

import pandas as pd

from microstream_lab.market.files import find_files, read_klines
from microstream_lab.market.simulate import simulate_days
from microstream_lab.research import known_truth
from microstream_lab.research.crises import read_events
from microstream_lab.research.ohlc import read_ohlc
from microstream_lab.research.study import Market, Study, run_study
from microstream_lab.settings import Settings

QUICK = Study(("seed",), ("ewma", "har", "kmeans"), refit="2D")


def main(words: list[str]) -> int:
    """Run the study that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, usage="evaluate.py [DATA] [--quick]")
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--start", default="2022-05-01", help="first day to judge")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(words)
    if options.quick or options.data is None or not options.data.is_dir():
        print("The simulated market stands in; real data would be named as DATA.")
        bars = pd.concat(day.bars for day in islice(simulate_days("2024-05-01", "1m"), 10))
        study = (QUICK, Market(bars, "2024-05-06"))
        tables = run_study(*study, n_jobs=options.jobs, progress=sys.stderr.isatty())
    else:
        tables = _real(options)
    sizes = known_truth.QUICK if options.quick else known_truth.FULL
    recovered = known_truth.known_truth(sizes, n_jobs=options.jobs, progress=sys.stderr.isatty())
    tables["Known truth: balanced accuracy"] = known_truth.standings(recovered)
    _show(tables, Settings.load().path("data", "evaluation"))
    return 0


def _real(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    files = find_files(options.data / "klines_1m")
    bars = pd.concat(read_klines(file, market="um") for file in files)
    five = read_ohlc(options.data / "klines_5m", "BTCUSDT")
    events = read_events(options.data / "events.csv")
    market = Market(bars, options.start)
    watched = sys.stderr.isatty()
    return run_study(Study(), market, five, events, n_jobs=options.jobs, progress=watched)


def _show(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for title, table in tables.items():
        table.to_csv(folder / f"{re.sub('[^a-z0-9]+', '_', title.lower()).strip('_')}.csv")
        shown = table.map(lambda x: f"{x:.4g}" if isinstance(x, float) else str(x))
        print(f"\n{title}\n{shown.to_string()}")
    print(f"\nKept as CSV in {folder}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
