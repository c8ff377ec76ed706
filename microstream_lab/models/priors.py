"""What is believed of regimes before the rows are seen, said in words a user can agree with.

A few hundred steps cannot tell three variances and six transitions apart: the likelihood has optima
that name a calm year half calm, half turbulent. A prior of this kind says three things and holds
them loosely: regimes differ in spread alone, each is some factor wilder than the one before, and a
stay lasts about so long. How calm calm is stays open: each start of EM tries another level, and the
start of the highest posterior density is kept.

Invariant: every prior is conjugate, so that hmmlearn's own M-step maximises the posterior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from microstream_lab.errors import SettingsError

__all__ = ["PRIORS", "RegimePrior", "prior_named"]

FloatArray = npt.NDArray[np.float64]

_LOWEST_LEVEL: Final = 0.12
"""Smallest calm variance that is tried, as a share of the variance of all rows."""
_FIXED: Final = 1e9
"""Rows that a mean at zero counts for: more than there will ever be."""


@dataclass(frozen=True)
class RegimePrior:
    """Beliefs about K regimes of standardised rows, calmest first.

    Attributes
    ----------
    longest, shortest : float
        Expected stay in the calmest and in the wildest regime, in steps; between them the stays
        fall by a constant factor.
    volatility_ratio : float
        Factor between the standard deviations of a regime and the next wilder one.
    n_rows : float
        Rows each regime's variance is believed as firmly as.
    n_stays : float
        Watched stays in each regime that the transitions are believed as firmly as.

    References
    ----------
    Gauvain and Lee (1994), Maximum a posteriori estimation for multivariate Gaussian mixture
    observations of Markov chains, IEEE Transactions on Speech and Audio Processing 2(2).
    """

    longest: float
    shortest: float
    volatility_ratio: float = 1.5
    n_rows: float = 30.0
    n_stays: float = 2.0

    def stays(self, n_regimes: int) -> FloatArray:
        """Expected stays in steps, shape ``(K,)``."""
        return np.geomspace(self.longest, self.shortest, n_regimes)

    def transitions(self, n_regimes: int) -> FloatArray:
        """Transition matrix of those stays, leaving evenly, shape ``(K, K)``."""
        counts = self.moves(n_regimes)
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))

    def moves(self, n_regimes: int) -> FloatArray:
        """Pseudo-counts of moves between regimes, shape ``(K, K)``."""
        moves = np.full((n_regimes, n_regimes), self.n_stays / (n_regimes - 1))
        np.fill_diagonal(moves, self.n_stays * (self.stays(n_regimes) - 1))
        return moves

    def variances(self, n_regimes: int, number: int, n_starts: int) -> FloatArray:
        """Variance of each regime at the calm level that start `number` tries, shape ``(K,)``."""
        level = np.geomspace(_LOWEST_LEVEL, 1.0, n_starts)[number] if n_starts > 1 else 0.4
        return np.asarray(level * self.volatility_ratio ** (2.0 * np.arange(n_regimes)))

    def hmm_options(
        self, covariance: str, variances: FloatArray, n_features: int
    ) -> dict[str, Any]:
        """The prior in hmmlearn's parameters; raises :class:`SettingsError` for a tied covariance.

        Notes
        -----
        hmmlearn divides scatter plus ``covars_prior`` by rows plus ``covars_weight``, less one or
        less the number of features: the mode of an inverse Wishart distribution.
        """
        if covariance == "tied":
            raise SettingsError(
                "covariance: found 'tied' with a prior on how much regimes differ in spread, "
                "expected full, diag or spherical"
            )
        full = covariance == "full"
        shape = np.eye(n_features) if full else np.ones(n_features)
        return {
            "covars_prior": self.n_rows * np.multiply.outer(variances, shape),
            "covars_weight": self.n_rows + (n_features if full else 1),
            "means_prior": 0.0,
            "means_weight": _FIXED,
            "transmat_prior": 1.0 + self.moves(len(variances)),
        }

    def log_density(
        self, transitions: FloatArray, covars: FloatArray, variances: FloatArray
    ) -> float:
        """Log prior density of parameters, up to a constant that no start changes.

        Parameters
        ----------
        transitions : ndarray of shape (K, K)
        covars : ndarray of shape (K, n_features, n_features)
        variances : ndarray of shape (K,)
            What the variances are believed to be: :meth:`variances`.
        """
        moves = self.moves(len(transitions))
        chain = (moves * np.log(np.maximum(transitions, 1e-300))).sum()
        inverse_traces = np.trace(np.linalg.inv(covars), axis1=1, axis2=2)
        log_ratios = np.linalg.slogdet(covars)[1] - covars.shape[1] * np.log(variances)
        return float(chain - 0.5 * self.n_rows * (log_ratios + variances * inverse_traces).sum())


PRIORS: Final[Mapping[str, RegimePrior]] = {
    "volatility_ladder": RegimePrior(longest=200, shortest=200),
    "calm_lasts_longest": RegimePrior(longest=500, shortest=80),
}
"""Priors by name. ``volatility_ladder`` believes that all regimes last alike."""


def prior_named(name: str | None) -> RegimePrior | None:
    """The prior of that name, None for None; raises :class:`SettingsError` for others."""
    if name is None:
        return None
    if name not in PRIORS:
        raise SettingsError(f"prior: found {name!r}, expected None or one of {', '.join(PRIORS)}")
    return PRIORS[name]
