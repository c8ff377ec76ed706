"""Bars to signals in a running session: repairs and new bundles included.

Invariant: a signal is that of an :class:`~microstream_lab.engine.Engine` that saw the kept bars in
order of time; what is kept is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from microstream_lab.live.tidings import Scored
from microstream_lab.schema import Bar

if TYPE_CHECKING:  # models load after the first bars are on the screen
    from microstream_lab.engine import Engine, SignalModel

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
    def oldest_open_time(self) -> int:
        """Open time (us) of the oldest bar that is kept; 0 before the first."""
        return next(iter(self._bars), 0)

    def known(self, open_time: int) -> Bar | None:
        """The kept bar of that time, if there is one."""
        return self._bars.get(open_time)

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
        from microstream_lab.engine import Engine

        engine = Engine(bundle)
        scored = [Scored(bar, engine.update(bar)) for bar in self._bars.values()]
        self._engine = engine  # only now: a bundle that cannot score them changes nothing
        return scored

    def update(self, bar: Bar) -> list[Scored]:
        """Take one bar; see :meth:`take`."""
        return self.take([bar])

    def take(self, bars: Sequence[Bar]) -> list[Scored]:
        """Take bars and return what they change: themselves, and after a repaired one the rest.

        Of a bar older than all that are kept nothing can be said any more; it is returned as it is.
        """
        old = [bar for bar in bars if bar.open_time <= self._last]
        changed = self._put_back(old)
        for bar in bars:
            if bar.open_time > self._last:
                changed.append(self._append(bar))
        return changed

    def is_quick(self, bars: Sequence[Bar]) -> bool:
        """Whether :meth:`take` has but these to score, none of the kept ones once more."""
        return all(bar.open_time > self._last for bar in bars)

    def _append(self, bar: Bar) -> Scored:
        self._last = bar.open_time
        self._bars[bar.open_time] = bar
        while len(self._bars) > self._keep:
            del self._bars[next(iter(self._bars))]
        return Scored(bar, self._engine.update(bar) if self._engine else None)

    def _put_back(self, bars: Sequence[Bar]) -> list[Scored]:
        """Fit bars in where they belong, and score once more what comes after the first of them."""
        oldest = self.oldest_open_time
        too_old = [Scored(bar) for bar in bars if bar.open_time < oldest]
        fitting = {bar.open_time: bar for bar in bars if bar.open_time >= oldest}
        if not fitting:
            return too_old
        self._bars = dict(sorted((self._bars | fitting).items())[-self._keep :])
        first = min(fitting)
        return too_old + [each for each in self._again() if each.bar.open_time >= first]

    def fill(self, bars: Iterable[Bar]) -> None:
        """Take bars of the past before there is a bundle; those known already stay."""
        merged = {bar.open_time: bar for bar in bars} | self._bars
        self._bars = dict(sorted(merged.items())[-self._keep :])
        self._last = max(self._bars, default=self._last)

    def knows(self, bar: Bar) -> bool:
        """Whether this very bar is among the kept ones."""
        return self._bars.get(bar.open_time) == bar

    def _again(self) -> list[Scored]:
        if self._engine is None:
            return [Scored(bar) for bar in self._bars.values()]
        return self.swap(self._engine.bundle)
