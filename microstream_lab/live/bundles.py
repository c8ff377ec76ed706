"""Which bundle a live session scores with: the one asked for, the current one, or one made now.

Invariant: never a bundle of another series, unless it was handed over as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from microstream_lab.bundle import ModelBundle
from microstream_lab.live.tidings import Model
from microstream_lab.registry import Registry
from microstream_lab.settings import Settings
from microstream_lab.training import train_bundle

__all__ = ["Chosen", "choose", "newer", "train_provisional"]

Series = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A bundle, its version in the registry (empty if it has none), and whether it is a makeshift.

    A `pinned` bundle was asked for and is not replaced when another becomes current.
    """

    bundle: ModelBundle
    version: str = ""
    provisional: bool = False
    pinned: bool = False

    def told(self, since: int) -> Model:
        """The tiding that it scores from `since` (us) on."""
        bundle = self.bundle
        return Model(
            bundle.bundle_id,
            self.version,
            bundle.n_regimes,
            bundle.features,
            float(bundle.detector.threshold_),
            since,
            self.provisional,
        )


def choose(registry: Registry, series: Series, wanted: ModelBundle | str | None) -> Chosen | None:
    """The bundle to begin with; None if there is none for the series.

    Parameters
    ----------
    registry : Registry
        The user's bundles.
    series : tuple of str
        Market, symbol and interval.
    wanted : ModelBundle, str or None
        A bundle, a version of the registry, or whatever is current.
    """
    market, symbol, interval = series
    if isinstance(wanted, ModelBundle):
        return Chosen(wanted, pinned=True)
    version = wanted or registry.current(symbol, interval, market)
    if version is None:
        return None
    bundle = registry.load(symbol, interval, version, market)
    return Chosen(bundle, version, pinned=wanted is not None)


def newer(registry: Registry, series: Series, now: Chosen) -> Chosen | None:
    """The current bundle of the registry if it is not the one in use."""
    market, symbol, interval = series
    version = registry.current(symbol, interval, market)
    if now.pinned or version is None or version == now.version:
        return None
    return Chosen(registry.load(symbol, interval, version, market), version)


def train_provisional(bars: pd.DataFrame, settings: Settings) -> Chosen:
    """A bundle trained on the history at hand, as the settings say."""
    bundle = train_bundle(
        bars,
        n_regimes=settings.hmm_n_components,
        contamination=settings.isolation_forest_contamination,
        window=settings.feature_window_size,
        n_starts=2,
    )
    return Chosen(bundle, provisional=True)
