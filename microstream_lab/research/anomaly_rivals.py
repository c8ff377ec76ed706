"""What the default detector is measured against, each as a trainer of anomaly scores.

Invariant: scores are causal, high means anomalous, and NaN says that nothing can be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.bundle import ModelBundle
from microstream_lab.features import feature_names, features_from_bars
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.recipe import make_scaler
from microstream_lab.research.half_space import half_space_scores

__all__ = ["SURPRISES", "HalfSpaceTrees", "RobustZ", "Scorer", "Trainer", "contestants"]

Floats: TypeAlias = npt.NDArray[np.float64]

SURPRISES: Final = (
    *("range_surprise", "trades_surprise", "impact_surprise", "wick_surprise", "body_surprise"),
)
"""The features that the default detector looks at."""
_SCALE: Final = 1.4826  # of a median deviation, for the standard deviation of a Gaussian
_FLOOR: Final = 0.01  # of the median


class Scorer(Protocol):
    """Scores every bar."""

    def scores(self, bars: pd.DataFrame) -> Floats:
        """Anomaly score of each bar, shape ``(n_bars,)``."""


class Trainer(Protocol):
    """Makes a scorer of training bars."""

    def __call__(self, bars: pd.DataFrame, /) -> Scorer:
        """The scorer."""


@dataclass(frozen=True)
class _OfBundle:
    bundle: ModelBundle

    def scores(self, bars: pd.DataFrame) -> Floats:
        return self.bundle.signals(bars)["anomaly_score"].to_numpy(np.float64)


@dataclass(frozen=True)
class RobustZ:
    """Largest distance of return, range and volume from their trailing median, in deviations.

    Parameters
    ----------
    window : int
        Bars that median and median absolute deviation are of, the bar itself excluded.
    floors : tuple of two floats, optional
        Range and volume are logarithms, of their sum with these, so that zeros stay finite.

    References
    ----------
    Iglewicz and Hoaglin (1993), How to detect and handle outliers, section 3, for the modified z.
    """

    window: int = 60
    floors: tuple[float, float] | None = None

    @classmethod
    def fit(cls, bars: pd.DataFrame, /, *, logs: bool = False) -> RobustZ:
        """Learn nothing but the floors of logarithms, a hundredth of the training medians."""
        ranges, volume = bars["high"] / bars["low"] - 1, bars["volume"]
        floors = (_FLOOR * float(ranges.median()), _FLOOR * float(volume.median()))
        return cls(floors=floors if logs else None)

    def scores(self, bars: pd.DataFrame) -> Floats:
        """See :class:`Scorer`."""
        ranges, volume = bars["high"] / bars["low"] - 1, bars["volume"].astype(np.float64)
        if self.floors is not None:
            low, least = self.floors
            ranges, volume = (ranges + low).map(np.log), (volume + least).map(np.log)
        returns = np.log(bars["close"]).diff()
        distances = [self._distance(each) for each in (returns, ranges, volume)]
        return np.asarray(pd.concat(distances, axis=1).max(axis=1), np.float64)

    def _distance(self, values: pd.Series) -> pd.Series:
        median = values.rolling(self.window).median().shift()
        deviation = (values - median).abs()
        usual = deviation.rolling(self.window).median().shift()
        return deviation / (_SCALE * usual).where(usual > 0)


@dataclass(frozen=True)
class HalfSpaceTrees:
    """Half-Space Trees over features scaled and bounded by the training bars.

    Parameters
    ----------
    features : tuple of str
        Feature names.
    scaler : FeatureScaler
        Fitted in training.
    low, high : ndarray of shape (n_features,)
        Training extremes.

    References
    ----------
    Tan, Ting and Liu (2011), Fast anomaly detection for streaming data, IJCAI.
    """

    features: tuple[str, ...]
    scaler: FeatureScaler
    low: Floats
    high: Floats
    seed: int = 0

    @classmethod
    def fit(
        cls, bars: pd.DataFrame, /, *, features: str | Sequence[str], seed: int = 0
    ) -> HalfSpaceTrees:
        """Learn scale and extremes; masses are learnt while scoring."""
        names = feature_names(features)
        raw = features_from_bars(bars, names).dropna().to_numpy()
        scaler = make_scaler(names).fit(raw)
        rows = scaler.transform(raw)
        return cls(names, scaler, rows.min(axis=0), rows.max(axis=0), seed)

    def scores(self, bars: pd.DataFrame) -> Floats:
        """See :class:`Scorer`."""
        rows = self.scaler.transform(features_from_bars(bars, self.features).to_numpy())
        known = np.isfinite(rows).all(axis=1)
        scores = np.full(len(rows), np.nan)
        scores[known] = half_space_scores(rows[known], self.low, self.high, seed=self.seed)
        return scores


def contestants(seed: int = 0) -> dict[str, Trainer]:
    """Trainers by the name they have in tables: the default first, then its rivals."""
    return {
        "default": partial(_bundle, seed=seed),
        "seed recipe": partial(_bundle, seed=seed, feature_set="seed"),
        "robust z": RobustZ.fit,
        "robust z of logs": partial(RobustZ.fit, logs=True),
        "half-space trees, seed features": partial(HalfSpaceTrees.fit, features="seed", seed=seed),
        "half-space trees, same features": partial(
            HalfSpaceTrees.fit, features=SURPRISES, seed=seed
        ),
    }


def _bundle(bars: pd.DataFrame, /, *, seed: int, feature_set: str | None = None) -> Scorer:
    from microstream_lab.training import DEFAULT_FEATURE_SET, train_bundle  # slow to import

    return _OfBundle(train_bundle(bars, feature_set or DEFAULT_FEATURE_SET, seed=seed))
