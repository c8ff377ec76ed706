"""Feature sets over a series that may have gaps, in batch and one bar at a time.

Invariant: no value compares prices across a gap. After one, features start anew and their warm-up
is NaN again, except those that span gaps, whose memory stands still meanwhile. Rows are never
dropped and never infinite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.features.base import FEATURES, Feature, FloatArray
from microstream_lab.schema import Bar, contiguous_runs, interval_us, require_bars, series_key
from microstream_lab.threads import PART_ROWS, share_out

__all__ = ["FEATURE_SETS", "FeatureState", "after_gap", "feature_names", "features_from_bars"]

FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "seed": ("log_return", "range", "relative_volume"),
    "liquidity": (
        *("mean_range_5", "mean_range_15", "mean_range_60", "mean_range_240", "mean_range_1440"),
        *("activity_15", "activity_60", "span_60", "time_of_week"),
        *("log_return", "range", "relative_amihud"),
        *("range_surprise", "trades_surprise", "impact_surprise", "wick_surprise"),
        "body_surprise",
    ),
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


def _require_window(window: int) -> None:
    if window < 2:
        raise SettingsError(f"feature window: found {window} bars, expected at least 2")


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
        Shape ``(n_bars, n_features)``, on the index of `bars`, NaN during warm-up, which comes
        again after gaps for features that do not span them.
    """
    require_bars(bars)
    _require_window(window)
    names = feature_names(feature_set)
    interval = series_key(bars)[2]
    runs = [bars.iloc[run] for run in contiguous_runs(bars)]
    kinds = [FEATURES[name] for name in names]
    columns: dict[str, FloatArray] = dict.fromkeys(names, np.empty(0))

    def make(place: int) -> None:
        kind = kinds[place]
        pieces = [bars] if kind.spans_gaps else runs
        made = [kind(window, interval).batch(piece) for piece in pieces]
        columns[kind.name] = made[0] if len(made) == 1 else np.concatenate(made)

    # What remembers most takes longest: begun last, it would keep the other cores waiting.
    longest_first = sorted(range(len(names)), key=lambda n: -kinds[n](window, interval).warm_up)
    share_out(make, longest_first, worth_it=len(bars) >= PART_ROWS)
    return pd.DataFrame(columns, index=bars.index, copy=False)  # column by column, as they are


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
        _require_window(window)
        self.names = feature_names(feature_set)
        self.window = window
        self.last_open_time: int | None = None
        self._features: list[Feature] = []

    def update(self, bar: Bar) -> dict[str, float]:
        """Features of the next bar, NaN where undefined.

        Raises
        ------
        DataError
            If the bar is not later than the last one, or of another interval.
        """
        steps = self.steps_since_last(bar)
        if not self._features:
            self._features = [FEATURES[name](self.window, bar.interval) for name in self.names]
        elif steps > 1:
            self._features = [after_gap(feature) for feature in self._features]
        self.last_open_time = bar.open_time
        return {feature.name: feature.update(bar) for feature in self._features}

    def steps_since_last(self, bar: Bar) -> int:
        """Interval steps from the last bar to this one: 1 where none is missing or none came yet.

        Raises
        ------
        DataError
            If the bar is not later than the last one, or of another interval.
        """
        if self.last_open_time is None:
            return 1
        if bar.interval != (expected := self._features[0].interval):
            raise DataError(f"{bar.symbol} bars", f"interval {bar.interval}", expected)
        return steps_between(self.last_open_time, bar, interval_us(bar.interval))


def steps_between(last_open_time: int, bar: Bar, step: int) -> int:
    """Interval steps from a bar to a later one.

    Raises
    ------
    DataError
        If it is not later.
    """
    steps = (bar.open_time - last_open_time) // step
    if steps < 1:
        found = f"open_time {bar.open_time}"
        raise DataError(f"{bar.symbol} bars", found, f"later than {last_open_time}")
    return steps


def after_gap(feature: Feature) -> Feature:
    """The feature as it goes on after a gap."""
    return feature if feature.spans_gaps else type(feature)(feature.window, feature.interval)
