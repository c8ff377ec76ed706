"""Whether cost grows in step with length: time and memory per row at one, four and sixteen parts.

Each size is measured in a process of its own, so that memory is its own peak, less what the process
held before the call.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from made_up import FIVE_YEARS, bars, rows, trades
from turns import Figure, publish

SIZES = [FIVE_YEARS // 16, FIVE_YEARS // 4, FIVE_YEARS]
WARM_ROWS, TURNS = 140_000, 3
GOAL = 1.15
HOW = (
    "{sizes} rows, each size in processes of its own, medians of three turns of five calls; the "
    "figure is the largest cost per row over that of the shortest, less than a byte a row counted "
    "as one. CPU nanoseconds a row, all threads: {time}. Bytes a row at the peak, with the result: "
    "{memory}."
)


def features(n: int) -> Callable[[], object]:
    """The seed set."""
    from microstream_lab import features_from_bars

    frame = bars(n)
    return lambda: features_from_bars(frame)


def signals(n: int) -> Callable[[], object]:
    """A whole bundle's signals."""
    from microstream_lab import train_bundle

    bundle, frame = train_bundle(bars(20_000), "seed", n_starts=1), bars(n)
    return lambda: bundle.signals(frame)


def em(n: int) -> Callable[[], object]:
    """One iteration."""
    from bench_em import begun

    from microstream_lab.models.em import FastGaussianHMM

    X = rows(n)
    return lambda: begun(FastGaussianHMM, X, 0, n_iter=1).fit(X)


def bars_of_trades(n: int) -> Callable[[], object]:
    """Bars of a minute."""
    from microstream_lab import bars_from_trades

    frame = trades(n)
    return lambda: bars_from_trades(frame, "1m")


def backtest(n: int) -> Callable[[], object]:
    """Positions to a summary."""
    from microstream_lab.research.backtest import backtest_positions

    frame = bars(n)
    targets = (frame["close"] > frame["open"]).to_numpy(float)
    return lambda: backtest_positions(targets, frame, n_resamples=1).summary()


PATHS = {
    "features": features,
    "signals": signals,
    "EM iteration": em,
    "trades to bars": bars_of_trades,
    "backtest": backtest,
}


def rss() -> int:
    """Resident bytes now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def let_go() -> None:
    """Give freed memory back, lest the call find it there and seem to need none."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # Linux, like everything here that reads /proc


def alone(path: str, n: int) -> None:
    """Print nanoseconds and peak bytes per row; runs in a process of its own."""
    PATHS[path](WARM_ROWS)()  # imports and compilation are nobody's cost by row
    call = PATHS[path](n)
    let_go()
    before = rss()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    taken = []
    for _ in range(5):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps([statistics.median(taken) / n * 1e9, max((peak - before) / n, 1.0)]))


def in_process(path: str, n: int) -> list[float]:
    """What :func:`alone` finds, in a process of its own."""
    command = [sys.executable, __file__, path, str(n)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: list[float] = json.loads(done.stdout.splitlines()[-1])
    return told


def measure(path: str) -> list[Figure]:
    """Time and memory of one path."""
    turns = [[in_process(path, n) for n in SIZES] for _ in range(TURNS)]
    columns = np.median(turns, axis=0).T.tolist()
    words = [" / ".join(f"{value:,.0f}" for value in column) for column in columns]
    how = HOW.format(sizes=" / ".join(f"{n:,}" for n in SIZES), time=words[0], memory=words[1])
    return [
        Figure(
            f"{path}, {what} per row at 1x, 4x, 16x",
            "the same at 1x",
            GOAL,
            max(column) / column[0],
            f"{column[-1]:,.0f} {unit} at 16x",
            f"{column[0]:,.0f} {unit} at 1x",
            how,
            at_most=True,
        )
        for what, unit, column in zip(("time", "memory"), ("ns", "B"), columns, strict=True)
    ]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        alone(sys.argv[1], int(sys.argv[2]))
    else:
        publish(*(figure for path in PATHS for figure in measure(path)))
