"""What a feature is, and the registry that makes one known to every set, model and test.

Invariant: a feature only ever sees bars of one series. Unless it says that it spans gaps, none is
missing between them; what to do at a gap is decided once, in
:mod:`microstream_lab.features.frame`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import SettingsError
from microstream_lab.features.forms import Form
from microstream_lab.schema import Bar

__all__ = ["FEATURES", "Feature", "FloatArray", "register"]

FloatArray = npt.NDArray[np.float64]


class Feature(ABC):
    """One number per bar, known when the bar closes.

    A subclass names itself and gives the same number twice: for a whole run of bars at once
    (:meth:`batch`) and for one bar after another (:meth:`update`). The contract tests hold the two
    together for everything that is registered.

    Parameters
    ----------
    window : int
        Trailing bars, the current one included, that a windowed feature looks at.
    interval : str
        Interval of the bars, for features that measure their memory in hours.

    Attributes
    ----------
    name : str
        Column name in feature frames.
    unit : str
        Unit of the value, ``1`` where it has none.
    direction : str
        What a high value means.
    memory : str
        What of earlier bars is in the value: nothing, the window, a half-life.
    skewed : bool
        True for values >= 0 with a long right tail, which models see on a log scale.
    cyclic : bool
        True for a place on a circle, such as the time of the week: scalers leave it as it is.
    spans_gaps : bool
        True for features that keep their memory through a gap: every bar that exists counts once,
        and nothing fades while nothing is observed. All others start anew after a gap.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    direction: ClassVar[str] = ""
    memory: ClassVar[str] = ""
    skewed: ClassVar[bool] = False
    cyclic: ClassVar[bool] = False
    spans_gaps: ClassVar[bool] = False

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        self.window, self.interval = window, interval

    @property
    @abstractmethod
    def warm_up(self) -> int:
        """Bars at the start for which the value is NaN, and after every gap not spanned."""

    @property
    def settled(self) -> int:
        """Bars from which on the value owes nothing worth mentioning to where the series began."""
        return self.warm_up + 1

    @abstractmethod
    def batch(self, bars: pd.DataFrame) -> FloatArray:
        """Values for a run of bars, shape ``(n_bars,)``, NaN where undefined.

        The bars have no gaps between them unless the feature spans gaps.
        """

    @abstractmethod
    def update(self, bar: Bar) -> float:
        """Value of the next bar of the run, NaN where undefined."""

    def form(self) -> Form | None:
        """What :meth:`update` does, for the compiled loop; None leaves it to Python.

        Never inherited: a subclass may update in another way, and says so itself if it does not.
        """
        return None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "form" not in vars(cls):
            cls.form = Feature.form  # type: ignore[method-assign]


FEATURES: dict[str, type[Feature]] = {}
"""Every registered feature by name."""

_FeatureClass = TypeVar("_FeatureClass", bound=type[Feature])


def register(feature: _FeatureClass) -> _FeatureClass:
    """Class decorator that makes a feature known by its name.

    Raises
    ------
    SettingsError
        If another feature has that name already.
    """
    known = FEATURES.setdefault(feature.name, feature)
    if (known.__module__, known.__qualname__) != (feature.__module__, feature.__qualname__):
        raise SettingsError(f"feature {feature.name!r}: found a second class, expected one")
    FEATURES[feature.name] = feature
    return feature
