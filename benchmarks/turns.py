"""Measuring two ways side by side, and telling what was found.

Everything is compared within one process and one run: the ways take turns, and a ratio is the
median of the turns' own ratios, so that a busy machine slows both sides of it.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = "MICROSTREAM_BENCH_RESULTS"
"""Environment variable: a file that figures are added to, one line of JSON each."""


@dataclass(frozen=True)
class Figure:
    """One measured path beside its reference.

    ``ratio`` is how many times as fast as the reference we are; where `at_most` is set it is our
    cost over the reference's instead. ``skipped`` is the reason why nothing was measured.
    """

    path: str
    reference: str
    goal: float
    ratio: float = float("nan")
    ours: str = ""
    theirs: str = ""
    how: str = ""
    at_most: bool = False
    skipped: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the goal was reached."""
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    @property
    def verdict(self) -> str:
        """The figure beside its goal, in words."""
        if self.skipped:
            return f"skipped: {self.skipped}"
        wanted = f"{'at most' if self.at_most else 'at least'} {self.goal:,g}x"
        return f"{self.ratio:,.2f}x, {wanted}: {'met' if self.is_met else 'MISSED'}"


def take_turns(
    ways: Mapping[str, Callable[[], object]],
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each way in each turn; every other turn goes the other way round."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        order = list(ways.items())[:: 1 if turn % 2 == 0 else -1]
        for name, way in order:
            start = clock()
            way()
            taken[name].append(clock() - start)
    return taken


def ratio(theirs: Iterable[float], ours: Iterable[float]) -> float:
    """Median over the turns of how many times as long they took."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def told(seconds: Iterable[float], n: int = 1, what: str = "") -> str:
    """A median time for people, by item where `n` items were done."""
    each = statistics.median(seconds) / n
    scale, unit = next(
        (s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "us"), (1e9, "ns")) if each * s >= 1
    )
    return f"{each * scale:.3g} {unit}{what}"


def publish(*figures: Figure) -> None:
    """Print figures, and leave them to whoever collects them."""
    for figure in figures:
        print(f"{figure.path}, beside {figure.reference}: {figure.verdict}")
        if not figure.skipped:
            print(f"    {figure.ours} against {figure.theirs}")
    if target := os.environ.get(RESULTS):
        with Path(target).open("a") as file:
            file.writelines(json.dumps(asdict(figure)) + "\n" for figure in figures)
