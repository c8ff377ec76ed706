"""One series of a worker: bars as they come on the topic, signals as they go out.

Invariant: what comes out depends on the messages of the series and the bundle alone, not on who
takes them when: a bar that was seen changes nothing, and one made anew speaks once more for itself
and those after it, each signal under the next revision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from microstream_lab.live.scorer import Scorer
from microstream_lab.schema import Bar, Signal

if TYPE_CHECKING:
    from microstream_lab.engine import SignalModel

__all__ = ["KEPT_BARS", "Lineage"]

KEPT_BARS: Final = 600
"""Repairs reach so many bars back; what is older than that has been acted on."""


class Lineage:
    """The bars and signals of one series.

    Parameters
    ----------
    bundle : ModelBundle
        What scores them.
    keep : int
        How many bars back repairs may come.

    Attributes
    ----------
    n_doubled, n_too_late : int
        Bars that came again, and repairs of bars that are not kept any more.
    """

    def __init__(self, bundle: SignalModel, keep: int = KEPT_BARS) -> None:
        self._scorer = Scorer(keep)
        self._scorer.swap(bundle)
        self._revisions: dict[int, int] = {}
        self.n_doubled = self.n_too_late = 0

    def update(self, bar: Bar) -> list[Signal]:
        """The signals that a bar brings: none if it was seen before, several if it is a repair."""
        scorer = self._scorer
        if bar.open_time > scorer.last_open_time:
            return [each.signal for each in scorer.take([bar]) if each.signal is not None]
        known = scorer.known(bar.open_time)
        if not self._is_news(bar, known):
            return []
        signals = [each.signal for each in scorer.take([bar]) if each.signal is not None]
        self._forget_before(scorer.oldest_open_time)
        return [
            signal if signal.open_time == bar.open_time and known is None else self._again(signal)
            for signal in signals
        ]

    def _again(self, signal: Signal) -> Signal:
        """A signal of a bar that has had one, under the next revision."""
        revision = self._revisions.get(signal.open_time, 0) + 1
        self._revisions[signal.open_time] = revision
        return replace(signal, revision=revision)

    def _forget_before(self, oldest: int) -> None:
        if any(time < oldest for time in self._revisions):
            self._revisions = {t: n for t, n in self._revisions.items() if t >= oldest}

    def _is_news(self, bar: Bar, known: Bar | None) -> bool:
        if known is not None and known.revision >= bar.revision:
            self.n_doubled += 1
            return False
        if known is None and bar.open_time < self._scorer.oldest_open_time:
            self.n_too_late += 1
            return False
        return True
