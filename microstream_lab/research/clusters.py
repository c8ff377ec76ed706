"""Regimes as most people make them: three plain features, z-scores, k-means or a random start.

Invariant: everything is learnt from training bars, and probabilities are filtered. That these do
badly in the tables is what they are for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import FitError
from microstream_lab.features import features_from_bars
from microstream_lab.outcomes import forward_log_volatility
from microstream_lab.research.thresholds import ends_at
from microstream_lab.schema import hour_of_bars, interval_us, series_key

__all__ = ["KMeansRegimes", "NaiveHmm", "SeedRecipe", "complete"]

Floats: TypeAlias = npt.NDArray[np.float64]

_MAX_HOLE = 40  # bars predicted through: a feature window and its warm-up


class SeedRecipe(ABC):
    """The ``seed`` features, z-scored, clustered; labels in the order of the returns' volatility.

    Parameters
    ----------
    n_regimes : int
        K.
    seed : int
        Of the random start.

    Attributes
    ----------
    order_ : ndarray of shape (K,)
        The clusters, calmest first.
    stress_ : ndarray of shape (K,)
        Mean log realised volatility of the hour that followed each regime in training.
    end : int
        Training end, us UTC, exclusive.
    """

    end: int

    def __init__(self, n_regimes: int = 3, seed: int = 0) -> None:
        self.n_regimes = n_regimes
        self.seed = seed

    def fit(self, bars: pd.DataFrame) -> Self:
        """Learn from training bars; raises :class:`FitError` where features are missing."""
        raw = features_from_bars(bars, "seed").to_numpy()
        known = complete(raw)
        if known.sum() < 100 * self.n_regimes:
            found = f"{known.sum()} bars with all features"
            raise FitError(f"{type(self).__name__}: found {found}, expected some hundreds")
        self.mean_, self.scale_ = raw[known].mean(axis=0), raw[known].std(axis=0)
        rows = (raw - self.mean_) / self.scale_
        self._cluster(rows[known])
        self.order_ = np.arange(self.n_regimes)
        labels = self._probs(rows, np.ones(len(rows), np.int64))[known].argmax(axis=1)
        returns = raw[known, 0]
        spread = [returns[labels == k].std() for k in range(self.n_regimes)]
        self.order_ = np.argsort(spread)
        self.stress_ = self._followed_by(bars, rows)
        self.end = ends_at(bars)
        return self

    def signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """``regime``, ``p_0 .. p_{K-1}`` (filtered) and ``expected_stress``; -1, NaN if unknown."""
        probs = self._probs(self._rows(bars), _steps(bars))[:, self.order_]
        known = complete(probs)
        regime = np.where(known, np.nan_to_num(probs).argmax(axis=1), -1)
        frame = pd.DataFrame(probs, index=bars.index, columns=_names(self.n_regimes))
        return frame.assign(regime=regime.astype(np.int8), expected_stress=probs @ self.stress_)

    def _rows(self, bars: pd.DataFrame) -> Floats:
        rows: Floats = (features_from_bars(bars, "seed").to_numpy() - self.mean_) / self.scale_
        return rows

    def _followed_by(self, bars: pd.DataFrame, rows: Floats) -> Floats:
        outcome = forward_log_volatility(bars, hour_of_bars(series_key(bars)[2])).to_numpy()
        probs = self._probs(rows, _steps(bars))[:, self.order_]
        known = np.isfinite(outcome) & complete(probs)
        with np.errstate(invalid="ignore"):
            mean: Floats = outcome[known] @ probs[known] / probs[known].sum(axis=0)
        return np.nan_to_num(mean, nan=float(outcome[known].mean()) if known.any() else 0.0)

    @abstractmethod
    def _cluster(self, rows: Floats) -> None:
        """Fit on standardised rows."""

    @abstractmethod
    def _probs(self, rows: Floats, steps: npt.NDArray[np.int64]) -> Floats:
        """Probability of each cluster given rows up to each one, NaN where a row is."""


class KMeansRegimes(SeedRecipe):
    """Each bar by itself, by the nearest of three centres."""

    def _cluster(self, rows: Floats) -> None:
        from sklearn.cluster import KMeans

        self.model_ = KMeans(self.n_regimes, n_init=3, random_state=self.seed).fit(rows)

    def _probs(self, rows: Floats, steps: npt.NDArray[np.int64]) -> Floats:
        known = complete(rows)
        probs = np.full((len(rows), self.n_regimes), np.nan)
        if known.any():
            probs[known] = np.eye(self.n_regimes)[self.model_.predict(rows[known])]
        return probs


class NaiveHmm(SeedRecipe):
    """hmmlearn's Gaussian HMM with full covariances from one random start."""

    def _cluster(self, rows: Floats) -> None:
        import logging

        from hmmlearn.hmm import GaussianHMM

        logging.getLogger("hmmlearn").setLevel(logging.ERROR)
        model = GaussianHMM(self.n_regimes, "full", n_iter=100, random_state=self.seed)
        self.model_: Any = model.fit(rows)

    def _probs(self, rows: Floats, steps: npt.NDArray[np.int64]) -> Floats:
        from microstream_lab.models.filter import RegimeFilter  # compiled, hence only if asked

        seen = np.where(complete(rows)[:, None], rows, np.nan)
        probs, _ = RegimeFilter(self.model_, _MAX_HOLE).filter(seen, steps)
        return probs

    def smoothed_signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """Hindsight: ``p_k_smoothed`` of every bar with all features, given all the bars."""
        rows = self._rows(bars)
        known = complete(rows)
        probs = self.model_.predict_proba(rows[known])[:, self.order_]
        columns = [f"{name}_smoothed" for name in _names(self.n_regimes)]
        return pd.DataFrame(probs, bars.index[known], columns).reindex(bars.index)

    def expected_durations(self) -> Floats:
        """Mean stay in each regime by the transition matrix, in bars."""
        stay = np.diagonal(self.model_.transmat_)[self.order_]
        durations: Floats = 1 / (1 - stay)
        return durations


def complete(rows: Floats) -> npt.NDArray[np.bool_]:
    """Which rows have no NaN."""
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1), np.bool_)
    return known


def _steps(bars: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Interval steps from each bar to the next one; the first bar counts as one."""
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    step = interval_us(series_key(bars)[2])
    return np.diff(times, prepend=times[0] - step) // step


def _names(n_regimes: int) -> list[str]:
    return [f"p_{k}" for k in range(n_regimes)]
