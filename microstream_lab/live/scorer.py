"""Bars to signals in a running session: repairs and new bundles included.

Invariant: a signal is that of an :class:`~microstream_lab.engine.Engine` that saw the kept bars in
order of time; what is kept is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable

from microstream_lab.engine import Engine, SignalModel
from microstream_lab.live.tidings import Scored
from microstream_lab.schema import Bar

__all__ = ["Scorer"]


class Scorer:
    """Scores bars one at a time, and those after a repaired one once more.

    Parameters
    ----------
    keep : int
        How many bars to remember: as many a new bundle is warmed on.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._bars: dict[int, Bar] = {}
        self._last = 0
        self._engine: Engine | None = None

    @property
    def last_open_time(self) -> int:
        """Open time (us) of the newest bar; 0 before the first."""
        return self._last

    @property
    def bars(self) -> list[Bar]:
        """The kept bars, oldest first."""
        return list(self._bars.values())

    def swap(self, bundle: SignalModel) -> list[Scored]:
        """Score with `bundle` from now on, its filter warmed on the kept bars.

        Returns
        -------
        list of Scored
            The kept bars as the new bundle sees them.
        """
        self._engine = Engine(bundle)
        return [Scored(bar, self._engine.update(bar)) for bar in self._bars.values()]

    def update(self, bar: Bar) -> list[Scored]:
        """Take a bar and return what it changes: itself, and if it is a repair those after it."""
        if bar.open_time > self._last:
            self._last = bar.open_time
            self._bars[bar.open_time] = bar
            while len(self._bars) > self._keep:
                del self._bars[next(iter(self._bars))]
            return [Scored(bar, self._engine.update(bar) if self._engine else None)]
        if bar.open_time not in self._bars and (
            not self._bars or bar.open_time < next(iter(self._bars))
        ):
            return []
        self._bars = dict(sorted((self._bars | {bar.open_time: bar}).items()))
        return [each for each in self._again() if each.bar.open_time >= bar.open_time]

    def fill(self, bars: Iterable[Bar]) -> list[Scored]:
        """Take bars of the past, in order; those known already stay."""
        return [
            scored for bar in bars if bar.open_time not in self._bars for scored in self.update(bar)
        ]

    def _again(self) -> list[Scored]:
        if self._engine is None:
            return [Scored(bar) for bar in self._bars.values()]
        return self.swap(self._engine.bundle)
