"""From bars to a model bundle: scale, fit both models, and note what the regimes led to.

Invariant: nothing outside the bars that are passed is ever looked at, so a fit cannot see a bar at
or after its end; the outcomes that name the regimes come from inside the range as well.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.bundle import ModelBundle, library_versions
from microstream_lab.drift import drift_reference
from microstream_lab.errors import FitError
from microstream_lab.features import FEATURE_SETS, feature_names, features_from_bars
from microstream_lab.models.filter import sequence_steps
from microstream_lab.models.regime import weighted_means
from microstream_lab.models.tracking import Track
from microstream_lab.outcomes import forward_log_volatility
from microstream_lab.recipe import make_detector, make_regime_model, make_scaler, usual_regimes
from microstream_lab.schema import BAR_VALUES, hour_of_bars, interval_us, require_bars, series_key

__all__ = ["DEFAULT_FEATURE_SET", "MIN_ROWS", "bars_hash", "train_bundle"]

_log = logging.getLogger(__name__)

DEFAULT_FEATURE_SET = "liquidity"
MIN_ROWS = 200
"""Fewer usable rows than this cannot carry three regimes."""

_HARDLY_EVER = 0.01


def train_bundle(
    bars: pd.DataFrame,
    feature_set: str | Sequence[str] = DEFAULT_FEATURE_SET,
    n_regimes: int = 3,
    contamination: float = 0.05,
    seed: int = 0,
    window: int = 20,
    n_starts: int = 6,
    n_jobs: int | None = None,
    regimes: str | None = None,
    regime_shares: Sequence[float] | None = None,
) -> ModelBundle:
    """Fit scaler, Isolation Forest and regime model on a bars frame.

    Parameters
    ----------
    bars : DataFrame
        Training bars, one series; bars may be missing.
    feature_set : str or sequence of str
        Name of a feature set, or feature names. Features that these bars never define, because
        their source tells no trades for example, are left out with a warning.
    n_regimes : int
        Number of regimes, K.
    contamination : float
        Share of the training bars to flag as anomalies, in (0, 0.5].
    seed : int
        Seed of everything random.
    window : int
        Trailing bars of windowed features.
    n_starts : int
        Starting points of EM.
    n_jobs : int, optional
        Threads for the starts; the bundle does not depend on it.
    regimes : str, optional
        ``levels``: bands of the volatility to expect (:class:`LevelModel`), the default where the
        feature set has features with a horizon. ``hmm``: a Gaussian HMM of all features
        (:class:`RegimeModel`), the default of the ``seed`` set.
    regime_shares : sequence of K floats, optional
        For ``levels``: share of the training time of each regime, calmest first.

    Returns
    -------
    ModelBundle
        Regimes are ordered by the log realised volatility of the bars that followed.

    Raises
    ------
    FitError
        If fewer than :data:`MIN_ROWS` bars have all features, or an hour of bars after them without
        a gap, or EM fails from every start.
    """
    require_bars(bars)
    table = _defined_features(bars, feature_set, window)
    names = tuple(table.columns)
    usable = np.isfinite(table.to_numpy()).all(axis=1)
    if usable.sum() < MIN_ROWS:
        raise FitError(
            f"training on {series_key(bars)[1]}: found {usable.sum()} bars with all features, "
            f"expected at least {MIN_ROWS}"
        )
    options: dict[str, Any] = {
        "n_regimes": n_regimes,
        "contamination": contamination,
        "seed": seed,
        "n_starts": n_starts,
        "regimes": regimes or usual_regimes(names),
        "regime_shares": None if regime_shares is None else [float(s) for s in regime_shares],
    }
    raw = table.to_numpy()[usable]
    scaler = make_scaler(names).fit(raw)
    rows = scaler.transform(raw)
    horizon = hour_of_bars(series_key(bars)[2])
    outcome = _outcomes(bars, horizon)[usable]
    lengths = _sequence_lengths(bars, usable)
    regime_model = make_regime_model(names, options, horizon, n_jobs)
    regime_model.fit(rows, lengths=lengths, volatility=outcome)
    steps = sequence_steps(lengths)
    return ModelBundle(
        feature_set=_set_name(names),
        features=names,
        window=window,
        scaler=scaler,
        detector=make_detector(names, options).fit(rows),
        regime_model=regime_model,
        **_stress(outcome, regime_model.tracker().track(rows, steps)),
        stress_horizon=horizon,
        options=options,
        versions=library_versions(),
        drift=drift_reference(names, raw, scaler, regime_model, steps, series_key(bars)[2]),
        **_provenance(bars, {**options, "features": names, "window": window}),
    )


def _defined_features(
    bars: pd.DataFrame, feature_set: str | Sequence[str], window: int
) -> pd.DataFrame:
    """Features of the bars; what they hardly ever define is left out, and told.

    Bars of other sources often tell no trades or no taker side; the rest can still be learnt from.
    """
    table = features_from_bars(bars, feature_names(feature_set), window)
    known = table.notna().mean()
    unknown = [str(name) for name in known.index[known < _HARDLY_EVER]]
    if unknown and len(unknown) < table.shape[1]:
        series = " ".join(series_key(bars))
        _log.warning("%s: trained without %s, hardly ever defined here", series, " ".join(unknown))
        table = table.drop(columns=unknown)
    return table


def bars_hash(bars: pd.DataFrame) -> str:
    """sha256 of the series, times and values of a bars frame."""
    digest = hashlib.sha256(" ".join(series_key(bars)).encode())
    digest.update(pd.DatetimeIndex(bars.index).as_unit("us").asi8.tobytes())
    for name in BAR_VALUES:
        digest.update(np.ascontiguousarray(bars[name].to_numpy()).tobytes())
    return digest.hexdigest()


def _provenance(bars: pd.DataFrame, options: dict[str, Any]) -> dict[str, Any]:
    market, symbol, interval = series_key(bars)
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    start, end = int(times[0]), int(times[-1]) + interval_us(interval)
    data_hash = bars_hash(bars)
    recipe = hashlib.sha256((data_hash + json.dumps(options, sort_keys=True)).encode())
    return {
        "bundle_id": f"{market}-{symbol}-{interval}-{recipe.hexdigest()[:12]}",
        "market": market,
        "symbol": symbol,
        "interval": interval,
        "start": start,
        "end": end,
        "n_bars": len(bars),
        "coverage": len(bars) * interval_us(interval) / (end - start),
        "data_hash": data_hash,
    }


def _outcomes(bars: pd.DataFrame, horizon: int) -> npt.NDArray[np.float64]:
    outcomes = forward_log_volatility(bars, horizon).to_numpy()
    if (n_known := int(np.isfinite(outcomes).sum())) < MIN_ROWS:
        raise FitError(
            f"training on {series_key(bars)[1]}: found {n_known} bars that are followed by "
            f"{horizon} bars without a gap, expected at least {MIN_ROWS} to name the regimes by"
        )
    return outcomes


def _sequence_lengths(bars: pd.DataFrame, usable: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of usable bars within which no bar is missing."""
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8[usable]
    breaks = np.flatnonzero(np.diff(times) != interval_us(series_key(bars)[2])) + 1
    return [int(n) for n in np.diff([0, *breaks, len(times)])]


def _stress(outcome: npt.NDArray[np.float64], known: Track) -> dict[str, Any]:
    return {
        "stress_by_regime": weighted_means(outcome, known.probs),
        "stress_by_state": weighted_means(outcome, known.states),
    }


def _set_name(names: tuple[str, ...]) -> str:
    return next((name for name, members in FEATURE_SETS.items() if members == names), "custom")
