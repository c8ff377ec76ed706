"""How long it takes from a trade to the pixels of a real browser, and how often they change.

A headless Chromium shows the monitor of the simulated market in JupyterLab: 500 bars, all panels.
After each frame the page waits for the next animation frame and for the task after it, which runs
when the frame has been painted, and reports that moment; it is compared with the time of the last
trade in the frame, by the same machine's clock. *quiet* is the market at its own pace, one trade
every few seconds, each an event after a pause, and counts from the exchange's sending. *storm*
plays it a thousand times faster and counts from the receipt of the last trade.

Usage: ``python benchmarks/monitor_latency.py [SECONDS]``, 60 a case unless told otherwise.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))
from workbench import (
    CHROMIUM_FLAGS,
    TOKEN,
    Lab,
    free_port,
    lab_environment,
    wait_until_up,
)

CASES = {"quiet": 1, "storm": 1_000}
SESSION = """
from microstream_lab import LiveSession, RegimeMonitor
session = LiveSession("SIMUSDT", source="local", market="sim", speed={speed}, store=False).start()
"""
BEGIN = """
import numpy as np, time
session._state._latencies.clear()
began, frames, trades = time.monotonic(), monitor.n_painted, session.status().trades
"""
END = """
spent, found = time.monotonic() - began, np.array(session._state._latencies) / 1e3
rates = (session.status().trades - trades) / spent, (monitor.n_painted - frames) / spent
print(*rates, len(found), *(np.percentile(found, [50, 90, 99]) if len(found) else [np.nan] * 3))
"""
IS_READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.isReady && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
RUN_CELL = """async index => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
    const outputs = notebook.model.toJSON().cells[index].outputs;
    return outputs.map(output => output.text ?? output.evalue ?? '').join('');
}"""
DRAWN = "() => document.querySelectorAll('.microstream-figure .boxlayer path.box').length >= 450"


def main(seconds: float) -> None:
    """Measure every case and print a line each."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with TemporaryDirectory(prefix="microstream-") as folder, sync_playwright() as playwright:
        lab, server = start_lab(Path(folder))
        try:
            print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            print("case    trades/s  frames/s  latencies  median   p90   p99 ms, trade to pixels")
            for name, speed in CASES.items():
                browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
                page = browser.new_page(viewport={"width": 1400, "height": 1100})
                print(f"{name:<7} {measured(page, lab, speed, seconds)}", flush=True)
                browser.close()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def start_lab(home: Path) -> tuple[Lab, subprocess.Popen[bytes]]:
    """`microstream lab` on a free port."""
    (home / "notebooks").mkdir()
    port, log = free_port(), home / "lab.log"
    command = [str(Path(sys.executable).with_name("microstream")), "lab", "--no-browser"]
    command += [f"--port={port}", f"--IdentityProvider.token={TOKEN}"]
    command += ["--LabApp.expose_app_in_browser=True"]
    with log.open("wb") as sink:
        server = subprocess.Popen(command, cwd=home, env=lab_environment(home), stderr=sink)
    lab = Lab(f"http://127.0.0.1:{port}", home)
    wait_until_up(lab.url, server, log)
    return lab, server


def measured(page: Any, lab: Lab, speed: float, seconds: float) -> str:
    """One case: what the kernel says after the browser has painted for so many seconds."""
    texts = (SESSION.format(speed=speed), "monitor = RegimeMonitor(session)\nmonitor")
    texts += (BEGIN, END)
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in texts]
    kernel = {"display_name": "Python 3", "name": "python3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    name = f"notebooks/at_{speed}.ipynb"
    nbformat.write(notebook, lab.home / name)
    page.set_default_timeout(180_000 + seconds * 1_000)
    page.goto(lab.notebook(name))
    page.wait_for_function(IS_READY)
    for cell in (0, 1):
        page.evaluate(RUN_CELL, cell)
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(5_000)
    page.evaluate(RUN_CELL, 2)
    page.wait_for_timeout(seconds * 1_000)
    told = page.evaluate(RUN_CELL, 3).split()
    trades, frames, n, median, p90, p99 = map(float, told)
    return f"{trades:8,.1f}  {frames:8.1f}  {n:9.0f}  {median:6.0f}{p90:6.0f}{p99:6.0f}"


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
