"""EM from one start: hmmlearn's iterations, set off and judged.

Invariant: an ascent depends on its rows, its options and the number of its start alone, so starts
may run in any order and on any thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from hmmlearn.hmm import GaussianHMM

from microstream_lab.errors import FitError, SettingsError
from microstream_lab.models.em import FastGaussianHMM
from microstream_lab.models.priors import RegimePrior
from microstream_lab.models.starts import Start, make_start, smoothed_start, sticky_transitions

__all__ = [
    "COVARIANCES",
    "STARTS",
    "Ascent",
    "AscentOptions",
    "climb",
    "require_sound",
    "stationary",
]

FloatArray = npt.NDArray[np.float64]

COVARIANCES: Final = ("full", "diag", "tied", "spherical")
STARTS: Final = ("mixed", "smoothed")

logger = logging.getLogger(__name__)
# Its one warning, that a last step lost likelihood, is what the log of an ascent tells in figures.
logging.getLogger("hmmlearn").setLevel(logging.ERROR)


@dataclass(frozen=True)
class AscentOptions:
    """What all starts share; see :class:`~microstream_lab.models.regime.RegimeModel`."""

    n_regimes: int
    n_starts: int
    max_iter: int
    tol: float
    stay: float
    sticky_prior: float
    covar_floor: float
    covariance: str
    prior: RegimePrior | None
    starts: str
    seed: int

    def __post_init__(self) -> None:
        for name, found, known in (
            ("covariance", self.covariance, COVARIANCES),
            ("starts", self.starts, STARTS),
        ):
            if found not in known:
                raise SettingsError(f"{name}: found {found!r}, expected one of {', '.join(known)}")


class Ascent(NamedTuple):
    """Where one start of EM ended: a line of the log, what it is ranked by, and the model."""

    log: dict[str, Any]
    objective: float
    hmm: FastGaussianHMM


class _BelievingHMM(FastGaussianHMM):
    """Watches the posterior density instead of the likelihood; the M-step climbs it anyway."""

    belief: RegimePrior | None = None
    variances: FloatArray
    log_prior = 0.0

    def _compute_lower_bound(self, log_likelihood: float) -> float:
        if self.belief is not None:
            parameters = (np.asarray(self.transmat_), np.asarray(self.covars_))
            self.log_prior = self.belief.log_density(*parameters, self.variances)
        return log_likelihood + self.log_prior


def climb(
    rows: FloatArray, lengths: Sequence[int] | None, options: AscentOptions, number: int
) -> Ascent | None:
    """Run EM from start `number` on `rows`, shape ``(n_rows, n_features)``; None if it fails."""
    start = _start(rows, options, number)
    # "scaling" refuses a row dozens of sigmas out; "log" never does.
    for implementation in ("scaling", "log"):
        hmm = _new_hmm(rows, options, number, implementation)
        hmm.startprob_ = np.full(options.n_regimes, 1.0 / options.n_regimes)
        hmm.transmat_ = _first_transitions(options)
        hmm.means_ = start.means
        floor = 0.0 if options.prior else options.covar_floor
        hmm.covars_ = _shaped(start.covars + floor * np.eye(rows.shape[1]), options.covariance)
        try:
            with np.errstate(all="ignore"):  # an emptied regime divides by zero, and is refused
                hmm.fit(rows, lengths)
            require_sound(hmm)
        except ValueError as error:
            logger.info("start %d (%s, %s): %s", number, start.kind, implementation, error)
            continue
        log = _log_entry(number, start.kind, hmm, len(rows), options)
        return Ascent(log, hmm.monitor_.history[-1] / len(rows), hmm)
    return None


def require_sound(hmm: GaussianHMM) -> None:
    """Raise :class:`FitError` for a model nobody can use: hmmlearn does not check its last step."""
    for name in ("transmat_", "means_", "covars_"):
        if not np.isfinite(getattr(hmm, name)).all():
            raise FitError(f"regime model: found {name} that are not finite, expected numbers")
    if not (np.linalg.eigvalsh(hmm.covars_) > 0).all():
        raise FitError("regime model: found a covariance without spread in some direction")
    if not np.allclose(np.sum(hmm.transmat_, axis=1), 1.0):
        raise FitError("regime model: found a regime that nothing ever leaves or enters")


def stationary(transitions: FloatArray) -> FloatArray:
    """The distribution that the chain forgets its start for, solved as a linear system."""
    n = len(transitions)
    system = np.vstack([transitions.T - np.eye(n), np.ones(n)])
    solution = np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)[0]
    positive = np.clip(solution, 1e-12, None)
    return np.asarray(positive / positive.sum())


def _start(rows: FloatArray, options: AscentOptions, number: int) -> Start:
    n_regimes, n_features = options.n_regimes, rows.shape[1]
    if options.prior is not None:
        variances = options.prior.variances(n_regimes, number, options.n_starts)
        covars = variances[:, None, None] * np.eye(n_features)
        return Start("level", np.zeros((n_regimes, n_features)), covars)
    make = smoothed_start if options.starts == "smoothed" else make_start
    return make(rows, n_regimes, number, options.seed)


def _first_transitions(options: AscentOptions) -> FloatArray:
    if options.prior is not None:
        return options.prior.transitions(options.n_regimes)
    return sticky_transitions(options.n_regimes, options.stay)


def _new_hmm(
    rows: FloatArray, options: AscentOptions, number: int, implementation: str
) -> _BelievingHMM:
    n_rows, n_features = rows.shape
    # A scalar prior would be added off the diagonal too and invent correlations.
    shape = np.eye(n_features) if options.covariance in ("full", "tied") else 1.0
    shared = 1 if options.covariance == "tied" else options.n_regimes
    beliefs: dict[str, Any] = {
        "covars_prior": options.covar_floor * n_rows / shared * shape,
        "transmat_prior": 1.0 + options.sticky_prior * np.eye(options.n_regimes),
    }
    variances = np.empty(0)
    if options.prior is not None:
        variances = options.prior.variances(options.n_regimes, number, options.n_starts)
        beliefs = options.prior.hmm_options(options.covariance, variances, n_features)
    hmm = _BelievingHMM(
        options.n_regimes,
        options.covariance,
        n_iter=options.max_iter,
        tol=options.tol * n_rows,
        init_params="",
        implementation=implementation,
        **beliefs,
    )
    hmm.belief, hmm.variances = options.prior, variances
    return hmm


def _shaped(covars: FloatArray, covariance: str) -> FloatArray:
    """Full covariances cut down to what hmmlearn holds for a `covariance` type."""
    if covariance == "full":
        return covars
    if covariance == "tied":
        return np.asarray(covars.mean(axis=0))
    variances = np.diagonal(covars, axis1=1, axis2=2)
    return np.asarray(variances if covariance == "diag" else variances.mean(axis=1))


def _log_entry(
    number: int, kind: str, hmm: _BelievingHMM, n_rows: int, options: AscentOptions
) -> dict[str, Any]:
    history = list(hmm.monitor_.history)
    last_gain = history[-1] - history[-2] if len(history) > 1 else np.inf
    return {
        "start": number,
        "kind": kind,
        "log_likelihood": (history[-1] - hmm.log_prior) / n_rows,
        "iterations": int(hmm.monitor_.iter),
        # EM climbs likelihood and priors together, so near the top the likelihood alone may
        # give a trifle back; a real fall is no success.
        "converged": bool(
            hmm.monitor_.iter < options.max_iter
            and -10 * options.tol < last_gain / n_rows < options.tol
        ),
        "smallest_occupancy": float(stationary(np.asarray(hmm.transmat_)).min()),
    }
