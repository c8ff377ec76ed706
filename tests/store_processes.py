"""Other processes that use a store: started on a piece of code, told what to do by their pipes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = Path(__file__).parent


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that runs `code`; its standard output and input are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.strip()


def finish_told(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate("enough\n", timeout=60)
    assert process.returncode == 0
    return output.strip()


READ_UNTIL_TOLD = """
    import sys
    from threading import Thread
    from microstream_lab.store import Store
    store, told = Store(sys.argv[1]), []
    Thread(target=lambda: told.append(sys.stdin.readline()), daemon=True).start()
    print("reading", flush=True)
    seen = [0]
    while not told:
        seen.append(len(store.bars("BTCUSDT", "1m")))
    assert seen == sorted(seen), "bars vanished"
    print(len(seen))
"""
