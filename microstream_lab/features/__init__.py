"""Bars to features: every feature has a batch face and a one-at-a-time face that agree."""

from microstream_lab.features.base import FEATURES, Feature, register
from microstream_lab.features.clock import TimeOfWeek
from microstream_lab.features.flow import TakerImbalance, Vpin
from microstream_lab.features.frame import (
    FEATURE_SETS,
    FeatureState,
    feature_names,
    features_from_bars,
)
from microstream_lab.features.horizon import HorizonFeature, register_horizons
from microstream_lab.features.impact import Amihud, KyleLambda
from microstream_lab.features.relative import (
    Activity,
    RelativeAmihud,
    RelativeQuoteVolume,
    RelativeRange,
    RelativeTradeSize,
    TradeIntensity,
)
from microstream_lab.features.returns import DownsideShare, EwmaVolatility, RealisedVolatility
from microstream_lab.features.seed import LogReturn, Range, RelativeVolume
from microstream_lab.features.size import MeanTradeSize
from microstream_lab.features.span import Span
from microstream_lab.features.spreads import CorwinSchultzSpread, RollSpread
from microstream_lab.features.surprise import (
    BodySurprise,
    ImpactSurprise,
    RangeSurprise,
    SurpriseFeature,
    TradesSurprise,
    WickSurprise,
)
from microstream_lab.features.volatility import GarmanKlass, MeanRange, Parkinson, YangZhang

__all__ = [
    "FEATURES",
    "FEATURE_SETS",
    "Activity",
    "Amihud",
    "BodySurprise",
    "CorwinSchultzSpread",
    "DownsideShare",
    "EwmaVolatility",
    "Feature",
    "FeatureState",
    "GarmanKlass",
    "HorizonFeature",
    "ImpactSurprise",
    "KyleLambda",
    "LogReturn",
    "MeanRange",
    "MeanTradeSize",
    "Parkinson",
    "Range",
    "RangeSurprise",
    "RealisedVolatility",
    "RelativeAmihud",
    "RelativeQuoteVolume",
    "RelativeRange",
    "RelativeTradeSize",
    "RelativeVolume",
    "RollSpread",
    "Span",
    "SurpriseFeature",
    "TakerImbalance",
    "TimeOfWeek",
    "TradeIntensity",
    "TradesSurprise",
    "Vpin",
    "WickSurprise",
    "YangZhang",
    "feature_names",
    "features_from_bars",
    "register",
    "register_horizons",
]
