"""Which bundle a live session scores with: the one asked for, the current one, or one made now.

Invariant: never a bundle of another series, unless it was handed over as such, and never one of
another interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from microstream_lab.errors import BundleError, BundleMismatchError, MicrostreamError
from microstream_lab.live.tidings import Model
from microstream_lab.settings import Settings

if TYPE_CHECKING:  # models load after the first bars are on the screen
    from microstream_lab.bundle import ModelBundle
    from microstream_lab.registry import Registry

__all__ = ["Chosen", "Shelf", "suited", "train_provisional"]

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

    Attributes
    ----------
    in_use : Chosen or None
        What the session scores with.
    """

    def __init__(self, settings: Settings, series: Series) -> None:
        self._settings, self._series = settings, series
        self._refused = ""
        self._due: Chosen | None = None
        self.in_use: Chosen | None = None

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

    def look(self) -> None:
        """See which bundle is due at the next bar: the current one, unless it is in use.

        Raises
        ------
        BundleError
            If it cannot be used; that version is not offered again.
        """
        using, due = self.in_use, self._due
        if using is not None and using.pinned:
            return
        market, symbol, interval = self._series
        version = self._registry.current(symbol, interval, market)
        if version is None or version in (self._refused, using.version if using else ""):
            self._due = None  # also after a rollback, should another have been due
        elif due is None or due.version != version:
            try:
                bundle = self._registry.load(symbol, interval, version, market)
            except MicrostreamError as error:
                self.refuse(version)
                raise BundleError(f"the new bundle cannot be used: {error}") from error
            self._due = Chosen(bundle, version)

    @property
    def is_due(self) -> bool:
        """Whether a bundle waits to be taken."""
        return self._due is not None

    def take(self) -> Chosen | None:
        """The bundle that is due, once; None if none is."""
        due, self._due = self._due, None
        in_use = self.in_use.version if self.in_use else ""
        return None if due is None or due.version == in_use else due

    def refuse(self, version: str) -> None:
        """Do not offer this version again."""
        self._refused, self._due = version, None


def suited(
    wanted: ModelBundle | str | None, asked: Series, series: Series
) -> tuple[ModelBundle | str | None, str]:
    """The bundle asked for, unless the series it was asked for is not the one we have; and a word.

    Parameters
    ----------
    wanted : ModelBundle, str or None
        A bundle, a version of the registry, or whatever is current.
    asked, series : tuple of str
        Market, symbol and interval, as asked for and as they turned out.
    """
    symbol = None if wanted is None or isinstance(wanted, str) else wanted.symbol
    name = " ".join(series[1:])
    if wanted is None or symbol == series[1]:
        return wanted, ""
    if series != asked:
        return None, f"the bundle asked for is not made for {name} and is not used"
    if symbol is not None:
        return wanted, f"{name} is scored with a bundle of {symbol}, as asked for"
    return wanted, ""


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
