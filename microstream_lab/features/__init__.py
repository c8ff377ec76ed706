"""Bars to features: every feature has a batch face and a one-at-a-time face that agree."""

from microstream_lab.features.base import FEATURES, Feature, register
from microstream_lab.features.frame import (
    FEATURE_SETS,
    FeatureState,
    feature_names,
    features_from_bars,
)
from microstream_lab.features.seed import LogReturn, Range, RelativeVolume
from microstream_lab.features.volatility import Parkinson

__all__ = [
    "FEATURES",
    "FEATURE_SETS",
    "Feature",
    "FeatureState",
    "LogReturn",
    "Parkinson",
    "Range",
    "RelativeVolume",
    "feature_names",
    "features_from_bars",
    "register",
]
