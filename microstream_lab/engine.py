"""Bar in, signal out: the one place where a bar becomes a signal, live or historical.

Invariant: both faces do the same arithmetic with the same parts, so a signal does not depend on
whether its bar came from the wire or from the archive, nor on any later bar.
"""

from __future__ import annotations

import pickle
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import BundleMismatchError
from microstream_lab.features import FEATURES, features_from_bars
from microstream_lab.features.row import FeatureRow
from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.judge import judge_rows
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.models.tracking import Tracker
from microstream_lab.schema import Bar, Signal, interval_us, require_bars, series_key
from microstream_lab.stepper import Stepper

__all__ = ["Engine", "SignalModel", "longest_hole", "signals_from_bars"]

FloatArray = npt.NDArray[np.float64]


class Regimes(Protocol):
    """What the engine needs of a regime model."""

    def tracker(self, max_hole: int) -> Tracker:
        """A memory that follows one series, predicting through holes of up to `max_hole` steps."""


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
    def regime_model(self) -> Regimes:
        """Regimes of standardised rows."""

    @property
    def stress_by_state(self) -> FloatArray:
        """Mean log realised volatility that followed each state of the regime model in training.

        Shape ``(n_states,)``: levels, or of a plain HMM the regimes.
        """


class Engine:
    """Signals of one series, one bar at a time.

    Parameters
    ----------
    bundle : ModelBundle
        The models; their interval must be that of the bars.
    """

    def __init__(self, bundle: SignalModel) -> None:
        self.bundle = bundle
        self._features = FeatureRow(bundle.features, bundle.window, bundle.interval)
        self._tracker = bundle.regime_model.tracker(longest_hole(bundle))
        models = bundle.scaler, bundle.detector, self._tracker, bundle.stress_by_state
        self._stepper = Stepper(self._features, *models)
        self._reference = bundle.detector.reference_
        self._threshold = float(bundle.detector.threshold_)

    def update(self, bar: Bar) -> Signal:
        """The signal of the next bar; scores are NaN and the regime is -1 where a feature is NaN.

        Raises
        ------
        BundleMismatchError
            If the bar has another interval than the bundle.
        DataError
            If the bar is not later than the last one.
        """
        bundle, names = self.bundle, self.bundle.features
        _require_interval(bundle, bar.interval)
        told, regime = self._stepper.update(bar, self._features.steps_to(bar))
        score = told[-1]
        return Signal(
            symbol=bar.symbol,
            interval=bar.interval,
            open_time=bar.open_time,
            bundle_id=bundle.bundle_id,
            features=dict(zip(names, told, strict=False)),
            anomaly_score=score,
            is_anomaly=score > self._threshold,
            regime=regime,
            filtered_probs=tuple(told[len(names) : -3]),
            expected_stress=told[-3],
            market=bar.market,
            anomaly_quantile=self._reference.quantile(score),
        )

    def snapshot(self) -> bytes:
        """What the engine remembers of the bars so far: a few kilobytes to go on from later."""
        memory = (self.bundle.bundle_id, self._features.snapshot(), self._tracker.state)
        return pickle.dumps(memory, protocol=5)

    @classmethod
    def resume(cls, bundle: SignalModel, snapshot: bytes) -> Engine:
        """An engine that goes on as if it had seen the bars before `snapshot` itself.

        A snapshot is a pickle: take it only from where you trust what is written.

        Raises
        ------
        BundleMismatchError
            If it is of another bundle.
        """
        bundle_id, features, state = pickle.loads(snapshot)
        if bundle_id != bundle.bundle_id:
            raise BundleMismatchError(
                f"engine snapshot: found bundle {bundle_id}, expected {bundle.bundle_id}"
            )
        engine = cls(bundle)
        engine._features.restore(features)
        engine._tracker.state[:] = state
        return engine


def signals_from_bars(bundle: SignalModel, bars: pd.DataFrame) -> pd.DataFrame:
    """Signals of a whole series at once, equal to :class:`Engine` on every bar.

    Returns
    -------
    DataFrame
        On the index of `bars`: the features, ``anomaly_score``, ``is_anomaly``, ``regime``,
        ``p_0 .. p_{K-1}`` (filtered), ``expected_stress`` and ``anomaly_quantile``. The stress is
        the log realised volatility to expect of the coming hour: what followed each state of the
        regime model in training, weighted by the filtered probabilities of the states. The quantile
        is the share of the training bars that scored no higher.

    Raises
    ------
    BundleMismatchError
        If the bars have another interval than the bundle.
    """
    require_bars(bars)
    _require_interval(bundle, series_key(bars)[2])
    features = features_from_bars(bars, bundle.features, bundle.window)
    tracker = bundle.regime_model.tracker(longest_hole(bundle))
    columns: dict[str, Any] = {str(name): features[name].to_numpy() for name in features}
    models = bundle.scaler, bundle.detector, tracker, bundle.stress_by_state
    judged = judge_rows(*models, list(columns.values()), _grid_steps(bars))
    probs = judged.filtered_probs
    columns |= {
        "anomaly_score": judged.scores,
        "is_anomaly": judged.scores > bundle.detector.threshold_,
        "regime": judged.regimes,
        **{f"p_{k}": probs[:, k] for k in range(probs.shape[1])},
        "expected_stress": judged.stress,
        "anomaly_quantile": judged.quantiles,
    }
    return pd.DataFrame(columns, index=bars.index, copy=False)


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
    if times[-1] - times[0] == step * (len(times) - 1):
        return np.ones(len(times), np.int64)
    return np.diff(times, prepend=times[0] - step) // step


def _require_interval(bundle: SignalModel, interval: str) -> None:
    if interval != bundle.interval:
        raise BundleMismatchError(
            f"bundle {bundle.bundle_id}: found bars of {interval}, expected {bundle.interval}"
        )
