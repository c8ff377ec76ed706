"""Runs every benchmark, writes docs/performance.md, and compares with the run before.

``python benchmarks/report.py [NAME ...]`` runs those named, ``signal`` for example, or all but the
ones of `BY_NAME`, in a quarter of an hour on two quiet cores. The last figures of every benchmark
are kept in build/, which is not committed, and the page shows them all.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from turns import RESULTS, Figure

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
KEPT = HERE.parent / "build" / "bench" / "last.json"
NOTES = HERE / "notes.md"
LIBRARIES = ("numpy", "pandas", "scikit-learn", "hmmlearn", "numba", "duckdb", "pyarrow", "msgspec")
WORSE = 0.8
"""A ratio below this share of the last run's is pointed out: smaller changes are noise."""
BY_NAME = ("exchange", "kafka", "record", "sharing")
"""Run only where named: they print tables of their own, need a broker, or take most of an hour."""
FAILED: list[str] = []
"""Benchmarks that broke off: the page keeps what was last known of them."""
HEAD = """# How fast it is

Written by `make bench`; figures are ratios within one process and one run, medians of turns. Only
ratios can be compared between machines. Measured {when} on {cores} cores ({processor}), Python
{python}, {libraries}.

| path | reference | goal | measured | ours | reference took |
|---|---|---|---|---|---|
"""


def run(script: Path) -> list[Figure]:
    """Figures of one script, in a process of its own with one BLAS thread."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.jsonl"
        target.touch()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = {**os.environ, **threads, RESULTS: str(target)}
        print(f"-- {script.stem}", flush=True)
        start = time.monotonic()
        done = subprocess.run([sys.executable, str(script)], env=environment, check=False)
        print(f"   took {time.monotonic() - start:,.0f} s", flush=True)
        if done.returncode:
            FAILED.append(script.stem)
        return [Figure(**json.loads(line)) for line in target.read_text().splitlines()]


def compare(figures: list[Figure], before: list[Figure]) -> list[str]:
    """One line for every figure that is much worse than it was."""
    last = {(figure.path, figure.reference): figure.ratio for figure in before}
    lines = []
    for figure in figures:
        known = last.get((figure.path, figure.reference), float("nan"))
        if figure.ratio * WORSE > known if figure.at_most else figure.ratio < known * WORSE:
            lines.append(f"worse than last time: {figure.path}: {known:,.2f}x, {figure.verdict}")
    return lines


def page(figures: list[Figure]) -> str:
    """The page that is committed."""
    head = HEAD.format(
        when=datetime.now(UTC).date(),
        cores=os.cpu_count(),
        processor=platform.machine(),
        python=platform.python_version(),
        libraries=", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    )
    told: dict[str, dict[str, None]] = {}  # one explanation may be of several rows
    for figure in figures:
        told.setdefault(figure.how, {})[figure.path] = None
    how = "\n".join(f"- **{'; '.join(paths)}**. {text}" for text, paths in told.items() if text)
    table = "\n".join(_row(figure) for figure in figures)
    return f"{head}{table}\n\n## How each was measured\n\n{how}\n\n{NOTES.read_text()}"


def _row(figure: Figure) -> str:
    goal = f"{'<=' if figure.at_most else '>='} {figure.goal:,g}x"
    measured = figure.skipped or f"{figure.ratio:,.2f}x" + ("" if figure.is_met else " (missed)")
    cells = (figure.path, figure.reference, goal, measured, figure.ours, figure.theirs)
    return f"| {' | '.join(cells)} |"


def kept() -> dict[str, list[Figure]]:
    """The last figures of every benchmark."""
    stored: dict[str, list[dict[str, Any]]] = {}
    if KEPT.exists():
        stored = json.loads(KEPT.read_text())
    return {name: [Figure(**figure) for figure in figures] for name, figures in stored.items()}


def keep(figures: dict[str, list[Figure]]) -> None:
    """For the next time."""
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    stored = {name: [asdict(figure) for figure in each] for name, each in figures.items()}
    KEPT.write_text(json.dumps(stored, indent=1))


def main(names: list[str]) -> None:
    """Run, compare, keep, and write the page."""
    start = time.monotonic()
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    if unknown := [name for name in names if name not in scripts]:
        sys.exit(f"benchmark: found {unknown[0]}, expected one of {' '.join(scripts)}")
    for name in names or [name for name in scripts if name not in BY_NAME]:
        found, known = run(scripts[name]), kept()
        print("\n".join(compare(found, known.get(name, []))))
        keep({**known, name: found} if found else known)
    figures = [figure for each in dict(sorted(kept().items())).values() for figure in each]
    PAGE.write_text(page(figures))
    took = (time.monotonic() - start) / 60
    print(f"written: {PAGE.relative_to(HERE.parent)}, after {took:,.1f} minutes")
    if FAILED:
        sys.exit(f"broke off: {', '.join(FAILED)}")


if __name__ == "__main__":
    main(sys.argv[1:])
