"""What a notebook asks a store, over and over until its input ends; then one line of JSON.

``python sharing_notebook.py LIVE HISTORY SINCE``: a symbol recorded in seconds from SINCE (us)
on, and one with minutes of history.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from threading import Thread

from microstream_lab.errors import MicrostreamError
from microstream_lab.store import Store

PAUSE_S = 0.2
COUNT = "SELECT symbol, interval, count(*) AS n, max(open_time) AS last FROM bars GROUP BY ALL"
MONTH = ("2020-01-05", "2020-02-04")


def main(live: str, history: str, since: int) -> None:
    """Ask, and tell how long each answer took."""
    store = Store()
    kinds: dict[str, Callable[[], object]] = {
        "live bars": lambda: store.bars(live, "1s", since - 60_000_000, None, "sim"),
        "month of minutes": lambda: store.bars(history, "1m", *MONTH, "sim"),
        "count in SQL": lambda: store.sql(COUNT),
        "coverage": lambda: store.coverage(live, "1s", "sim"),
        "signals": lambda: store.signals(live, "1s", since, None, "sim"),
    }
    for ask in kinds.values():
        ask()
    told: list[str] = []
    Thread(target=lambda: told.append(sys.stdin.readline()), daemon=True).start()
    print("ready", flush=True)
    waits: dict[str, list[float]] = {kind: [] for kind in kinds}
    errors: list[str] = []
    while not told:
        for kind, ask in kinds.items():
            began = time.perf_counter()
            try:
                ask()
            except MicrostreamError as error:
                errors.append(f"{kind}: {error}")
            waits[kind].append((time.perf_counter() - began) * 1e3)
            time.sleep(PAUSE_S)
    print(json.dumps({"waits_ms": waits, "errors": errors}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
