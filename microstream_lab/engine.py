"""Bar in, signal out: the one place where a bar becomes a signal, live or historical.

Invariant: both faces do the same arithmetic with the same parts, so a signal does not depend on
whether its bar came from the wire or from the archive, nor on any later bar.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import BundleMismatchError
from microstream_lab.features import FEATURES, FeatureState, features_from_bars
from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.filter import GaussianChain, RegimeFilter
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.schema import Bar, Signal, interval_us, require_bars, series_key

__all__ = ["Engine", "SignalModel", "longest_hole", "signals_from_bars"]

FloatArray = npt.NDArray[np.float64]


class SignalModel(Protocol):
    """What the engine needs of a model bundle."""

    @property
    def bundle_id(self) -> str:
        """Name under which signals are stored."""

    @property
    def interval(self) -> str:
        """Interval of the bars the models were trained on."""

    @property
    def features(self) -> tuple[str, ...]:
        """Feature names, in the models' column order."""

    @property
    def window(self) -> int:
        """Trailing bars of windowed features."""

    @property
    def scaler(self) -> FeatureScaler:
        """Standardisation with training statistics."""

    @property
    def detector(self) -> AnomalyDetector:
        """Anomaly scores of standardised rows."""

    @property
    def regime_model(self) -> GaussianChain:
        """Regimes of standardised rows."""

    @property
    def stress_by_regime(self) -> FloatArray:
        """Mean log realised volatility that followed each regime in training, shape ``(K,)``."""


class Engine:
    """Signals of one series, one bar at a time.

    Parameters
    ----------
    bundle : ModelBundle
        The models; their interval must be that of the bars.
    """

    def __init__(self, bundle: SignalModel) -> None:
        self.bundle = bundle
        self._features = FeatureState(bundle.features, bundle.window)
        self._filter = RegimeFilter(bundle.regime_model, longest_hole(bundle))

    def update(self, bar: Bar) -> Signal:
        """The signal of the next bar; scores are NaN and the regime is -1 where a feature is NaN.

        Raises
        ------
        BundleMismatchError
            If the bar has another interval than the bundle.
        DataError
            If the bar is not later than the last one.
        """
        bundle = self.bundle
        _require_interval(bundle, bar.interval)
        steps = self._features.steps_since_last(bar)
        features = self._features.update(bar)
        row = bundle.scaler.transform([list(features.values())])
        probs = self._filter.update(row[0], steps)
        known = not np.isnan(row).any()
        score = float(bundle.detector.anomaly_score(row)[0]) if known else np.nan
        return Signal(
            symbol=bar.symbol,
            interval=bar.interval,
            open_time=bar.open_time,
            bundle_id=bundle.bundle_id,
            features=features,
            anomaly_score=score,
            is_anomaly=score > bundle.detector.threshold_,
            regime=int(probs.argmax()) if known else -1,
            filtered_probs=tuple(probs.tolist()),
            expected_stress=float(probs @ bundle.stress_by_regime),
            market=bar.market,
        )


def signals_from_bars(bundle: SignalModel, bars: pd.DataFrame) -> pd.DataFrame:
    """Signals of a whole series at once, equal to :class:`Engine` on every bar.

    Returns
    -------
    DataFrame
        On the index of `bars`: the features, ``anomaly_score``, ``is_anomaly``, ``regime``,
        ``p_0 .. p_{K-1}`` (filtered) and ``expected_stress``.

    Raises
    ------
    BundleMismatchError
        If the bars have another interval than the bundle.
    """
    require_bars(bars)
    _require_interval(bundle, series_key(bars)[2])
    signals = features_from_bars(bars, bundle.features, bundle.window)
    rows = bundle.scaler.transform(signals.to_numpy())
    known = ~np.isnan(rows).any(axis=1)
    score = np.full(len(bars), np.nan)
    if known.any():
        score[known] = bundle.detector.anomaly_score(rows[known])
    probs, _ = RegimeFilter(bundle.regime_model, longest_hole(bundle)).filter(
        rows, _grid_steps(bars)
    )
    signals["anomaly_score"] = score
    signals["is_anomaly"] = score > bundle.detector.threshold_
    signals["regime"] = np.where(known, probs.argmax(axis=1), -1).astype(np.int8)
    for k in range(probs.shape[1]):
        signals[f"p_{k}"] = probs[:, k]
    signals["expected_stress"] = probs @ bundle.stress_by_regime
    return signals


def longest_hole(bundle: SignalModel) -> int:
    """Steps without an observation that the filter predicts through.

    A feature window of missing bars, and the warm-up that follows before the features that do not
    span gaps are back.
    """
    made = (FEATURES[name](bundle.window, bundle.interval) for name in bundle.features)
    warm_up = max((feature.warm_up for feature in made if not feature.spans_gaps), default=0)
    return bundle.window + warm_up


def _grid_steps(bars: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Interval steps from each bar to the next one; the first bar counts as one."""
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    step = interval_us(series_key(bars)[2])
    return np.diff(times, prepend=times[0] - step) // step


def _require_interval(bundle: SignalModel, interval: str) -> None:
    if interval != bundle.interval:
        raise BundleMismatchError(
            f"bundle {bundle.bundle_id}: found bars of {interval}, expected {bundle.interval}"
        )
