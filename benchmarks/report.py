"""Runs every benchmark, writes docs/performance.md, and compares with the run before.

``python benchmarks/report.py [NAME ...]`` runs all of them or those named, ``signal`` for example.
Figures of the last run are kept in build/, which is not committed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
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
HEAD = """# How fast it is

Written by `make bench`; figures are ratios within one process and one run, medians of turns. Only
ratios can be compared between machines. Measured {when} on {cores} cores ({processor}), Python
{python}, {libraries}.

| path | reference | goal | measured | ours | reference took |
|---|---|---|---|---|---|
"""


def run(scripts: list[Path]) -> list[Figure]:
    """Figures of all scripts, each in a process of its own with one BLAS thread."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.jsonl"
        target.touch()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = {**os.environ, **threads, RESULTS: str(target)}
        for script in scripts:
            print(f"-- {script.stem}", flush=True)
            subprocess.run([sys.executable, str(script)], env=environment, check=True)
        return [Figure(**json.loads(line)) for line in target.read_text().splitlines()]


def compare(figures: list[Figure], before: dict[str, float]) -> list[str]:
    """One line for every figure that is much worse than it was."""
    lines = []
    for figure in figures:
        key = f"{figure.path}, beside {figure.reference}"
        if (last := before.get(key)) is None or figure.skipped:
            continue
        change = last / figure.ratio if figure.at_most else figure.ratio / last
        if change < WORSE:
            lines.append(f"worse than last time: {key}: {last:,.2f}x -> {figure.ratio:,.2f}x")
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
    how = "\n".join(f"- **{f.path}**, beside {f.reference}. {f.how}" for f in figures if f.how)
    table = "\n".join(_row(figure) for figure in figures)
    return f"{head}{table}\n\n## How each was measured\n\n{how}\n\n{NOTES.read_text()}"


def _row(figure: Figure) -> str:
    goal = f"{'<=' if figure.at_most else '>='} {figure.goal:,g}x"
    measured = figure.skipped or f"{figure.ratio:,.2f}x" + ("" if figure.is_met else " (missed)")
    cells = (figure.path, figure.reference, goal, measured, figure.ours, figure.theirs)
    return f"| {' | '.join(cells)} |"


def kept() -> dict[str, Any]:
    """Figures of the run before, by path and reference."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def main(names: list[str]) -> None:
    """Write the page only if everything ran."""
    scripts = sorted(HERE.glob("bench_*.py"))
    chosen = [s for s in scripts if not names or s.stem.removeprefix("bench_") in names]
    figures, before = run(chosen), kept()
    for line in compare(figures, before):
        print(line)
    if not names:
        PAGE.write_text(page(figures))
        print(f"written: {PAGE.relative_to(HERE.parent)}")
    measured = {f"{f.path}, beside {f.reference}": f.ratio for f in figures if not f.skipped}
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps({**before, **measured}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
