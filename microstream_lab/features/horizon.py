"""Features whose memory is measured in hours, one registered name a horizon.

Invariant: the number at the end of the name is the horizon in sixtieths of an hour of bars (minutes
for bars of up to five minutes), and memory counts bars that exist: it is kept through a gap, since
nothing was observed that could have changed it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, ClassVar, Final, TypeVar

from microstream_lab.features.base import FEATURES, Feature, register
from microstream_lab.schema import hour_of_bars

__all__ = ["HALF_LIVES", "HorizonFeature", "bars_over", "register_horizons"]

HALF_LIVES: Final = 4
"""After so many half-lives a decaying mean owes a sixteenth to where it began."""


def bars_over(horizon: int, interval: str) -> float:
    """Bars in a horizon of so many sixtieths of an hour of bars, at least one."""
    return max(1.0, horizon * hour_of_bars(interval) / 60)


class HorizonFeature(Feature):
    """A feature that exists once for each of several horizons, ``parkinson_60`` for example.

    Attributes
    ----------
    horizon : int
        In sixtieths of an hour of bars; see :func:`microstream_lab.schema.hour_of_bars`.
    """

    horizon: ClassVar[int]
    spans_gaps = True

    @property
    def horizon_bars(self) -> float:
        """The horizon in bars, at least one."""
        return bars_over(self.horizon, self.interval)

    @property
    def warm_up(self) -> int:
        """Bars at the start of the series for which the value is NaN.

        The horizon and at most an hour of bars: decaying means have normalised weights and are
        unbiased, if less smooth, long before the memory is full. Windows wait until they are full.
        """
        return ceil(min(self.horizon_bars, hour_of_bars(self.interval)))

    @property
    def settled(self) -> int:
        return ceil(HALF_LIVES * self.horizon_bars)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: the class of a horizon is made while its module is imported."""
        return _made, (self.name, self.window, self.interval), vars(self)


_Horizons = TypeVar("_Horizons", bound=type[HorizonFeature])


def register_horizons(*horizons: int) -> Callable[[_Horizons], _Horizons]:
    """Class decorator that registers a subclass for each horizon, named ``<name>_<horizon>``."""

    def register_each(family: _Horizons) -> _Horizons:
        for horizon in horizons:
            own = {"name": f"{family.name}_{horizon}", "horizon": horizon}
            own |= {"__doc__": family.__doc__, "__module__": family.__module__}
            own |= {"form": family.form}  # nothing else is updated in another way
            register(type(f"{family.__name__}{horizon}", (family,), own))
        return family

    return register_each


def _made(name: str, window: int, interval: str) -> Feature:
    return FEATURES[name](window, interval)
