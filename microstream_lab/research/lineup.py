"""Who stands in the tables beside a bundle: every baseline by name, as something to train.

Invariant: a trainer is a picklable function of training bars, so that a baseline can be judged
once, walked forward, or sent to another process like any bundle's training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import pandas as pd

from microstream_lab.errors import SettingsError
from microstream_lab.research.baselines import EwmaThresholds
from microstream_lab.research.clusters import KMeansRegimes, NaiveHmm, SeedRecipe
from microstream_lab.research.har import HarRegression
from microstream_lab.research.peers import JumpModelRegimes, MarkovSwitching, RiverClusters

__all__ = [
    "DEFAULT_RECIPE",
    "GROUPS",
    "Estimator",
    "Trainer",
    "fit_all",
    "lineup",
    "recipe_trainers",
]


class Estimator(Protocol):
    """A fitted bundle or baseline."""

    def signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """``regime``, ``p_0 .. p_{K-1}`` (filtered) and ``expected_stress`` of every bar."""


class Trainer(Protocol):
    """Fits something on training bars."""

    def __call__(self, bars: pd.DataFrame, /, **options: Any) -> Estimator:
        """The fitted estimator."""


Shares: TypeAlias = Sequence[float]

RARE_CRISIS: Final = (0.5, 0.4, 0.1)
EVEN: Final = (0.25, 0.5, 0.25)
_STEADY: Final = 0.15
GROUPS: Final = ("ewma", "har", "seed", "kmeans", "peers")
"""Names that :func:`lineup` knows."""
DEFAULT_RECIPE: Final = "default"
"""What :func:`recipe_trainers` calls a bundle trained without naming a feature set."""


def lineup(
    groups: Iterable[str] = GROUPS[:4],
    shares: Sequence[Shares] = (RARE_CRISIS, EVEN),
    max_switches: float = _STEADY,
) -> dict[str, Trainer]:
    """Trainers of baselines by the name they have in tables.

    Parameters
    ----------
    groups : iterable of str
        Any of :data:`GROUPS`: EWMA thresholds and HAR regression, each plain and with hysteresis;
        the seed recipe as most people write it; k-means; and other people's models.
    shares : sequence of sequences
        Training shares that EWMA and HAR are cut at, calmest first.
    max_switches : float
        Switches an hour that hysteresis allows on the training bars.

    Raises
    ------
    SettingsError
        If a group is unknown.
    """
    makers: dict[str, dict[str, Trainer]] = {
        "ewma": _cut("EWMA", EwmaThresholds, shares, max_switches),
        "har": _cut("HAR", HarRegression, shares, max_switches),
        "seed": {"naive HMM": partial(_fitted, kind=NaiveHmm)},
        "kmeans": {"k-means": partial(_fitted, kind=KMeansRegimes)},
        "peers": {
            "jump model (jumpmodels)": partial(_fitted, kind=JumpModelRegimes),
            "Markov switching (statsmodels)": partial(_fitted, kind=MarkovSwitching),
            "online k-means (river)": partial(_fitted, kind=RiverClusters),
        },
    }
    chosen: dict[str, Trainer] = {}
    for group in groups:
        if group not in makers:
            raise SettingsError(f"baseline: found {group!r}, expected one of {' '.join(GROUPS)}")
        chosen |= makers[group]
    return chosen


def recipe_trainers(names: Iterable[str], **options: Any) -> dict[str, Trainer]:
    """Trainers of bundles by feature set, or by ``default``; `options` are of ``train_bundle``."""
    from microstream_lab.training import train_bundle  # slow to import, hence only if asked

    found: dict[str, Trainer] = {}
    for name in names:
        chosen = options if name == DEFAULT_RECIPE else options | {"feature_set": name}
        found[f"bundle {name}"] = partial(train_bundle, **chosen)
    return found


def fit_all(
    trainers: Mapping[str, Trainer], bars: pd.DataFrame
) -> tuple[dict[str, Estimator], dict[str, str]]:
    """Fit each on training `bars`; those whose library is missing come back with the reason."""
    fitted: dict[str, Estimator] = {}
    skipped: dict[str, str] = {}
    for name, trainer in trainers.items():
        try:
            fitted[name] = trainer(bars)
        except ImportError as error:
            skipped[name] = f"{error.name or error} is not installed: pip install .[peers]"
    return fitted, skipped


def _fitted(bars: pd.DataFrame, /, *, kind: type[Any], **options: Any) -> Estimator:
    if not issubclass(kind, SeedRecipe):
        options.pop("seed", None)  # nothing in a cut is random
    estimator: Estimator = kind(**options).fit(bars)
    return estimator


def _cut(
    name: str, kind: type[Any], shares: Sequence[Shares], max_switches: float
) -> dict[str, Trainer]:
    """A level cut at each of the `shares`, plain and with hysteresis."""
    found: dict[str, Trainer] = {}
    for parts in shares:
        title = f"{name} {'/'.join(f'{100 * share:g}' for share in parts)}"
        found[title] = partial(_fitted, kind=kind, shares=tuple(parts))
        found[f"{title} steady"] = partial(
            _fitted, kind=kind, shares=tuple(parts), max_switches=max_switches
        )
    return found
