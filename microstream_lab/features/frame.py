"""Feature sets over a series that may have gaps, in batch and one bar at a time.

Invariant: no value looks across a gap. After one, every feature starts anew, and its warm-up is
NaN again; rows are never dropped and never infinite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.features.base import FEATURES, Feature
from microstream_lab.schema import Bar, contiguous_runs, interval_us, require_bars

__all__ = ["FEATURE_SETS", "FeatureState", "feature_names", "features_from_bars"]

FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "seed": ("log_return", "range", "relative_volume"),
}
"""Named selections of features; a sequence of feature names serves as a set as well."""


def feature_names(feature_set: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the features in a set, in column order; ``"range,log_return"`` names features.

    Raises
    ------
    SettingsError
        If the set or one of its features is not registered, or a feature is named twice.
    """
    if isinstance(feature_set, str) and "," in feature_set:
        feature_set = [name.strip() for name in feature_set.split(",")]
    if isinstance(feature_set, str):
        if feature_set not in FEATURE_SETS:
            known = " ".join(FEATURE_SETS)
            raise SettingsError(
                f"feature set: found {feature_set!r}, expected one of {known}, "
                f"or features separated by commas: {','.join(FEATURES)}"
            )
        return FEATURE_SETS[feature_set]
    names = tuple(feature_set)
    for name in names:
        if name not in FEATURES:
            raise SettingsError(f"feature: found {name!r}, expected one of {' '.join(FEATURES)}")
    if not names or len(set(names)) != len(names):
        raise SettingsError(f"feature set: found {names}, expected distinct features")
    return names


def _make(feature_set: str | Sequence[str], window: int) -> list[Feature]:
    if window < 2:
        raise SettingsError(f"feature window: found {window} bars, expected at least 2")
    return [FEATURES[name](window) for name in feature_names(feature_set)]


def features_from_bars(
    bars: pd.DataFrame, feature_set: str | Sequence[str] = "seed", window: int = 20
) -> pd.DataFrame:
    """Features of every bar, each from that bar and earlier ones only.

    Parameters
    ----------
    bars : DataFrame
        A bars frame, one series.
    feature_set : str or sequence of str
        Name of a set in :data:`FEATURE_SETS`, or feature names.
    window : int
        Trailing bars of windowed features, the current one included.

    Returns
    -------
    DataFrame
        Shape ``(n_bars, n_features)``, on the index of `bars`, NaN during warm-up and after gaps.
    """
    require_bars(bars)
    names = feature_names(feature_set)
    values = np.empty((len(bars), len(names)))
    for run in contiguous_runs(bars):
        piece = bars.iloc[run]
        for column, feature in enumerate(_make(names, window)):
            values[run, column] = feature.batch(piece)
    return pd.DataFrame(values, index=bars.index, columns=list(names))


class FeatureState:
    """The same features, one bar at a time.

    Parameters
    ----------
    feature_set : str or sequence of str
        Name of a set in :data:`FEATURE_SETS`, or feature names.
    window : int
        Trailing bars of windowed features, the current one included.
    """

    def __init__(self, feature_set: str | Sequence[str] = "seed", window: int = 20) -> None:
        self.names = feature_names(feature_set)
        self.window = window
        self.last_open_time: int | None = None
        self._features = _make(self.names, window)

    def update(self, bar: Bar) -> dict[str, float]:
        """Features of the next bar, NaN where undefined.

        Raises
        ------
        DataError
            If the bar is not later than the last one.
        """
        if self.steps_since_last(bar) > 1:
            self._features = _make(self.names, self.window)
        self.last_open_time = bar.open_time
        return {feature.name: feature.update(bar) for feature in self._features}

    def steps_since_last(self, bar: Bar) -> int:
        """Interval steps from the last bar to this one: 1 where none is missing or none came yet.

        Raises
        ------
        DataError
            If the bar is not later than the last one.
        """
        if self.last_open_time is None:
            return 1
        steps = (bar.open_time - self.last_open_time) // interval_us(bar.interval)
        if steps < 1:
            found = f"open_time {bar.open_time}"
            raise DataError(f"{bar.symbol} bars", found, f"later than {self.last_open_time}")
        return steps
