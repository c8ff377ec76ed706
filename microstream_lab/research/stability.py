"""Whether a label means the same a refit later, from another seed, and in hindsight.

Invariant: labels are compared as they are named, never after the best permutation, on bars that
come after both trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.research.bootstrap import day_starts, interval_of_sums
from microstream_lab.research.folds import Span
from microstream_lab.research.lineup import Estimator, Trainer
from microstream_lab.research.refits import expanding_walk
from microstream_lab.research.walkforward import WalkForward, walk_forward
from microstream_lab.schema import as_micros

__all__ = [
    "Agreement",
    "agreement",
    "agreement_of_folds",
    "hindsight_gap",
    "refit_agreement",
    "seed_agreement",
    "stability_table",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Pair: TypeAlias = tuple[pd.DataFrame, pd.DataFrame]


class Agreement(NamedTuple):
    """Share of bars that two estimates label alike, of those that both label; 0 .. 1."""

    value: float
    low: float
    high: float


class Smoother(Protocol):
    """An estimate that also knows what hindsight says."""

    def smoothed_signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """``p_0_smoothed .. p_{K-1}_smoothed`` of every bar, given all of them."""


def agreement(
    pairs: Sequence[Pair], level: float = 0.9, n_resamples: int = 500, seed: int = 0
) -> Agreement:
    """Agreement over all `pairs` of signals frames together, with an interval over days.

    Both frames of a pair are on the same bars. NaN where no bar is labelled by both.
    """
    daily = np.vstack([_alike_by_day(*pair) for pair in pairs])
    low, high = interval_of_sums(daily, _share, level, n_resamples, seed=seed)
    return Agreement(float(_share(daily.sum(axis=0)[None])[0]), float(low), float(high))


def stability_table(
    trainers: Mapping[str, Trainer],
    bars: pd.DataFrame,
    start: object,
    refit: Span = "30D",
    seeds: Sequence[int] = (0, 1),
) -> pd.DataFrame:
    """One row a trainer: agreement of refits and of seeds, and what hindsight changes.

    Parameters
    ----------
    trainers : mapping
        By name; those whose library is missing are left out.
    bars : DataFrame
        Bars frame; those before `start` are the first training.
    start : time
        Where the first refit begins to be used.
    refit : int, str or Timedelta
        Time between refits.
    seeds : sequence of int
        Seeds to compare; fewer than two compare nothing.
    """
    row = int(bars.index.searchsorted(pd.Timestamp(as_micros(start), unit="us", tz="UTC")))
    training, rows = bars.iloc[:row], {}
    for name, trainer in trainers.items():
        try:
            walk = expanding_walk(trainer, bars, start, refit)
        except ImportError:
            continue
        refits = agreement_of_folds(walk, bars)
        alike = seed_agreement(training, bars, trainer, seeds).value if len(seeds) > 1 else np.nan
        gap = hindsight_gap(walk.bundles[0], bars.iloc[row:])
        rows[name] = [refits.value, refits.low, refits.high, alike, gap]
    columns = ["refits agree", "low", "high", "seeds agree", "hindsight changes"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("estimate")


def refit_agreement(
    bars: pd.DataFrame,
    trainer: Trainer,
    train: Span = "90D",
    refit: Span = "30D",
    *,
    expanding: bool = True,
    **options: Any,
) -> Agreement:
    """Agreement of each refit with the one before it, over the time until the next.

    Parameters
    ----------
    bars : DataFrame
        Bars frame; needs `train` and at least two times `refit`.
    trainer : callable
        What is refitted.
    train, refit : int, str or Timedelta
        First training window, and the time between refits.
    **options
        For the trainer.
    """
    walk = walk_forward(bars, train, refit, expanding=expanding, trainer=trainer, **options)
    return agreement_of_folds(walk, bars)


def agreement_of_folds(walk: WalkForward, bars: pd.DataFrame) -> Agreement:
    """Agreement of each fold's bundle with the one before it, on the later one's test window.

    Parameters
    ----------
    walk : WalkForward
        At least two folds.
    bars : DataFrame
        The bars it walked over.
    """
    pairs = []
    for number in range(1, len(walk.bundles)):
        newer = walk.signals[walk.signals["fold"] == number]
        pairs.append((newer, _on(walk.bundles[number - 1], bars, newer.index)))
    return agreement(pairs)


def seed_agreement(
    training: pd.DataFrame,
    bars: pd.DataFrame,
    trainer: Callable[..., Estimator],
    seeds: Sequence[int] = (0, 1, 2),
) -> Agreement:
    """Agreement of the first seed's fit with that of each other one, on the bars after training.

    Parameters
    ----------
    training, bars : DataFrame
        Bars to fit on, and all bars: those after the training are compared.
    trainer : callable
        ``trainer(training, seed=...)``.
    """
    later = pd.DatetimeIndex(bars.index[bars.index > training.index[-1]])
    found = [_on(trainer(training, seed=seed), bars, later) for seed in seeds]
    return agreement([(found[0], other) for other in found[1:]])


def hindsight_gap(estimate: Smoother | Estimator, bars: pd.DataFrame) -> float:
    """Share of bars whose label hindsight changes; NaN for an estimate without a smoother."""
    smoothed = getattr(estimate, "smoothed_signals", None)
    if smoothed is None:
        return float("nan")
    later = smoothed(bars).filter(regex=r"^p_\d+_smoothed$").to_numpy(np.float64)
    live = estimate.signals(bars)["regime"].to_numpy()  # type: ignore[union-attr]
    known = np.isfinite(later).all(axis=1) & (live >= 0)
    return float((later[known].argmax(axis=1) != live[known]).mean())


def _on(estimate: Any, bars: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    """Signals of the bars in `index`, with what comes before for warming up."""
    warmup = int(getattr(estimate, "warmup_bars", 2_000))
    row = int(bars.index.searchsorted(index[0]))
    end = int(bars.index.searchsorted(index[-1])) + 1
    signals: pd.DataFrame = estimate.signals(bars.iloc[max(0, row - warmup) : end])
    return signals.loc[index]


def _alike_by_day(one: pd.DataFrame, other: pd.DataFrame) -> Floats:
    """Bars labelled by both, and alike, by day: (n_days, 2)."""
    first, second = one["regime"].to_numpy(), other["regime"].to_numpy()
    known = (first >= 0) & (second >= 0)
    columns = (known, known & (first == second))
    starts = day_starts(pd.DatetimeIndex(one.index))
    return np.column_stack([np.add.reduceat(c.astype(np.float64), starts) for c in columns])


def _share(totals: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        share: Floats = totals[:, 1] / totals[:, 0]
    return share
