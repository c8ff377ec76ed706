"""Our bars beside the exchange's own: an independent check, as the two are made apart.

Invariant: a closed bar whose trades are proven whole equals the exchange's in every value, or an
error is logged with both. What is kept is bounded.
"""

from __future__ import annotations

import logging
import math
from typing import Final

from microstream_lab.schema import BAR_VALUES, PARTIAL, Bar

__all__ = ["CrossCheck", "differing"]

log = logging.getLogger(__name__)

_KEPT: Final = 64
_LAST_DIGIT: Final = 1.001e-8


def differing(ours: Bar, theirs: Bar) -> list[str]:
    """Names of the values in which two bars differ.

    Sums may differ by their last digit, decimal or binary: a float has no room for all digits of
    a large one, and two ways of adding need not round it alike.
    """
    return [name for name in BAR_VALUES if not _agree(getattr(ours, name), getattr(theirs, name))]


def _agree(ours: float, theirs: float) -> bool:
    return ours == theirs or abs(ours - theirs) <= max(_LAST_DIGIT, math.ulp(theirs))


class CrossCheck:
    """Compares bars as soon as both sides have told theirs, whoever comes first.

    Attributes
    ----------
    compared, mismatches : int
        Bars compared, and those of them that differed.
    """

    def __init__(self) -> None:
        self._ours: dict[tuple[str, int], Bar] = {}
        self._theirs: dict[tuple[str, int], Bar] = {}
        self.compared = self.mismatches = 0

    def bar(self, ours: Bar) -> None:
        """Take a bar of ours; a partial one is known to differ."""
        if ours.quality != PARTIAL:
            self._meet(ours, self._ours, self._theirs, is_ours=True)

    def kline(self, theirs: Bar) -> None:
        """Take a closed bar of the exchange."""
        self._meet(theirs, self._theirs, self._ours, is_ours=False)

    def _meet(
        self,
        bar: Bar,
        same: dict[tuple[str, int], Bar],
        other: dict[tuple[str, int], Bar],
        is_ours: bool,
    ) -> None:
        key = (bar.symbol, bar.open_time)
        if (met := other.pop(key, None)) is None:
            same[key] = bar
            n_symbols = len({symbol for symbol, _ in same}) if len(same) > _KEPT else 1
            while len(same) > _KEPT * n_symbols:
                del same[next(iter(same))]
            return
        ours, theirs = (bar, met) if is_ours else (met, bar)
        self.compared += 1
        if names := differing(ours, theirs):
            self.mismatches += 1
            log.error("bars differ in %s: ours %s, exchange %s", " ".join(names), ours, theirs)
