"""Import a year of minutes beside the plain way: ``pandas.read_csv`` and INSERT, nothing checked.

Both fill the same keyed table from the same zips, in turns, each time in a fresh file. Prints the
medians and their ratio; with ``--max-ratio`` a higher one is a failure.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from turns import Figure, publish, ratio

from microstream_lab import Store
from microstream_lab.schema import BAR_VALUES
from microstream_lab.store.tables import MIGRATIONS

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "klines_1m"
COLUMNS = [
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"),
    *("trades", "taker_buy_base", "taker_buy_quote", "ignore"),
]


def plain_way(folder: Path, store: Path) -> None:
    """What a user would write by hand."""
    with duckdb.connect(store) as connection:
        connection.execute(MIGRATIONS[1])
        for file in sorted(folder.glob("*.zip")):
            frame = pd.read_csv(file, header=0, names=COLUMNS)
            symbol, interval = file.name.split("-")[:2]
            connection.register("frame", frame)
            connection.execute(
                f"INSERT INTO bars SELECT 'um', '{symbol}', '{interval}', "
                f"make_timestamptz(open_time * 1000), {', '.join(BAR_VALUES)}, 'complete', 0 "
                "FROM frame"
            )


def our_way(folder: Path, store: Path) -> None:
    """Read, checked, compared with what is there, told."""
    Store(store).import_klines(folder, market="um")


def seconds(way: Callable[[Path, Path], None], folder: Path) -> float:
    """Time of one import into a fresh file."""
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        way(folder, Path(home) / "bench.duckdb")
        return time.perf_counter() - started


def made_up_files(folder: Path) -> Path:
    """Zips of a made-up year, in the archive's naming, where the real ones are absent."""
    rng = np.random.default_rng(0)
    times = pd.date_range("2022-01-01", "2022-12-31 23:59", freq="1min", tz="UTC")
    n = len(times)
    close = np.round(30_000 * np.exp(np.cumsum(rng.normal(0, 5e-4, n))), 1)
    opens = np.concatenate([[30_000.0], close[:-1]])
    volume = np.round(rng.lognormal(4, 1, n), 3)
    bars = pd.DataFrame({"open_time": times.as_unit("ms").asi8, "open": opens}, columns=COLUMNS)
    bars["high"] = np.round(np.maximum(opens, close) + rng.exponential(5, n), 1)
    bars["low"] = np.round(np.minimum(opens, close) - rng.exponential(5, n), 1)
    bars["close"], bars["volume"], bars["ignore"] = close, volume, 0
    bars["close_time"] = bars["open_time"] + 59_999
    bars["quote_volume"] = np.round(volume * close, 5)
    bars["trades"] = rng.poisson(500, n) + 1
    bars["taker_buy_base"] = np.round(volume / 2, 3)
    bars["taker_buy_quote"] = np.round(bars["taker_buy_base"] * close, 5)
    for month, rows in bars.groupby(times.strftime("%Y-%m")):
        name = f"BTCUSDT-1m-{month}"
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.csv", rows.to_csv(index=False))
    return folder


def main() -> None:
    """Take turns, print medians and ratio, fail where the ratio is too high."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="kline zips of one interval (futures)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--max-ratio", type=float, default=float("inf"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        made_up = asked.folder is None and not REAL.is_dir()
        kind = "a made-up year of minutes" if made_up else "real minutes"
        folder = made_up_files(Path(home)) if made_up else asked.folder or REAL
        our_way(folder, Path(home) / "warm.duckdb")
        turns = [(seconds(plain_way, folder), seconds(our_way, folder)) for _ in range(asked.turns)]
    plain, ours = (statistics.median(times) for times in zip(*turns, strict=True))
    publish(
        Figure(
            f"zips to validated rows in the keyed table, {kind}",
            "pandas.read_csv + INSERT",
            1.1,
            ratio(*zip(*turns, strict=True)),
            f"{ours:.2f} s",
            f"{plain:.2f} s",
            f"All zips of a folder into a fresh file, {asked.turns} turns; ours checks every row, "
            "compares with what is stored and tells the coverage, the plain way checks nothing.",
        )
    )
    sys.exit(ours / plain > asked.max_ratio)


if __name__ == "__main__":
    main()
