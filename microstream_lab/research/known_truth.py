"""Recovery of regimes that are known: two published studies, and the simulated market.

Each estimate is scored twice. ``viterbi, best permutation`` is what papers print: hindsight, and
labels renamed to serve each sequence best. ``filter, as named`` is what somebody watching sees: the
regime of the highest filtered probability, under the name the model itself gives it.

The studies: ``features`` (means of 15 noisy features differ; regimes are named by their level, the
highest first), ``daily returns`` (volatility differs; named by it), and ``simulated market``
(bundles trained on the first half of a market's minutes and judged on the second).

Invariant: sequences follow from the seed; options of the estimates were chosen on other seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import SettingsError
from microstream_lab.research.recall import balanced_accuracy
from microstream_lab.research.side_by_side import side_by_side
from microstream_lab.research.truth_studies import (
    DAILY,
    FEATURES,
    FILTER,
    MARKET,
    VITERBI,
    Scores,
    daily_scores,
    features_scores,
    market_scores,
)

__all__ = ["FULL", "PUBLISHED", "QUICK", "Sizes", "known_truth", "published", "standings"]

Floats: TypeAlias = npt.NDArray[np.float64]
_MUS: Final = (0.25, 0.5, 0.75, 1.0)
_KEYS: Final = ("study", "setting", "estimate", "figure")


@dataclass(frozen=True)
class Sizes:
    """Sequences of each setting; 0 leaves it out.

    Attributes
    ----------
    features : int
        Of the features study, for each of four distances between the means.
    daily : mapping of int to int
        Of the daily study, by number of rows.
    markets, market_bars : int
        Simulated markets, and minutes of each.
    """

    features: int
    daily: Mapping[int, int]
    markets: int
    market_bars: int = 4 * 1440


FULL: Final = Sizes(features=100, daily={500: 100, 1000: 300, 2000: 100}, markets=10)
QUICK: Final = Sizes(features=1, daily={500: 2}, markets=1, market_bars=1440)


def known_truth(
    sizes: Sizes = FULL, seed: int = 0, n_jobs: int | None = None, progress: bool = False
) -> pd.DataFrame:
    """Score every estimate on every study.

    Parameters
    ----------
    sizes : Sizes
        How many sequences; :data:`QUICK` takes seconds, :data:`FULL` minutes.
    seed : int
        Of the sequences and of the fits.
    n_jobs : int, optional
        Processes; the table does not depend on it.
    progress : bool
        Show a bar.

    Returns
    -------
    DataFrame
        Columns ``study setting estimate figure``, then ``value`` (balanced accuracy: mean over
        regimes of the mean recall over sequences), ``sd`` (over sequences), ``low high`` (90 %
        bootstrap interval over sequences) and ``n``.
    """
    tasks = list(_tasks(sizes, seed))
    if not tasks:
        raise SettingsError(f"sizes: found {sizes}, expected one sequence at least")
    places, functions = zip(*tasks, strict=True)
    done = side_by_side(functions, n_jobs, progress, "known truth", "sequence")
    gathered: dict[tuple[str, str, str, str], list[Floats]] = {}
    for place, scores in zip(places, done, strict=True):
        for key, recalls in scores.items():
            gathered.setdefault((*place, *key), []).append(recalls)
    rows = [
        dict(zip(_KEYS, key, strict=True)) | balanced_accuracy(recalls, seed=seed)._asdict()
        for key, recalls in gathered.items()
    ]
    return pd.DataFrame(rows)


def published() -> pd.DataFrame:
    """What the papers print for the same chains, in the columns of :func:`known_truth`."""
    rows = [
        (study, f"{name} = {setting:g}", f"published: {estimate}", VITERBI, value)
        for (study, name, estimate), values in PUBLISHED.items()
        for setting, value in values.items()
    ]
    return pd.DataFrame(rows, columns=[*_KEYS, "value"])


def standings(table: pd.DataFrame) -> pd.DataFrame:
    """:func:`known_truth` beside :func:`published`, as read: one row an estimate and setting."""
    both = pd.concat([table, published()], ignore_index=True)
    asked = both[both["setting"].isin(table["setting"].unique())]
    keys = list(_KEYS[:3])
    wide = asked.set_index(list(_KEYS))["value"].unstack("figure")  # noqa: PD010
    spread = table[table["figure"] == FILTER].set_index(keys)[["low", "high", "n"]]
    told = wide.join(spread.rename(columns={"low": f"{FILTER}: low", "high": f"{FILTER}: high"}))
    # as tried, not by the alphabet; the papers come last in each setting
    settings = {setting: rank for rank, setting in enumerate(asked["setting"].unique())}
    tried = asked[keys].drop_duplicates()
    tried = tried.sort_values("setting", key=lambda names: names.map(settings), kind="stable")
    return told.loc[pd.MultiIndex.from_frame(tried)]


PUBLISHED: Final[Mapping[tuple[str, str, str], Mapping[float, float]]] = {
    (FEATURES, "mu", "HMM"): dict(zip(_MUS, (0.59, 0.70, 0.81, 0.86), strict=True)),
    (FEATURES, "mu", "jump model"): dict(zip(_MUS, (0.69, 0.85, 0.90, 0.92), strict=True)),
    (DAILY, "rows", "true parameters"): {500: 0.8145, 1000: 0.8432, 2000: 0.8807},
    (DAILY, "rows", "HMM"): {500: 0.5403, 1000: 0.5534, 2000: 0.5756},
    (DAILY, "rows", "continuous jump model"): {500: 0.7399, 1000: 0.7521, 2000: 0.7810},
}
"""Balanced accuracies by study, setting and estimate; papers are named in ``chains``."""


def _tasks(sizes: Sizes, seed: int) -> Iterator[tuple[tuple[str, str], Callable[[], Scores]]]:
    for mu in _MUS:
        for number in range(sizes.features):
            yield (FEATURES, f"mu = {mu:g}"), partial(features_scores, mu, seed, number)
    for n_rows, n_sequences in sizes.daily.items():
        for number in range(n_sequences):
            yield (DAILY, f"rows = {n_rows}"), partial(daily_scores, n_rows, seed, number)
    for number in range(sizes.markets):
        place = (MARKET, f"minutes = {sizes.market_bars}")
        yield place, partial(market_scores, sizes.market_bars, seed, number)
