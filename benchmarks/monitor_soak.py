"""Whether the monitor stays as small as it is: browser heap, kernel memory, notebook file.

A headless Chromium in JupyterLab shows the simulated market three hundred times faster than it is,
so that most frames bring closed bars. After every 300 frames the heap is read when its garbage has
been collected, and so is the kernel's resident memory; later readings are compared with the first.

Usage: ``python benchmarks/monitor_soak.py [FRAMES]``, 3000 unless told otherwise. It fails if
anything has grown by more than a tenth, if the page complained, or if the notebook has grown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from watching import browser_page, jupyterlab, machine, run_cell, watch

EVERY, ALLOWED = 300, 1.10
SESSION = """
from microstream_lab import LiveSession, RegimeMonitor
session = LiveSession("SIMUSDT", source="local", market="sim", speed=300, store=False).start()
"""
SHOW = "monitor = RegimeMonitor(session)\nmonitor"
LOOK = """
import gc, pathlib, resource
gc.collect()
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
figures = sum(frame.is_figure for frame in monitor.frames)
print(monitor.n_painted, pages * resource.getpagesize() / 2**20, figures)
"""
SAVE = "async () => await window.jupyterapp.commands.execute('docmanager:save')"


def main(n_frames: int) -> int:
    """Print a line every 300 frames and whether all is well."""
    print(machine())
    complaints: list[str] = []
    with jupyterlab() as lab, browser_page() as page:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else 0)
        watch(page, lab, [SESSION, SHOW, LOOK], "soak")
        complaints.clear()  # of JupyterLab's own start
        notebook = lab.home / "notebooks" / "soak.ipynb"
        seen = looked(page, notebook, n_frames)
    grown = [name for name, *readings in seen if max(readings[1:]) > ALLOWED * readings[0]]
    for complaint in complaints:
        print("the page complained:", complaint)
    print("grown by more than a tenth:", ", ".join(grown) or "nothing")
    return int(bool(grown or complaints))


def looked(page: Any, notebook: Path, n_frames: int) -> list[tuple[Any, ...]]:
    """The readings of heap, memory and file; each a name and numbers."""
    session = page.context.new_cdp_session(page)
    heaps, memories, sizes = [], [], []
    print("frames  figures among the latest  heap MB  kernel MB  nodes  notebook kB")
    target = EVERY
    while target <= n_frames:
        painted, memory, figures = wait_for(page, target)
        session.send("HeapProfiler.collectGarbage")
        heaps.append(session.send("Runtime.getHeapUsage")["usedSize"] / 2**20)
        nodes = page.evaluate("document.querySelectorAll('*').length")
        page.evaluate(SAVE)
        memories.append(memory)
        sizes.append(notebook.stat().st_size / 1e3)
        print(
            f"{painted:6.0f}  {figures:24.0f}  {heaps[-1]:7.1f}  {memory:9.1f}  {nodes:5}  "
            f"{sizes[-1]:11.1f}",
            flush=True,
        )
        target += EVERY
    return [("heap", *heaps), ("kernel", *memories), ("notebook", *sizes)]


def wait_for(page: Any, n_frames: int) -> list[float]:
    """Look once a few seconds until so many frames have been painted."""
    while True:
        told = [float(number) for number in run_cell(page, 2).split()]
        if told[0] >= n_frames:
            return told
        page.wait_for_timeout(5_000)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3_000))
