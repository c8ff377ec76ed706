"""Which bundle a live session scores with: the one asked for, the current one, or one made now.

Invariant: never a bundle of another series, unless it was handed over as such, and never one of
another interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from microstream_lab.errors import BundleMismatchError, MicrostreamError
from microstream_lab.live.tidings import Model
from microstream_lab.settings import Settings

if TYPE_CHECKING:  # models load after the first bars are on the screen
    from microstream_lab.bundle import ModelBundle
    from microstream_lab.registry import Registry

__all__ = ["Chosen", "Shelf", "train_provisional"]

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

    def looks_like(self, other: Chosen | None) -> bool:
        """Whether both say the same kind of things: as many regimes, the same features."""
        return other is not None and (self.bundle.features, self.bundle.n_regimes) == (
            other.bundle.features,
            other.bundle.n_regimes,
        )


class Shelf:
    """The bundles there are for one series.

    Parameters
    ----------
    settings : Settings
        Where the registry is.
    series : tuple of str
        Market, symbol and interval.
    """

    def __init__(self, settings: Settings, series: Series) -> None:
        self._settings, self._series = settings, series
        self._refused = ""

    @cached_property
    def _registry(self) -> Registry:
        from microstream_lab.registry import Registry

        return Registry(self._settings.models_path)

    def choose(self, wanted: ModelBundle | str | None) -> Chosen | None:
        """The bundle to begin with; None if there is none for the series.

        Parameters
        ----------
        wanted : ModelBundle, str or None
            A bundle, a version of the registry, or whatever is current.

        Raises
        ------
        BundleMismatchError
            If a bundle was handed over that was made for another interval.
        BundleError
            If the version cannot be found or used.
        """
        market, symbol, interval = self._series
        if wanted is not None and not isinstance(wanted, str):
            if wanted.interval != interval:
                raise BundleMismatchError(
                    f"bundle {wanted.bundle_id}: found interval {wanted.interval}, "
                    f"expected {interval}"
                )
            return Chosen(wanted, pinned=True)
        version = wanted or self._registry.current(symbol, interval, market)
        if version is None:
            return None
        bundle = self._registry.load(symbol, interval, version, market)
        return Chosen(bundle, version, pinned=wanted is not None)

    def newer(self, now: Chosen | None) -> Chosen | None:
        """The current bundle of the registry if it is not the one in use.

        Raises
        ------
        MicrostreamError
            If it cannot be used; that version is not offered again.
        """
        market, symbol, interval = self._series
        if now is not None and now.pinned:
            return None
        version = self._registry.current(symbol, interval, market)
        if version is None or version in (self._refused, now.version if now else ""):
            return None
        try:
            return Chosen(self._registry.load(symbol, interval, version, market), version)
        except MicrostreamError:
            self.refuse(version)
            raise

    def refuse(self, version: str) -> None:
        """Do not offer this version again."""
        self._refused = version


def train_provisional(bars: pd.DataFrame, settings: Settings) -> Chosen:
    """A bundle trained on the history at hand, as the settings say."""
    from microstream_lab.training import train_bundle

    bundle = train_bundle(
        bars,
        n_regimes=settings.hmm_n_components,
        contamination=settings.isolation_forest_contamination,
        window=settings.feature_window_size,
        n_starts=2,
    )
    return Chosen(bundle, provisional=True)
