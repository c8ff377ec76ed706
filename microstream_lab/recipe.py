"""Which model looks at what: a feature set, and the parts of a bundle made for it.

Invariant: the parts are decided by the features and the options alone, before any bar is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microstream_lab.errors import SettingsError
from microstream_lab.features import FEATURES, HorizonFeature, SurpriseFeature
from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.levels import LevelModel
from microstream_lab.models.regime import RegimeModel
from microstream_lab.models.scaler import FeatureScaler

__all__ = ["make_detector", "make_regime_model", "make_scaler", "usual_regimes"]

_SENTINELS: Final = 0.15
_SHOCK: Final = "span_60"
"""What tells a crisis as it happens; see :mod:`microstream_lab.models.holding`."""


def usual_regimes(features: Sequence[str]) -> str:
    """``levels`` for features that know a horizon, ``hmm`` for others."""
    return "levels" if _of_the_level(features) else "hmm"


def make_scaler(features: Sequence[str]) -> FeatureScaler:
    """A scaler that knows which of the features are skewed, and which lie on a circle."""
    kinds = [FEATURES[name] for name in features]
    return FeatureScaler([kind.skewed for kind in kinds], [kind.cyclic for kind in kinds])


def make_detector(features: Sequence[str], options: dict[str, Any]) -> AnomalyDetector:
    """A detector that looks at the bar itself, not at the level that the market is on.

    It looks at how the bar differs from the hour before, where features tell; otherwise at all
    that is not of the level, and where no feature is of the level, or all are, at all of them.
    """
    contamination, seed = options["contamination"], options["seed"]
    if len(surprises := _of_surprise(features)) > 1:
        return AnomalyDetector(
            contamination, random_state=seed, columns=surprises, sentinels=_SENTINELS
        )
    level, clock = _of_the_level(features), _of_the_clock(features)
    others = [column for column in range(len(features)) if column not in (*level, *clock)]
    columns = others if others and len(others) < len(features) else None
    return AnomalyDetector(contamination, random_state=seed, columns=columns)


def make_regime_model(
    features: Sequence[str], options: dict[str, Any], hour: int, n_jobs: int | None = None
) -> RegimeModel | LevelModel:
    """The regime model that ``options["regimes"]`` names.

    Raises
    ------
    SettingsError
        If there is no such model, or it has no shares to set.
    """
    n_regimes, shares = options["n_regimes"], options["regime_shares"]
    if options["regimes"] == "levels":
        columns, clock = _of_the_forecast(features) or None, _of_the_clock(features)
        return LevelModel(
            n_regimes,
            shares,
            columns=columns,
            clock=clock[0] if clock else None,
            hour=hour,
            shock=features.index(_SHOCK) if _SHOCK in features else None,
        )
    if options["regimes"] != "hmm" or shares is not None:
        raise SettingsError(
            f"regimes: found {options['regimes']!r} with shares {shares}, "
            "expected 'levels', or 'hmm' without shares"
        )
    return RegimeModel(n_regimes, options["n_starts"], random_state=options["seed"], n_jobs=n_jobs)


def _of_surprise(features: Sequence[str]) -> list[int]:
    """Columns of features that tell how a bar differs from the hour before."""
    return [
        column
        for column, name in enumerate(features)
        if issubclass(FEATURES[name], SurpriseFeature)
    ]


def _of_the_level(features: Sequence[str]) -> list[int]:
    """Columns of features with a horizon, which tell how volatile and busy the market is."""
    kinds = [FEATURES[name] for name in features]
    return [
        column
        for column, kind in enumerate(kinds)
        if issubclass(kind, HorizonFeature) and kind.skewed
    ]


def _of_the_forecast(features: Sequence[str]) -> list[int]:
    """Columns that the coming hour is forecast from: a shock is over before its span is."""
    return [column for column in _of_the_level(features) if features[column] != _SHOCK]


def _of_the_clock(features: Sequence[str]) -> list[int]:
    return [column for column, name in enumerate(features) if FEATURES[name].cyclic]
