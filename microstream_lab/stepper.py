"""One bar after another through features and models, each in one compiled call.

Invariant: the figures are those of features, scaler, detector and tracker one after another; where
a feature is NaN there are no others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.experimental import structref

from microstream_lab.compiled import compiled, entry
from microstream_lab.features.row import FeatureRow
from microstream_lab.features.stepping import advance
from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.holding import LevelTracker
from microstream_lab.models.kernels.judgement import judge_levels, judge_row
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.models.tracking import Tracker
from microstream_lab.schema import Bar

__all__ = ["Stepper"]

FloatArray = npt.NDArray[np.float64]
_TWO = np.array([2.0])
_NOTHING = (0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0)


@structref.register
class _SeriesType(types.StructRef):
    """How numba knows a :class:`_Series`."""

    def preprocess_fields(self, fields: Any) -> Any:
        """Constants are as good as any other value of their type."""
        return tuple((name, types.unliteral(kind)) for name, kind in fields)  # type: ignore[no-untyped-call]


class _Series(structref.StructRefProxy):
    """All that a step reads and writes of one series, as one argument: two dozen take a while."""


_FIELDS = ["forms", "models", "sizes", "depth_scale", "stress", "memory", "state", "told"]
structref.define_proxy(_Series, _SeriesType, _FIELDS)  # type: ignore[no-untyped-call]


@compiled
def _series(*fields):  # type: ignore[no-untyped-def]
    """A :class:`_Series` of these fields; arrays are shared, not copied."""
    return _Series(*fields)  # type: ignore[no-untyped-call]


class Stepper:
    """Features and models of one series, ready for its next bar.

    Parameters
    ----------
    features : FeatureRow
    scaler : FeatureScaler
    detector : AnomalyDetector
    tracker : Tracker
        Its state goes on with every bar, as the memory of `features` does.
    stress : array of shape (n_states,)
        What is to be expected in each of the tracker's states.
    """

    def __init__(
        self,
        features: FeatureRow,
        scaler: FeatureScaler,
        detector: AnomalyDetector,
        tracker: Tracker,
        stress: FloatArray,
    ) -> None:
        n_features = len(features.forms)
        self._features = features
        self._told = np.full(n_features + tracker.n_regimes + 3, np.nan)
        self._row, self._exponent = self._told[:n_features], self._told[-2:-1]
        self._score = self._told[-1:]
        scaling = np.array([scaler.floor_, scaler.mean_, scaler.scale_], dtype=np.float64)
        models = scaling, tuple(detector.row_tables), *tracker.parameters
        sizes = (0,) * n_features, (0,) * len(detector.tables.columns)
        known = features.forms, models, sizes, float(detector.depth_scale), np.array(stress)
        written = features.memory, tracker.state, self._told
        kernel = _step_levels if isinstance(tracker, LevelTracker) else _step_filter
        # Compile or load now, where it can be waited for, and not at the first bar.
        to_spoil = (array.copy() for array in written)
        self._step = entry(kernel, _NOTHING, 1, _series(*known, *to_spoil))
        self._series = _series(*known, *written)

    def update(self, bar: Bar, steps: int) -> tuple[list[float], int]:
        """What is known at the next bar, `steps` after the last, and its regime, -1 for none.

        The features, the filtered probabilities of the regimes, the stress to expect, the
        exponent of the anomaly score, and in the end the score.
        """
        if self._features.plain:
            self._features.update_plain(bar, steps, self._row)
        prices = bar.open_time, bar.open, bar.high, bar.low, bar.close
        traded = bar.volume, bar.quote_volume, bar.trades
        regime: int = self._step((*prices, *traded), steps, self._series)
        # The power of an array, as in batch: that of a float may differ in the last bit.
        np.power(_TWO, self._exponent, self._score)
        return self._told.tolist(), regime


@compiled
def _step_filter(bar, steps, series):  # type: ignore[no-untyped-def]
    """Write what :meth:`Stepper.update` tells, but for the score, and return the regime."""
    row, probs = _advanced(bar, steps, series)
    depth, regime = judge_row(row, steps, *series.models, series.state, probs, *series.sizes)
    return _concluded(depth, regime, series)


@compiled
def _step_levels(bar, steps, series):  # type: ignore[no-untyped-def]
    """The same with levels of a forecast."""
    row, probs = _advanced(bar, steps, series)
    depth, regime = judge_levels(row, steps, *series.models, series.state, probs, *series.sizes)
    return _concluded(depth, regime, series)


@compiled
def _advanced(bar, steps, series):  # type: ignore[no-untyped-def]
    """The features, written, and where the probabilities go."""
    n_features = len(series.forms)
    row, probs = series.told[:n_features], series.told[n_features:-3]
    advance(bar, steps, series.forms, series.memory, row)
    return row, probs


@compiled
def _concluded(depth, regime, series):  # type: ignore[no-untyped-def]
    """Write the stress to expect, as :func:`~microstream_lab.models.tracking.expectation` tells it.

    And the exponent of 2 for the score; a forest of single rows scores 1. Returns the regime.
    """
    expected, scale = 0.0, series.depth_scale
    for number in range(len(series.stress)):
        expected += series.state[number] * series.stress[number]
    series.told[-3] = expected if regime >= 0 else np.nan
    series.told[-2] = -depth / scale if scale > 0 else 0.0 * depth
    return regime
