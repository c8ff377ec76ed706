"""One store shared by a recorder that writes every second, two notebooks, a monitor and a training.

``python benchmarks/bench_sharing.py [MINUTES]``: for each way of sharing, what queries cost on an
idle machine, on an idle store while the same programs use another one, and on the store they all
share; then whether a bar was lost and what anybody complained of.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from sharing import Seen, furnish, query, served, share
from turns import Figure, publish

IDLE_S = 30.0
HISTORY_BARS = 60 * 1_440
SEEN = ("idle machine", "idle store", "shared")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=10.0)
    parser.add_argument("--mode", choices=("embedded", "served", "both"), default="both")
    options = parser.parse_args()
    modes = ("embedded", "served") if options.mode == "both" else (options.mode,)
    failed = False
    for mode in modes:
        with tempfile.TemporaryDirectory() as folder:
            seen = measure(Path(folder), options.minutes * 60, mode == "served")
        show(mode, seen, options.minutes)
        failed |= bool(seen["shared"].lost or seen["shared"].errors)
    sys.exit(failed)


def measure(folder: Path, seconds: float, serve: bool) -> dict[str, Seen]:
    """The same queries in the three situations."""
    quiet, busy = folder / "quiet", folder / "busy"
    for home in (quiet, busy):
        furnish(home, HISTORY_BARS)
    alone = served(quiet) if serve else contextlib.nullcontext()
    with alone:
        idle = query(quiet, IDLE_S)
        beside = share(busy, seconds, serve=serve, asked=quiet)
    shared = folder / "shared"
    furnish(shared, HISTORY_BARS)
    return dict(zip(SEEN, (idle, beside, share(shared, seconds, serve=serve)), strict=True))


def show(mode: str, seen: dict[str, Seen], minutes: float) -> None:
    """Tables of one way of sharing."""
    load = os.getloadavg()[1]
    print(f"\n{mode}, {minutes:g} minutes, {os.cpu_count()} cores, load {load:.1f}")
    print(f"{'query':18} " + " ".join(f"{name + ' p50/p95 ms':>26}" for name in SEEN))
    for kind in (None, *seen["shared"].waits_ms):
        cells = (f"{each.p(0.5, kind):8.1f} / {each.p(0.95, kind):.1f}" for each in seen.values())
        print(f"{kind or 'all':18} " + " ".join(f"{cell:>26}" for cell in cells))
    shared = seen["shared"]
    stored = "all stored" if not shared.lost else f"not all stored: {shared.lost}"
    print(f"{shared.n_queries:,} queries; {shared.n_bars:,} bars traded, {stored};", end=" ")
    print(f"{shared.n_signals:,} signals; errors: {shared.errors or 'none'}")
    publish(
        Figure(
            f"p95 of a query on a shared store, {mode}",
            "the same on an idle store beside the same work",
            2.0,
            shared.p(0.95) / seen["idle store"].p(0.95),
            f"{shared.p(0.95):.3g} ms",
            f"{seen['idle store'].p(0.95):.3g} ms",
            "A recorder of 1s bars, two notebooks, a monitor and a training run share it.",
            at_most=True,
        )
    )


if __name__ == "__main__":
    main()
