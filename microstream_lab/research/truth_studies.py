"""One sequence of each study of known truth: drawn, fitted by everybody, and scored.

Invariant: everybody sees the same rows, standardised by their own mean and deviation, and is judged
on all of them, as in the papers; bundles are judged on the half of a market they have not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from hmmlearn.hmm import GaussianHMM

from microstream_lab.errors import FitError
from microstream_lab.market.simulate import simulate_market
from microstream_lab.models.ascent import require_sound
from microstream_lab.models.regime import RegimeModel
from microstream_lab.research.chains import (
    KnownSequence,
    daily_chain,
    draw_sequence,
    feature_chain,
)
from microstream_lab.research.recall import best_recalls, named_recalls
from microstream_lab.training import train_bundle

__all__ = [
    "DAILY",
    "FEATURES",
    "FILTER",
    "MARKET",
    "VITERBI",
    "Scores",
    "daily_scores",
    "features_scores",
    "market_scores",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = tuple[Ints | None, Ints]
"""Labels in hindsight, where there are any, and those of the filter."""
Fit: TypeAlias = Callable[[Floats, int, Floats | None], RegimeModel]
Scores: TypeAlias = dict[tuple[str, str], Floats]
"""Recall of each regime, shape ``(K,)``, by estimate and figure."""

N_REGIMES: Final = 3
VITERBI: Final = "viterbi, best permutation"
FILTER: Final = "filter, as named"
FEATURES: Final = "features"
DAILY: Final = "daily returns"
MARKET: Final = "simulated market"
_ROWS: Final = 500


def features_scores(mu: float, seed: int, number: int) -> Scores:
    """Sequence `number` of :func:`~microstream_lab.research.chains.feature_chain`."""
    chain = feature_chain(mu)
    rng = np.random.default_rng([seed, 1, round(mu * 1000), number])
    sequence = draw_sequence(chain, _ROWS, rng)
    level = -_standardised(sequence.rows).mean(axis=1)
    return _scores(sequence, chain, _FEATURE_FITS, number, level)


def daily_scores(n_rows: int, seed: int, number: int) -> Scores:
    """Sequence `number` of :func:`~microstream_lab.research.chains.daily_chain`."""
    chain = daily_chain()
    sequence = draw_sequence(chain, n_rows, np.random.default_rng([seed, 2, n_rows, number]))
    return _scores(sequence, chain, _DAILY_FITS, number, None)


def _scores(
    sequence: KnownSequence,
    chain: RegimeModel,
    fits: Mapping[str, Fit],
    seed: int,
    order_by: Floats | None,
) -> Scores:
    rows = _standardised(sequence.rows)
    scores = _judged("true parameters", sequence.states, _labels(chain, sequence.rows))
    for name, fit in fits.items():
        scores |= _judged(name, sequence.states, _attempt(fit, rows, seed, order_by))
    return scores


def market_scores(n_bars: int, seed: int, number: int) -> Scores:
    """Simulated market `number`: bundles of its first half, judged on the second."""
    market = simulate_market("2024-01-01", n_bars, seed=1000 * seed + number)
    half = n_bars // 2
    scores: Scores = {}
    for name, options in _BUNDLES.items():
        bundle = train_bundle(market.bars.iloc[:half], seed=number, **options)
        regime = bundle.signals(market.bars)["regime"].to_numpy(np.int64)
        scores |= _judged(name, market.states[half:], (None, regime[half:]))
    return scores


def _judged(name: str, states: Ints, labels: Labels) -> Scores:
    hindsight, filtered = labels
    scores = {(name, FILTER): named_recalls(states, filtered, N_REGIMES)}
    if hindsight is not None:
        scores[name, VITERBI] = best_recalls(states, hindsight, N_REGIMES)
    return scores


def _attempt(fit: Fit, rows: Floats, seed: int, order_by: Floats | None) -> Labels:
    """Labels of a fit; one that fails labels nothing, and is wrong everywhere."""
    try:
        return _labels(fit(rows, seed, order_by), rows)
    except FitError:
        unknown = np.full(len(rows), -1, np.int64)
        return unknown, unknown


def _labels(model: RegimeModel, rows: Floats) -> Labels:
    return model.viterbi_path(rows), model.predict(rows)


def _fit_plain(rows: Floats, seed: int, order_by: Floats | None) -> RegimeModel:
    """Hmmlearn as most people call it."""
    hmm = GaussianHMM(N_REGIMES, "full", n_iter=100, random_state=seed)
    try:
        hmm.fit(rows)
        require_sound(hmm)
    except ValueError as error:
        raise FitError(f"hmmlearn: {error}") from error
    if order_by is None:
        order = np.argsort(np.trace(hmm.covars_, axis1=1, axis2=2))
    else:
        order = np.argsort(-hmm.means_.mean(axis=1))
    moves = hmm.transmat_[np.ix_(order, order)]
    parts = (hmm.startprob_[order], moves, hmm.means_[order], hmm.covars_[order])
    return RegimeModel.from_parameters(*parts)


def _fit(options: dict[str, Any], rows: Floats, seed: int, order_by: Floats | None) -> RegimeModel:
    model = RegimeModel(N_REGIMES, random_state=seed, **options)
    return model.fit(rows, volatility=order_by)


_SPHERICAL: Final[dict[str, Any]] = {
    "covariance": "spherical",
    "starts": "smoothed",
    "n_starts": 9,
    "sticky_prior": 10.0,
    "min_occupancy": 0.0,  # in 500 rows a true crisis may last three
}
_PLAIN: Final[dict[str, Fit]] = {"hmmlearn as it comes": _fit_plain}
_DAILY_FITS: Final[dict[str, Fit]] = {
    **_PLAIN,
    "sticky": partial(_fit, {}),
    "volatility ladder": partial(_fit, {"prior": "volatility_ladder"}),
    "calm lasts longest": partial(_fit, {"prior": "calm_lasts_longest"}),
}
_FEATURE_FITS: Final[dict[str, Fit]] = {
    **_PLAIN,
    "full": partial(_fit, {}),
    "spherical, smoothed starts": partial(_fit, _SPHERICAL),
}
_BUNDLES: Final[Mapping[str, dict[str, Any]]] = {
    "bundle, default": {},
    "bundle, seed recipe": {"feature_set": "seed"},
}


def _standardised(rows: Floats) -> Floats:
    return np.asarray((rows - rows.mean(axis=0)) / rows.std(axis=0))
