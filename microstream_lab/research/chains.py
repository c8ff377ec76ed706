"""Hidden Markov chains of published studies, drawn with the truth beside the rows.

Invariant: a sequence is decided by its study, its setting, the seed and its number alone, so the
first sequences of a long study are those of a short one.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm, logm

from microstream_lab.models.regime import RegimeModel

__all__ = ["KnownSequence", "daily_chain", "draw_sequence", "feature_chain"]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

_PERIODS: Final = 20
"""Days of a month, by which the monthly chain is made a daily one."""
_MONTHLY_MEANS: Final = (0.0123, 0.0, -0.0157)
_MONTHLY_DEVIATIONS: Final = (0.0347, 0.05, 0.0778)
_MONTHLY_MOVES: Final = (
    (0.9629, 0.0185, 0.0186),
    (0.0618, 0.8764, 0.0618),
    (0.1051, 0.1050, 0.7899),
)
_DAILY_MOVES: Final = (
    (0.9903, 0.0047, 0.0050),
    (0.0157, 0.9666, 0.0177),
    (0.0284, 0.0300, 0.9416),
)
_TELLING: Final = 15
"""Features that carry a mean; those beyond are noise."""


class KnownSequence(NamedTuple):
    """Rows of shape ``(n_rows, n_features)`` and the regime behind each, shape ``(n_rows,)``."""

    rows: Floats
    states: Ints


def daily_chain() -> RegimeModel:
    """Three regimes of daily stock returns that differ mainly in volatility, as a model.

    References
    ----------
    Hardy (2001), A regime-switching model of long-term stock returns, North American Actuarial
    Journal 5(2), for the monthly parameters; Aydinhan, Kolm, Mulvey and Shu (2024), Identifying
    patterns in financial markets: extending the statistical jump model for regime identification,
    Annals of Operations Research, for the third regime and the daily chain.
    """
    moves = np.real(expm(logm(_stochastic(_MONTHLY_MOVES)) / _PERIODS))
    means = np.array(_MONTHLY_MEANS)[:, None] / _PERIODS
    variances = np.square(_MONTHLY_DEVIATIONS) / _PERIODS
    return _chain(moves, means, variances[:, None, None])


def feature_chain(mu: float, n_features: int = 15) -> RegimeModel:
    """Three regimes with means `mu`, 0 and ``-mu`` in 15 features of unit noise, as a model.

    References
    ----------
    Nystrup, Kolm and Lindstrom (2021), Feature selection in jump models, Expert Systems with
    Applications 184:115558, table 1.
    """
    means = np.zeros((3, n_features))
    means[0, :_TELLING], means[2, :_TELLING] = mu, -mu
    return _chain(np.array(_DAILY_MOVES), means, np.repeat(np.eye(n_features)[None], 3, axis=0))


def draw_sequence(chain: RegimeModel, n_rows: int, rng: np.random.Generator) -> KnownSequence:
    """Draw states from the stationary start on, and a row for each."""
    states = _draw_states(chain, n_rows, rng)
    noise = rng.normal(size=(n_rows, chain.means_.shape[1]))
    roots = np.linalg.cholesky(chain.covars_)
    spread = np.einsum("tij,tj->ti", roots[states], noise)
    return KnownSequence(chain.means_[states] + spread, states)


def _draw_states(chain: RegimeModel, n_rows: int, rng: np.random.Generator) -> Ints:
    last = len(chain.startprob_) - 1
    draws = rng.random(n_rows)
    reach = np.cumsum(chain.transmat_, axis=1)
    states = np.empty(n_rows, np.int64)
    state = int(np.searchsorted(np.cumsum(chain.startprob_), draws[0]))
    for t in range(n_rows):
        if t:
            state = int(np.searchsorted(reach[state], draws[t]))
        state = states[t] = min(state, last)
    return states


def _stochastic(moves: npt.ArrayLike) -> Floats:
    """Printed probabilities add up to one only to four digits."""
    rounded = np.asarray(moves, np.float64)
    return np.asarray(rounded / rounded.sum(axis=1, keepdims=True))


def _chain(moves: Floats, means: Floats, covars: Floats) -> RegimeModel:
    transitions = _stochastic(moves)
    start = np.linalg.matrix_power(transitions, 100_000)[0]
    return RegimeModel.from_parameters(start, transitions, means, covars)
