"""How much of a Sharpe ratio is skill once one counts how many were tried.

Sharpe ratios here are those of single observations, not yearly ones: mean by standard deviation.
"""

from __future__ import annotations

from math import e, exp, log, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from microstream_lab.errors import DataError

__all__ = ["deflated_sharpe", "expected_best_sharpe", "probabilistic_sharpe", "sharpe_ratio"]

_EULER = 0.5772156649015329
_NORMAL = NormalDist()
_FEWEST = 3


def sharpe_ratio(returns: npt.ArrayLike) -> float:
    """Mean by standard deviation of returns (n,); NaN where they do not vary."""
    values = np.asarray(returns, np.float64)
    spread = values.std() if len(values) else 0.0
    return float(values.mean() / spread) if spread > 0 else float("nan")


def probabilistic_sharpe(
    sharpe: float, n: int, skew: float = 0.0, kurtosis: float = 3.0, benchmark: float = 0.0
) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark`.

    Parameters
    ----------
    sharpe, benchmark : float
        Per observation.
    n : int
        Observations.
    skew, kurtosis : float
        Of the returns; 0 and 3 are normal.

    References
    ----------
    Bailey and Lopez de Prado (2014), The deflated Sharpe ratio: correcting for selection bias,
    backtest overfitting and non-normality, Journal of Portfolio Management 40(5), eq. 2.
    """
    variance = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if np.isnan(variance) or variance <= 0 or n < 2:
        return float("nan")
    return _NORMAL.cdf((sharpe - benchmark) * sqrt((n - 1) / variance))


def expected_best_sharpe(variance: float, n_trials: float) -> float:
    """Largest Sharpe ratio to be expected of `n_trials` strategies without any skill.

    Parameters
    ----------
    variance : float
        Of the Sharpe ratios of the trials.
    n_trials : float
        Independent trials; one is no choice, and expects 0.

    References
    ----------
    Bailey and Lopez de Prado (2014), eq. 1.
    """
    if n_trials <= 1:
        return 0.0
    often = _NORMAL.inv_cdf(1 - 1 / n_trials)
    rarely = _NORMAL.inv_cdf(1 - exp(-log(n_trials) - log(e)))
    return sqrt(variance) * ((1 - _EULER) * often + _EULER * rarely)


def deflated_sharpe(returns: npt.ArrayLike, trials: npt.ArrayLike) -> float:
    """Probability that a strategy chosen from `trials` has a true Sharpe ratio above 0.

    Parameters
    ----------
    returns : array_like of shape (n,)
        Of the chosen strategy, usually by day; NaN comes out where they do not vary.
    trials : array_like of shape (n_trials,)
        Sharpe ratios, per observation, of all that were tried, the chosen one included. Those
        that never traded (NaN) count as tried.

    Raises
    ------
    DataError
        If there are fewer than three returns, or no trial.
    """
    values, tried = np.asarray(returns, np.float64), np.asarray(trials, np.float64)
    if len(values) < _FEWEST or not len(tried):
        found = f"{len(values)} returns and {len(tried)} trials"
        raise DataError("deflated Sharpe ratio", found, f"{_FEWEST} and 1 or more")
    known = tried[np.isfinite(tried)]
    variance = float(known.var(ddof=1)) if len(known) > 1 else 0.0
    spread = values.std()
    if not spread > 0:
        return float("nan")
    z = (values - values.mean()) / spread
    benchmark = expected_best_sharpe(variance, len(tried))
    return probabilistic_sharpe(
        sharpe_ratio(values), len(values), float((z**3).mean()), float((z**4).mean()), benchmark
    )
