"""The default regime model: a hidden Markov chain of volatility levels, merged into K regimes.

A forecast of the coming hour's volatility is the only thing watched. Its values are divided into a
dozen levels, a Gaussian HMM with one variance (hmmlearn) whose level moves to a neighbour or stays,
and K regimes are bands of levels: calm, high and crisis hold a declared share of the training time.
The regime told changes when another one is nearly certain. How certain is learnt on the training
rows, from how often a regime may change. A crisis does not wait for certainty: it is told at once
when the last hour was among the widest of the training, and until it is all but ruled out.

Invariant: whatever is public and not named smoothed is known at its bar, and regimes are numbered
calmest first by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from microstream_lab.errors import FitError
from microstream_lab.models.bands import merged, place_cuts, usual_shares
from microstream_lab.models.em import FastGaussianHMM
from microstream_lab.models.filter import RegimeFilter, sequence_steps
from microstream_lab.models.forecast import VolatilityForecast
from microstream_lab.models.holding import LevelTracker, learn_shocks, learn_to_hold, mean_stays
from microstream_lab.models.kernels.levels import hold_regimes, without_drift
from microstream_lab.models.starts import neighbour_moves, sticky_transitions
from microstream_lab.models.tracking import FloatArray, Regimes

__all__ = ["LevelModel"]

_DAY_HOURS: Final = 24
_EM_STEPS, _EM_GAIN = 300, 1e-4


class LevelModel(BaseEstimator):  # type: ignore[misc]
    """K regimes of the volatility that is to be expected of the coming hour.

    Parameters
    ----------
    n_regimes : int
        Number of regimes, K >= 2.
    shares : sequence of K floats, optional
        Share of the training time of each regime, calmest first, adding up to 1; by default a
        tenth for the last and the same for all others. Where forecasts keep apart in clusters, a
        share gives way rather than cut one in two; see :func:`place_cuts`.
    switches_per_hour : float
        Changes of regime that are allowed for, per hour of bars in training.
    columns, clock
        Columns that the forecast regresses on, and the one with the time of the week; see
        :class:`VolatilityForecast`.
    hour : int
        Bars in an hour of bars; see :func:`microstream_lab.schema.hour_of_bars`.
    n_levels : int
        Levels that the forecast is divided into.
    move : float
        Probability of moving to one of the neighbouring levels, per bar.
    drift_share : float
        Share of a lasting move of the forecast's mean that the levels follow: 0 keeps them where
        training put them, 1 makes regimes relative.
    drift_days : float
        Half-life of that mean, in days of bars.
    shock : int, optional
        Column that tells how far the price has gone lately; its extremes are shocks, and the last
        regime is told at once. Without it the last regime is entered and left like the others.
    shock_share : float
        Share of the training rows that are shocks.

    Attributes
    ----------
    forecast_ : VolatilityForecast
    center_, mean_ : float
        Mean forecast in training, and the mean that drift is told from as the training left it.
    startprob_, transmat_, means_, covars_ : ndarray
        The chain of levels, as of a Gaussian HMM with one feature: the forecast, drift taken out.
    weights_ : ndarray of shape (n_levels, K)
        Share of each level that belongs to each regime.
    cuts_ : ndarray of shape (K - 1,)
        Forecasts that divide the regimes.
    bounds_ : Bounds
        Probabilities at which another regime is told.
    shocks_ : Shocks
        What a shock is.
    regime_means_ : ndarray of shape (K, n_features)
        Mean of the standardised features by regime.
    occupancy_, stays_ : ndarray of shape (K,)
        Share of the training rows, by filtered probability, and mean stay in bars.
    converged_ : bool
        Whether EM gained less than its tolerance in its last iteration.

    References
    ----------
    Rabiner (1989), A tutorial on hidden Markov models, Proceedings of the IEEE 77(2), for filter
    and EM. The forecast's sources are in :mod:`microstream_lab.models.forecast`.
    """

    def __init__(
        self,
        n_regimes: int = 3,
        shares: Sequence[float] | None = None,
        switches_per_hour: float = 0.11,
        columns: Sequence[int] | None = None,
        clock: int | None = None,
        hour: int = 60,
        n_levels: int = 12,
        move: float = 0.3,
        drift_share: float = 0.3,
        drift_days: float = 60.0,
        shock: int | None = None,
        shock_share: float = 0.0225,
    ) -> None:
        self.n_regimes = n_regimes
        self.shares = shares
        self.switches_per_hour = switches_per_hour
        self.columns = columns
        self.clock = clock
        self.hour = hour
        self.n_levels = n_levels
        self.move = move
        self.drift_share = drift_share
        self.drift_days = drift_days
        self.shock = shock
        self.shock_share = shock_share

    def fit(
        self,
        X: Any,
        y: Any = None,
        lengths: Sequence[int] | None = None,
        volatility: Any = None,
    ) -> LevelModel:
        """Fit to sequences of rows and to what followed them.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
            Standardised features, all finite.
        y : None
            Ignored.
        lengths : sequence of int, optional
            Lengths of the sequences that make up `X`; one sequence by default.
        volatility : array of shape (n_rows,)
            Log realised volatility of the bars that followed each row, NaN where unknown.

        Raises
        ------
        FitError
            If shares and regimes do not go together, or the forecasts do not differ enough to be
            divided into levels.
        """
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        shares = self._shares()
        if volatility is None:
            raise FitError("level model: found no volatility that followed, expected one per row")
        self.forecast_ = VolatilityForecast(self.columns, self.clock).fit(rows, volatility)
        forecasts = self.forecast_.predict(rows)
        if (n_different := len(np.unique(forecasts.round(9)))) < 4 * self.n_levels:
            raise FitError(
                f"level model: found {n_different} different forecasts, "
                f"expected enough for {self.n_levels} levels"
            )
        self.center_ = float(forecasts.mean())
        mean = np.array([self.center_])
        heights = self.without_drift(forecasts, mean)
        self.mean_ = float(mean[0])
        drift = forecasts - heights
        self.shocks_ = learn_shocks(self.shock, self.shock_share, rows, forecasts, drift)
        shocks = self.shocks_.told(self.shocks_.recent(rows), drift)
        self._divide(heights)
        self.cuts_ = place_cuts(heights, shares)
        steps = sequence_steps(lengths)
        level_probs, _ = RegimeFilter(self).filter(heights[:, None], steps)
        bands = np.searchsorted(self.cuts_, heights)
        own = np.searchsorted(self.cuts_, self.means_[:, 0])
        self.weights_ = merged(level_probs, bands, np.eye(len(shares))[own])
        allowed = self.switches_per_hour * len(rows) / self.hour
        known = None if self.shock is None else shocks
        self.bounds_ = learn_to_hold(level_probs, self.weights_, allowed, known)
        merging = self.weights_, tuple(self.bounds_)
        probs, regimes = hold_regimes(level_probs, *merging, shocks, np.array([-1.0]))
        self.occupancy_ = probs.mean(axis=0)
        self.regime_means_ = probs.T @ rows / probs.sum(axis=0)[:, None]
        self.stays_ = mean_stays(regimes, len(shares))
        return self

    def tracker(self, max_hole: int = 20) -> LevelTracker:
        """A memory that follows one series; see :class:`microstream_lab.models.tracking.Tracker`.

        Parameters
        ----------
        max_hole : int
            Unobserved steps in a row that are predicted through; after more the levels start anew.
        """
        check_is_fitted(self)
        return LevelTracker(self, max_hole)

    def heights(self, X: Any) -> FloatArray:
        """Log volatility to expect of the coming hour, drift taken out, shape ``(n_rows,)``.

        What the levels divide and :attr:`cuts_` cut, for the rows of one series in order.
        """
        rows = np.asarray(X, dtype=np.float64)
        return self.without_drift(self.forecast_.predict(rows), np.array([self.center_]))

    def filtered_probs(self, X: Any, steps: Any = None) -> FloatArray:
        """Pr[regime_t | x_1..x_t], shape ``(n_rows, K)``; rows with a NaN give NaN."""
        return self.tracker().track(X, steps)[0]

    def predict(self, X: Any) -> Regimes:
        """Regime told at each row, shape ``(n_rows,)``."""
        return self.tracker().track(self._rows(X))[1]

    def smoothed_probs(self, X: Any, lengths: Sequence[int] | None = None) -> FloatArray:
        """Pr[regime_t | all of X], hindsight: for pictures and studies, never for decisions."""
        heights = self.heights(self._rows(X))
        return np.asarray(self._hmm().predict_proba(heights[:, None], lengths) @ self.weights_)

    def score(self, X: Any, y: None = None) -> float:
        """Mean log likelihood of the forecasts under the chain of levels, in nats per row."""
        heights = self.heights(self._rows(X))
        return float(RegimeFilter(self).filter(heights[:, None])[1].mean())

    def details(self) -> dict[str, Any]:
        """What only this kind of model knows, ready for JSON."""
        forecast = self.forecast_
        return {
            "kind": "levels",
            "cuts": self.cuts_.tolist(),
            **self.bounds_._asdict(),
            "shocks": None if self.shock is None else self.shocks_._asdict(),
            "weights": self.weights_.tolist(),
            "forecast": {
                "intercept": forecast.intercept_,
                "coef": forecast.coef_.tolist(),
                "clock": forecast.profile_.tolist(),
            },
        }

    def expected_durations(self) -> FloatArray:
        """Mean stay in each regime in training, in steps, shape ``(K,)``."""
        check_is_fitted(self)
        return self.stays_

    def without_drift(self, forecasts: FloatArray, mean: FloatArray) -> FloatArray:
        """Forecasts less the drift followed; `mean`, shape ``(1,)``, is left ready for the next."""
        return np.asarray(without_drift(forecasts, *self.drift, mean))

    @property
    def drift(self) -> tuple[float, float, float]:
        """How fast the mean is followed, how much of it, and where it was in training."""
        factor = 0.5 ** (1.0 / (self.drift_days * _DAY_HOURS * self.hour))
        return factor, float(self.drift_share), float(self.center_)

    def _shares(self) -> FloatArray:
        usual = usual_shares(max(2, self.n_regimes))
        shares = np.array(usual if self.shares is None else self.shares, dtype=np.float64)
        if self.n_regimes < 2 or len(shares) != self.n_regimes or (shares <= 0).any():
            raise FitError(
                f"level model: found shares {shares.tolist()} for {self.n_regimes} regimes, "
                "expected one above 0 for each of at least 2 regimes"
            )
        if abs(shares.sum() - 1) > 1e-9:
            raise FitError(f"level model: found shares that add up to {shares.sum():g}, expected 1")
        return shares

    def _rows(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float64))

    def _divide(self, heights: FloatArray) -> None:
        """Levels by EM on a forecast each quarter of an hour: nearer ones hold nothing new."""
        some = heights[:: max(1, self.hour // 4)]
        if len(some) < 4 * self.n_levels:
            some = heights
        edges = np.quantile(some, np.linspace(0, 1, self.n_levels + 1))
        bins = np.searchsorted(edges[1:-1], some)
        groups = [some[bins == level] for level in range(self.n_levels)]
        hmm = FastGaussianHMM(
            self.n_levels, "tied", init_params="", n_iter=_EM_STEPS, tol=_EM_GAIN * len(some)
        )
        hmm.startprob_ = np.full(self.n_levels, 1 / self.n_levels)
        hmm.transmat_ = sticky_transitions(self.n_levels, 0.95)
        hmm.means_ = np.array([[group.mean()] for group in groups])
        hmm.covars_ = np.array([[np.mean([group.var() for group in groups])]])
        hmm.fit(some[:, None])
        self._adopt(hmm, len(some))

    def _adopt(self, hmm: FastGaussianHMM, n_rows: int) -> None:
        self.means_ = np.sort(np.asarray(hmm.means_), axis=0)
        self.covars_ = np.repeat(np.asarray(hmm.covars_)[:1], self.n_levels, axis=0)
        self.startprob_ = np.full(self.n_levels, 1 / self.n_levels)
        self.transmat_ = neighbour_moves(self.n_levels, self.move)
        self.converged_ = bool(hmm.monitor_.iter < hmm.n_iter)
        self.starts_ = [
            {
                "start": 0,
                "kind": "quantiles",
                "log_likelihood": hmm.monitor_.history[-1] / n_rows,
                "iterations": int(hmm.monitor_.iter),
                "converged": self.converged_,
            }
        ]

    def _hmm(self) -> FastGaussianHMM:
        hmm = FastGaussianHMM(self.n_levels, "full", implementation="log")
        hmm.startprob_, hmm.transmat_ = self.startprob_, self.transmat_
        hmm.means_, hmm.covars_ = self.means_, self.covars_
        return hmm
