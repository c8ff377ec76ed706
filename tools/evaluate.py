"""Make the tables of the documentation: ``python tools/evaluate.py [DATA] [--quick]``.

DATA is a folder with ``klines_1m`` (Binance kline files of a year of minutes), ``klines_5m``
(``*.csv.gz`` of five-minute bars) and ``events.csv``; without it, or with --quick, the simulated
market stands in. The studies of known regimes need no data, and there are no other years without.
``--only years`` makes the tables of one year after another alone, ``--only anomalies`` those of
docs/anomalies.md. Tables are printed and kept as CSV in ``data/evaluation``.
"""

from __future__ import annotations

import argparse
import re
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from microstream_lab.market.files import find_files, read_klines
from microstream_lab.market.simulate import simulate_days
from microstream_lab.research import anomalies, known_truth
from microstream_lab.research.crises import read_events
from microstream_lab.research.ohlc import read_ohlc
from microstream_lab.research.side_by_side import side_by_side
from microstream_lab.research.study import Market, Study, run_study
from microstream_lab.research.years import over_years
from microstream_lab.settings import Settings

INJECTED_INTO = pd.Timedelta(days=92)
INJECTIONS: dict[str, Any] = {"n_events": 250}
QUICK_INJECTIONS: dict[str, Any] = {"n_events": 40, "strengths": ("marked",)}
QUICK = Study(("seed",), ("ewma", "har", "kmeans"), refit="2D")


def main(words: list[str]) -> int:
    """Run the study that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, usage="evaluate.py [DATA] [--quick] [--only PART]"
    )
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=list(PARTS), help="make these tables alone")
    parser.add_argument("--start", default="2022-05-01", help="first day to judge")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(words)
    if options.quick or options.data is None or not options.data.is_dir():
        print("The simulated market stands in; real data would be named as DATA.")
        options.data = None
    tables: dict[str, pd.DataFrame] = {}
    for part in [options.only] if options.only else PARTS:
        tables |= PARTS[part](options)
    _show(tables, Settings.load().path("data", "evaluation"))
    return 0


def _market(options: argparse.Namespace) -> Market:
    if options.data is None:
        bars = pd.concat(day.bars for day in islice(simulate_days("2024-05-01", "1m"), 10))
        return Market(bars, "2024-05-06")
    files = find_files(options.data / "klines_1m")
    return Market(pd.concat(read_klines(file, market="um") for file in files), options.start)


def _regimes(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    how = {"n_jobs": options.jobs, "progress": sys.stderr.isatty()}
    if options.data is None:
        return run_study(QUICK, _market(options), **how)
    five = read_ohlc(options.data / "klines_5m", "BTCUSDT")
    events = read_events(options.data / "events.csv")
    return run_study(Study(), _market(options), five, events, **how)


def _years(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    if options.data is None:
        print("Other years are left out: they are of real data only.")
        return {}
    five = read_ohlc(options.data / "klines_5m", "BTCUSDT")
    return over_years(five, n_jobs=options.jobs, progress=sys.stderr.isatty())


def _truth(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    sizes = known_truth.QUICK if options.quick else known_truth.FULL
    recovered = known_truth.known_truth(sizes, n_jobs=options.jobs, progress=sys.stderr.isatty())
    return {"Known truth: balanced accuracy": known_truth.standings(recovered)}


def _anomalies(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    market = _market(options)
    start = pd.Timestamp(market.start, tz="UTC")
    bars = market.bars[market.bars.index < start + INJECTED_INTO]
    sizes = QUICK_INJECTIONS if options.data is None else INJECTIONS
    parts = anomalies.anomaly_parts(bars, market.start, **sizes)
    done = side_by_side(parts, options.jobs, sys.stderr.isatty(), "anomalies")
    table = pd.concat(done)
    return {
        "Injected anomalies: average precision": anomalies.standings(table),
        "Injected anomalies": table.set_index(["kind", "strength", "detector"]),
    }


PARTS = {"regimes": _regimes, "years": _years, "truth": _truth, "anomalies": _anomalies}


def _show(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for title, table in tables.items():
        table.to_csv(folder / f"{re.sub('[^a-z0-9]+', '_', title.lower()).strip('_')}.csv")
        shown = table.map(lambda x: f"{x:.4g}" if isinstance(x, float) else str(x))
        print(f"\n{title}\n{shown.to_string()}")
    print(f"\nKept as CSV in {folder}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
