"""Other people's regime models in the same table: jump model, Markov switching, online k-means.

Their libraries are the optional extra ``peers``; one that is not installed is an ``ImportError``
that the harness turns into a row saying so.

Invariant: the same features, scaling and order of labels as the other plain recipes; see
:mod:`microstream_lab.research.clusters`.
"""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from microstream_lab.research.clusters import Floats, SeedRecipe, complete

__all__ = ["JumpModelRegimes", "MarkovSwitching", "RiverClusters"]

_LAST_ROWS: Final = 4000  # what Markov switching can be fitted to in seconds
_JUMP_PENALTY: Final = 50.0


class JumpModelRegimes(SeedRecipe):
    """Statistical jump model, discrete states, decoded online.

    References
    ----------
    Nystrup, Lindstroem and Madsen (2020), Learning hidden Markov models with persistent states by
    penalizing jumps, Expert Systems with Applications 150; the library ``jumpmodels``.
    """

    def _cluster(self, rows: Floats) -> None:
        from jumpmodels.jump import JumpModel

        options = {"n_init": 3, "random_state": self.seed}
        self.model_: Any = JumpModel(self.n_regimes, _JUMP_PENALTY, **options)
        self.model_.fit(rows, sort_by="freq")

    def _probs(self, rows: Floats, steps: npt.NDArray[np.int64]) -> Floats:
        known = complete(rows)
        labels = np.asarray(self.model_.predict_online(rows[known]), np.int64)
        return _certain(labels, known, self.n_regimes)


class MarkovSwitching(SeedRecipe):
    """Markov-switching mean and variance of returns, fitted to the last 4,000 training bars.

    References
    ----------
    Hamilton (1989), A new approach to the economic analysis of nonstationary time series and the
    business cycle, Econometrica 57; the library ``statsmodels``.
    """

    def _cluster(self, rows: Floats) -> None:
        from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            last = MarkovRegression(
                rows[-_LAST_ROWS:, 0], k_regimes=self.n_regimes, switching_variance=True
            )
            self.params_: Any = last.fit(disp=False).params

    def _probs(self, rows: Floats, steps: npt.NDArray[np.int64]) -> Floats:
        from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

        known = complete(rows)
        model = MarkovRegression(rows[known, 0], k_regimes=self.n_regimes, switching_variance=True)
        probs = np.full((len(rows), self.n_regimes), np.nan)
        probs[known] = model.filter(self.params_).filtered_marginal_probabilities
        return probs


class RiverClusters(SeedRecipe):
    """Online k-means, learnt bar by bar over the training and then held."""

    def _cluster(self, rows: Floats) -> None:
        from river.cluster import KMeans

        self.model_: Any = KMeans(n_clusters=self.n_regimes, halflife=0.01, seed=self.seed)
        for row in rows:
            self.model_.learn_one(dict(enumerate(row)))

    def _probs(self, rows: Floats, steps: npt.NDArray[np.int64]) -> Floats:
        known = complete(rows)
        found = [self.model_.predict_one(dict(enumerate(row))) for row in rows[known]]
        return _certain(np.array(found, np.int64), known, self.n_regimes)


def _certain(labels: npt.NDArray[np.int64], known: npt.NDArray[np.bool_], n: int) -> Floats:
    probs = np.full((len(known), n), np.nan)
    probs[known] = np.eye(n)[labels]
    return probs
