"""One artifact: scaler, anomaly detector and regime model, with where they come from.

Invariant: a bundle never changes after training, and its ``bundle_id`` is decided by the training
data and options alone: the same input gives the same id and the same signals. No file access.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.engine import signals_from_bars
from microstream_lab.features import FEATURES, features_from_bars
from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.drift import DriftReference
from microstream_lab.models.levels import LevelModel
from microstream_lab.models.regime import RegimeModel
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.schema import contiguous_runs

__all__ = ["ModelBundle", "library_versions"]

FloatArray = npt.NDArray[np.float64]
_LIBRARIES = ("microstream_lab", "numpy", "scikit-learn", "hmmlearn", "joblib")


@dataclass(frozen=True)
class ModelBundle:
    """The models of one series and everything needed to trust and repeat them.

    Attributes
    ----------
    market, symbol, interval : str
        The series they were trained on.
    feature_set : str
        Name of the feature set, ``custom`` if it has none.
    features : tuple of str
        Feature names in column order.
    window : int
        Trailing bars of windowed features.
    scaler, detector, regime_model
        The fitted parts, in the order a bar passes through them.
    stress_by_regime : ndarray of shape (K,)
        Mean log realised volatility of the `stress_horizon` bars that followed, by regime.
    stress_by_state : ndarray of shape (n_states,)
        The same by state of the regime model, which ``expected_stress`` weights by the states'
        probabilities: a dozen levels, or of a plain HMM the regimes.
    start, end : int
        Training range, us UTC: first open time, and the end of the last bar (exclusive).
    n_bars : int
        Bars trained on.
    coverage : float
        Share of the bars expected in the range that were there, in (0, 1].
    data_hash : str
        sha256 of the training bars.
    options : mapping
        Options of the training, seed included.
    versions : mapping
        Versions of Python and of the libraries that fitted the models.
    drift : DriftReference or None
        What the training was like, to be compared with what comes; None in older bundles.
    """

    bundle_id: str
    market: str
    symbol: str
    interval: str
    feature_set: str
    features: tuple[str, ...]
    window: int
    scaler: FeatureScaler
    detector: AnomalyDetector
    regime_model: RegimeModel | LevelModel
    stress_by_regime: FloatArray
    stress_by_state: FloatArray
    stress_horizon: int
    start: int
    end: int
    n_bars: int
    coverage: float
    data_hash: str
    options: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    drift: DriftReference | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Older bundles did not know what followed a state: that is what followed its regime."""
        if "stress_by_state" not in state:
            model, by_regime = state["regime_model"], state["stress_by_regime"]
            spread = model.weights_ @ by_regime if isinstance(model, LevelModel) else by_regime
            state = {**state, "stress_by_state": spread}
        self.__dict__.update(state)

    @property
    def n_regimes(self) -> int:
        """Number of regimes, K."""
        return len(self.stress_by_regime)

    def signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """Features, anomaly score, regime and filtered probabilities of every bar.

        See :func:`microstream_lab.engine.signals_from_bars` for the columns.
        """
        return signals_from_bars(self, bars)

    def smoothed_signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """Probabilities that know all of `bars`, columns ``p_k_smoothed``: hindsight, for study.

        NaN where a feature is; each run of bars without a gap is smoothed by itself.
        """
        table = features_from_bars(bars, self.features, self.window)
        rows = self.scaler.transform(table.to_numpy())
        known = np.asarray(np.isfinite(rows).all(axis=1))
        probs = np.full((len(bars), self.n_regimes), np.nan)
        for run in contiguous_runs(bars):
            inside = np.flatnonzero(known[run]) + run.start
            if len(inside):
                probs[inside] = self.regime_model.smoothed_probs(rows[inside])
        columns = [f"p_{k}_smoothed" for k in range(self.n_regimes)]
        return pd.DataFrame(probs, index=bars.index, columns=columns)

    def state_means(self) -> pd.DataFrame:
        """Mean of each feature by regime, in the feature's own unit; shape ``(K, n_features)``."""
        means = self.scaler.inverse_transform(self.regime_model.regime_means_)
        table = pd.DataFrame(
            means, index=pd.RangeIndex(self.n_regimes, name="regime"), columns=list(self.features)
        )
        # The mean of places on a circle means nothing.
        return table.drop(columns=[name for name in self.features if FEATURES[name].cyclic])

    @property
    def warmup_bars(self) -> int:
        """Bars before the first one of interest that let every feature forget where they begin."""
        made = (FEATURES[name](self.window, self.interval) for name in self.features)
        return max(feature.settled for feature in made)

    def describe(self) -> dict[str, Any]:
        """Everything a person or another program wants to know, ready for JSON."""
        return {
            "bundle_id": self.bundle_id,
            "market": self.market,
            "symbol": self.symbol,
            "interval": self.interval,
            "feature_set": self.feature_set,
            "features": list(self.features),
            "feature_modules": {name: FEATURES[name].__module__ for name in self.features},
            "window": self.window,
            "training": {
                "start": _iso(self.start),
                "end": _iso(self.end),
                "n_bars": self.n_bars,
                "coverage": self.coverage,
                "data_hash": self.data_hash,
            },
            "options": dict(self.options),
            "versions": dict(self.versions),
            "scaler": {
                "floor": [None if np.isnan(x) else x for x in self.scaler.floor_.tolist()],
                "mean": self.scaler.mean_.tolist(),
                "scale": self.scaler.scale_.tolist(),
            },
            "drift": None if self.drift is None else self.drift.describe(),
            "anomaly": {"threshold": self.detector.threshold_},
            "regimes": self._describe_regimes(),
        }

    def _describe_regimes(self) -> dict[str, Any]:
        model = self.regime_model
        return {
            **model.details(),
            "converged": model.converged_,
            "starts": model.starts_,
            "startprob": model.startprob_.tolist(),
            "transmat": model.transmat_.tolist(),
            "means": model.means_.tolist(),
            "covars": model.covars_.tolist(),
            "occupancy": model.occupancy_.tolist(),
            "expected_durations": model.expected_durations().tolist(),
            "state_means": self.state_means().to_dict("list"),
            "stress_horizon": self.stress_horizon,
            "stress_by_regime": self.stress_by_regime.tolist(),
            "stress_by_state": self.stress_by_state.tolist(),
        }


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries whose numbers and pickles a bundle depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # running from a checkout that was never installed
            found[library] = "unknown"
    return found


def _iso(micros: int) -> str:
    return pd.Timestamp(micros, unit="us", tz="UTC").isoformat()
