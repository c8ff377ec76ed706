"""The regime model: hmmlearn's Gaussian HMM with several starts and stable labels.

Invariant: whatever is public and not named smoothed or viterbi is filtered, that is
Pr[regime_t | x_1..x_t], and regimes are numbered calmest first after every fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from microstream_lab.errors import FitError
from microstream_lab.models.ascent import Ascent, AscentOptions, climb, stationary
from microstream_lab.models.em import FastGaussianHMM as GaussianHMM
from microstream_lab.models.filter import RegimeFilter, sequence_steps
from microstream_lab.models.priors import prior_named
from microstream_lab.models.tracking import FilterTracker

__all__ = ["RegimeModel", "weighted_means"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class RegimeModel(BaseEstimator):  # type: ignore[misc]
    """Gaussian hidden Markov model with several starts of EM, ordered by volatility.

    Parameters
    ----------
    n_regimes : int
        Number of regimes, K >= 2.
    n_starts : int
        Starting points of EM; the one that ends with the highest likelihood, or posterior density
        under a prior, is kept.
    max_iter : int
        EM iterations at most, per start.
    tol : float
        EM has converged when an iteration gains less than this, in nats per row.
    stay : float
        Probability of staying in a regime that EM starts from, per step.
    sticky_prior : float
        Dirichlet pseudo-counts added to every self-transition.
    covar_floor : float
        Prior variance added to the scatter matrix of each regime, so that it stays invertible.
    min_occupancy : float
        A start that leaves a regime with a smaller share of the rows is kept only if all do.
    random_state : int
        Seed of the starts.
    n_jobs : int, optional
        Threads over which the starts are spread; the result does not depend on it.
    covariance : str
        ``full``, ``diag``, ``tied`` (one for all regimes) or ``spherical``: the fewer rows a
        feature has, the simpler. Above a dozen features full covariances need thousands of rows.
    prior : str, optional
        A belief declared by name, see :data:`~microstream_lab.models.priors.PRIORS`; it takes the
        place of `stay`, `sticky_prior`, `covar_floor` and `starts`, and holds the means at zero.
    starts : str
        ``mixed`` (distance from the median, k-means, random rows) or ``smoothed`` (clusters of
        the smoothed first principal component, for many noisy features).

    Attributes
    ----------
    startprob_, transmat_, means_, covars_ : ndarray
        Shapes ``(K,)``, ``(K, K)``, ``(K, n_features)``, ``(K, n_features, n_features)``.
        ``startprob_`` is the stationary distribution, because a session starts at any moment.
    occupancy_ : ndarray of shape (K,)
        Share of the training rows by filtered probability.
    starts_ : list of dict
        Every start: kind, log_likelihood per row, iterations, converged, smallest occupancy.
    converged_ : bool
        Whether the start that was kept converged; hmmlearn's own flag is also set when it merely
        ran out of iterations.

    References
    ----------
    Rabiner (1989), A tutorial on hidden Markov models, Proceedings of the IEEE 77(2).
    Hamilton (1989), A new approach to the economic analysis of nonstationary time series,
    Econometrica 57(2), for the filter.
    """

    def __init__(
        self,
        n_regimes: int = 3,
        n_starts: int = 6,
        max_iter: int = 200,
        tol: float = 1e-6,
        stay: float = 0.98,
        sticky_prior: float = 50.0,
        covar_floor: float = 1e-3,
        min_occupancy: float = 0.01,
        random_state: int = 0,
        n_jobs: int | None = None,
        covariance: str = "full",
        prior: str | None = None,
        starts: str = "mixed",
    ) -> None:
        self.n_regimes = n_regimes
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.tol = tol
        self.stay = stay
        self.sticky_prior = sticky_prior
        self.covar_floor = covar_floor
        self.min_occupancy = min_occupancy
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.covariance = covariance
        self.prior = prior
        self.starts = starts

    def fit(
        self,
        X: Any,
        y: None = None,
        lengths: Sequence[int] | None = None,
        volatility: Any = None,
    ) -> RegimeModel:
        """Fit to sequences of rows.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
            Standardised features, all finite.
        y : None
            Ignored.
        lengths : sequence of int, optional
            Lengths of the sequences that make up `X`; one sequence by default.
        volatility : array of shape (n_rows,), optional
            What regimes are ordered by, NaN where unknown; by default the spread of the emissions.

        Raises
        ------
        FitError
            If there are too few rows, or no start ends with a finite likelihood.
        SettingsError
            If covariance, prior or starts are unknown or do not go together.
        """
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        if self.n_regimes < 2 or len(rows) < self.n_regimes:
            raise FitError(
                f"regime model: found {self.n_regimes} regimes for {len(rows)} sample(s), "
                "expected at least 2 regimes and as many rows"
            )
        options = self._options()
        ascents = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            delayed(climb)(rows, lengths, options, number) for number in range(self.n_starts)
        )
        usable = [end for end in ascents if end is not None and np.isfinite(end.objective)]
        if not usable:
            raise FitError(f"regime model: none of {self.n_starts} starts gave a finite likelihood")
        self.starts_ = [ascent.log for ascent in usable]
        log, _, best = max(usable, key=self._rank)
        self.converged_, self.n_iter_ = bool(log["converged"]), int(log["iterations"])
        self._adopt(best, np.arange(self.n_regimes))
        filtered = self.filtered_probs(rows, sequence_steps(lengths))
        self._adopt(best, self._calm_first(filtered, volatility))
        self.occupancy_ = self.filtered_probs(rows, sequence_steps(lengths)).mean(axis=0)
        return self

    @classmethod
    def from_parameters(cls, startprob: Any, transmat: Any, means: Any, covars: Any) -> RegimeModel:
        """A fitted model with the given parameters, in the given order."""
        model = cls(n_regimes=len(means))
        model.transmat_ = np.asarray(transmat, dtype=np.float64)
        model.means_ = np.asarray(means, dtype=np.float64)
        model.covars_ = np.asarray(covars, dtype=np.float64)
        model.startprob_ = np.asarray(startprob, dtype=np.float64)
        model.n_features_in_ = model.means_.shape[1]
        return model

    def reordered(self, order: Sequence[int]) -> RegimeModel:
        """The same fit with its regimes numbered as in `order`, which lists their numbers here."""
        check_is_fitted(self)
        places = np.asarray(order, dtype=np.int64)
        again = copy(self)
        again.transmat_ = self.transmat_[np.ix_(places, places)]
        for name in ("startprob_", "means_", "covars_", "occupancy_"):
            if hasattr(self, name):
                setattr(again, name, getattr(self, name)[places])
        return again

    def tracker(self, max_hole: int = 20) -> FilterTracker:
        """A memory that follows one series; see :class:`microstream_lab.models.tracking.Tracker`.

        Parameters
        ----------
        max_hole : int
            Unobserved steps in a row that are predicted through; after more the filter starts anew.
        """
        check_is_fitted(self)
        return FilterTracker(self, max_hole)

    @property
    def regime_means_(self) -> FloatArray:
        """Mean of the standardised features by regime, shape ``(K, n_features)``."""
        return self.means_

    def filtered_probs(self, X: Any, steps: Any = None) -> FloatArray:
        """Pr[regime_t | x_1..x_t], shape ``(n_rows, K)``; rows with a NaN give NaN.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
            Standardised features; NaN rows are predicted through.
        steps : array of int of shape (n_rows,), optional
            Grid steps since the row before, 1 where none is missing; 0 starts a new sequence.
        """
        check_is_fitted(self)
        return RegimeFilter(self).filter(X, steps)[0]

    def smoothed_probs(self, X: Any, lengths: Sequence[int] | None = None) -> FloatArray:
        """Pr[regime_t | all of X], hindsight: for pictures and studies, never for decisions."""
        rows = self._rows(X)
        return np.asarray(self._hmm().predict_proba(rows, lengths))

    def viterbi_path(self, X: Any, lengths: Sequence[int] | None = None) -> IntArray:
        """Most probable path given all of X, hindsight as well."""
        rows = self._rows(X)
        return np.asarray(self._hmm().predict(rows, lengths))

    def predict(self, X: Any) -> IntArray:
        """Regime of the highest filtered probability, shape ``(n_rows,)``."""
        return np.asarray(self.filtered_probs(self._rows(X)).argmax(axis=1))

    def score(self, X: Any, y: None = None) -> float:
        """Mean log likelihood in nats per row."""
        return float(RegimeFilter(self).filter(self._rows(X))[1].mean())

    def details(self) -> dict[str, Any]:
        """What only this kind of model knows, ready for JSON."""
        return {"kind": "hmm", "covariance": self.covariance, "prior": self.prior}

    def expected_durations(self) -> FloatArray:
        """Expected stay in each regime, in steps, shape ``(K,)``: ``1 / (1 - a_kk)``."""
        check_is_fitted(self)
        return np.asarray(1.0 / np.maximum(1.0 - np.diag(self.transmat_), 1e-12))

    def _rows(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float64))

    def _hmm(self) -> GaussianHMM:
        hmm = GaussianHMM(self.n_regimes, "full", implementation="log")
        hmm.startprob_, hmm.transmat_ = self.startprob_, self.transmat_
        hmm.means_, hmm.covars_ = self.means_, self.covars_
        return hmm

    def _options(self) -> AscentOptions:
        return AscentOptions(
            n_regimes=self.n_regimes,
            n_starts=self.n_starts,
            max_iter=self.max_iter,
            tol=self.tol,
            stay=self.stay,
            sticky_prior=self.sticky_prior,
            covar_floor=self.covar_floor,
            covariance=self.covariance,
            prior=prior_named(self.prior),
            starts=self.starts,
            seed=self.random_state,
        )

    def _rank(self, ascent: Ascent) -> tuple[bool, float]:
        return ascent.log["smallest_occupancy"] >= self.min_occupancy, ascent.objective

    def _adopt(self, hmm: GaussianHMM, order: IntArray) -> None:
        self.transmat_ = np.asarray(hmm.transmat_)[np.ix_(order, order)]
        self.means_ = np.asarray(hmm.means_)[order]
        self.covars_ = np.asarray(hmm.covars_)[order]
        self.startprob_ = stationary(self.transmat_)

    def _calm_first(self, filtered: FloatArray, volatility: Any) -> IntArray:
        if volatility is None:
            return np.argsort(np.trace(self.covars_, axis1=1, axis2=2), kind="stable")
        means = weighted_means(np.asarray(volatility, dtype=np.float64), filtered)
        if np.isnan(means).any():
            raise FitError(
                f"regime model: found no known volatility in regime {int(np.isnan(means).argmax())}"
                " to order it by, expected some in each"
            )
        return np.argsort(means, kind="stable")


def weighted_means(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean of `values` under each column of `weights`, rows with a NaN left out.

    NaN for a column that has no weight in the rows that are left.
    """
    known = np.isfinite(values) & np.isfinite(weights).all(axis=1)
    mass = weights[known].sum(axis=0)
    return np.asarray(weights[known].T @ values[known] / np.where(mass > 0, mass, np.nan))
