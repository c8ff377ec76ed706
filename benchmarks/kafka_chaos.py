"""Kafka at full size: three workers, 60 symbols, 100,000 bars, and everything is killed on the way.

`make kafka-chaos` runs it on a broker of its own; it takes some minutes and ends with 1 if a signal
is missing, there twice, or not the one that a single process makes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from broker import Broker, missing

PLAN = {
    "n_symbols": 60,
    "n_partitions": 12,
    "n_workers": 3,
    "n_bars": 100_020,
    "bars_per_s": 600.0,
    "kills": (0.1, 0.3, 0.6, 0.8),
    "additions": (0.15, 0.35, 0.65, 0.85),
    "restarts": (0.25, 0.75),
    "cut_at": 0.45,
    "cut_s": 60.0,
    "limit_s": 300.0,
}


def main() -> int:
    """Run it, and say what was found."""
    if why := missing():
        print(f"kafka-chaos: {why}", file=sys.stderr)
        return 1
    import bus_chaos

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder, "broker")) as broker:
        outcome = bus_chaos.run(
            broker,
            Path(folder),
            bus_chaos.Plan(**PLAN),
            lambda text: print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True),
        )
    print(
        f"{outcome.n_bars:,} bars in {outcome.took_s:.0f} s: {outcome.missing:,} signals missing, "
        f"{outcome.twice:,} twice, {outcome.different:,} not those of a single process"
    )
    return 0 if outcome.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
