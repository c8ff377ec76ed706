"""How long it takes from a trade to the pixels of a real browser, and how often they change.

A headless Chromium shows the monitor in JupyterLab: 500 bars, all panels. A local exchange in a
process of its own plays trades stamped with the moment at which they are due. After each frame the
page waits for the next animation frame and for the task after it, which runs when the frame has
been painted, and reports that moment by the same machine's clock. *newest* is the time from the
last trade in a frame to its being painted; *oldest* bounds that of every trade: it is counted from
the last trade of the frame before, where trades come without a pause. A frame without a new trade
counts for neither.

*quiet* is a trade every two seconds in bars of a minute, *close* one in bars of a second, so that
each closes some; *storm* is 1,000 trades a second in bars of a minute, *closes* in bars of a
second, so that the figure is always drawn anew; *flood* is 20,000, while cells are run: *answer* is
from asking the kernel for 1 + 1 in the page until the answer is there.

Usage: ``python benchmarks/monitor_latency.py [SECONDS [CASE ...]]``, 60 unless told otherwise.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from watching import Lab, browser_page, jupyterlab, machine, paced_market, run_cell, watch

CASES = {
    "quiet": (0.5, "1m"),
    "close": (0.5, "1s"),
    "storm": (1_000, "1m"),
    "closes": (1_000, "1s"),
    "flood": (20_000, "1m"),
}
SETTLING_MS, IN_TIME_S, MOST_TURNS = 8_000, 0.5, 90
SESSION = """
import os
os.environ.update({addresses})
from microstream_lab import LiveSession, RegimeMonitor
session = LiveSession("BTCUSDT", {interval!r}, source="binance", store=False).start()
"""
SHOW = "monitor = RegimeMonitor(session)\nmonitor"
BEGIN = """
import json, time
began, trades, first = time.time(), session.status().trades, monitor.frames[-1].number
"""
END = """
spent, status = time.time() - began, session.status()
frames = [(f.sent_at, f.painted_at, f.is_figure) for f in monitor.frames if f.number >= first]
print(json.dumps([(status.trades - trades) / spent, spent, status.gaps_repaired, frames]))
"""
LAG = "import time\nprint(time.time() - monitor.frames[-1].sent_at / 1e6)"
ANSWERS = """async n => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const spent = [];
    for (let k = 0; k < n; k++) {
        const began = performance.now();
        await kernel.requestExecute({ code: '1 + 1' }).done;
        spent.push(performance.now() - began);
        await new Promise(done => setTimeout(done, 300));
    }
    return spent;
}"""


def main(seconds: float, names: list[str]) -> None:
    """Measure every case and print a line each."""
    print(machine())
    print("case    trades/s  redraws/s  frames   newest: p50  p90  p99   oldest: p50  p90  p99 ms")
    with jupyterlab() as lab:
        for name in names:
            rate, interval = CASES[name]
            with paced_market(rate, interval, lab.home) as addresses, browser_page() as page:
                print(measured(page, lab, name, addresses, interval, seconds), flush=True)


def measured(
    page: Any, lab: Lab, name: str, addresses: dict[str, str], interval: str, seconds: float
) -> str:
    """One case: what the kernel noted while the browser painted for so many seconds."""
    session = SESSION.format(addresses=addresses, interval=interval)
    watch(page, lab, [session, SHOW, BEGIN, END, LAG], name)
    page.wait_for_timeout(SETTLING_MS)
    if CASES[name][0] > 10:
        await_the_present(page)
    run_cell(page, 2)
    answers = page.evaluate(ANSWERS, int(seconds / 0.5)) if name == "flood" else []
    page.wait_for_timeout(0 if answers else seconds * 1_000)
    rate, spent, _, frames = json.loads(run_cell(page, 3))
    told = report(name, rate, spent, np.array(frames, np.int64))
    if answers:
        p50, p99 = np.percentile(answers, [50, 99])
        told += f"\n        answer: {p50:.0f} ms p50, {p99:.0f} ms p99 of {len(answers)} cells"
    return told


def await_the_present(page: Any) -> None:
    """The exchange makes up for what passed while all began; a machine may be too slow for that.

    Raises
    ------
    TimeoutError
        If what is painted stays behind.
    """
    for _ in range(MOST_TURNS):
        behind_s = float(run_cell(page, 4))
        if behind_s <= IN_TIME_S:
            return
        page.wait_for_timeout(1_000)
    raise TimeoutError(f"found the monitor {behind_s:.1f} s behind, expected {IN_TIME_S} s at most")


def report(name: str, rate: float, spent: float, frames: Any) -> str:
    """Percentiles of frames, rows of (last trade sent, painted, whether the figure) in us."""
    sent, painted, is_figure = frames.T
    is_new = np.diff(sent) > 0
    newest, oldest = (painted - sent)[1:][is_new] / 1e3, (painted[1:] - sent[:-1])[is_new] / 1e3
    told = [
        "".join(f"{x:5.0f}" for x in np.percentile(latencies, [50, 90, 99]))
        for latencies in (newest, oldest)
    ]
    if rate < 10:
        told[1] = ""
    head = f"{name:<7} {rate:8,.1f} {len(sent) / spent:9.1f} {int(is_new.sum()):8}"
    return f"{head}         {told[0]}           {told[1]}{figures(painted, is_figure == 1)}"


def figures(painted: Any, is_figure: Any) -> str:
    """How often the figure was redrawn, and how long after the words before it it was painted."""
    took = np.diff(painted)[is_figure[1:]] / 1e3
    if not len(took):
        return "  figure not redrawn"
    return f"  figure: {len(took)} times, {np.median(took):.0f} ms p50, {took.max():.0f} ms at most"


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, sys.argv[2:] or list(CASES))
