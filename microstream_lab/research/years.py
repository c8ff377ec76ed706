"""One year after another: fitted on its first months and judged on the rest, beside baselines.

Invariant: years share nothing, so a model made for one of them shows in the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import pandas as pd

from microstream_lab.errors import DataError
from microstream_lab.models.bands import usual_shares
from microstream_lab.research.duel import duel
from microstream_lab.research.evaluate import evaluate, judged_outcomes
from microstream_lab.research.folds import Span
from microstream_lab.research.lineup import DEFAULT_RECIPE, Trainer, lineup, recipe_trainers
from microstream_lab.research.refits import expanding_walk
from microstream_lab.research.side_by_side import side_by_side
from microstream_lab.schema import hour_of_bars, series_key

__all__ = ["FIGURES", "GAINS", "contestants", "over_years"]

FIGURES: Final = "Other years"
GAINS: Final = "Other years: gains"
_MONTH_DAY: Final = "05-01"
_JUDGED: Final = ("eta_squared", "auc_stress", "switches_per_hour")
_DAY_US: Final = 86_400_000_000
_EDGE: Final = pd.Timedelta("2D")

Tables = tuple[pd.DataFrame, pd.DataFrame]


def contestants() -> dict[str, Trainer]:
    """The default, and EWMA and HAR cut at its shares and held on to."""
    rivals = lineup(("ewma", "har"), (usual_shares(3),))
    steady = {name: each for name, each in rivals.items() if name.endswith("steady")}
    return recipe_trainers([DEFAULT_RECIPE]) | steady


def over_years(
    bars: pd.DataFrame,
    trainers: Mapping[str, Trainer] | None = None,
    refits: Sequence[Span | None] = (None, "30D"),
    start: str = _MONTH_DAY,
    *,
    n_jobs: int | None = None,
    progress: bool = False,
) -> dict[str, pd.DataFrame]:
    """Figures of each year, and what the first of the `trainers` gains over the others.

    Parameters
    ----------
    bars : DataFrame
        Bars frame; years that it does not cover to their ends are left out.
    trainers : mapping, optional
        By name; :func:`contestants` by default.
    refits : sequence of None, int, str or Timedelta
        Time between refits on all bars of the year so far; None fits once.
    start : str
        First day judged of each year, as ``MM-DD``; the days before it train.
    n_jobs : int, optional
        Processes; the tables do not depend on it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict of DataFrame
        Under :data:`FIGURES` a row a fit, year and estimate; under :data:`GAINS` a row a fit, year
        and rival. Columns ``low`` and ``high`` are the 90 % interval of what is before them.

    Raises
    ------
    DataError
        If the bars cover no year.
    """
    years = _whole_years(bars)
    known = dict(trainers or contestants())
    tasks = {
        ("once" if refit is None else f"every {refit}", year): partial(
            _judged, part, f"{year}-{start}", known, refit
        )
        for refit in refits
        for year, part in years.items()
    }
    done = side_by_side(list(tasks.values()), n_jobs, progress, "years")
    figures, gains = zip(*done, strict=True)
    keys, names = list(tasks), ["fitted", "year"]
    return {
        FIGURES: pd.concat(figures, keys=keys, names=[*names, "estimate"]),
        GAINS: pd.concat(gains, keys=keys, names=[*names, "over"]),
    }


def _whole_years(bars: pd.DataFrame) -> dict[int, pd.DataFrame]:
    found = {}
    for year, part in bars.groupby(pd.DatetimeIndex(bars.index).year):
        begin, end = (pd.Timestamp(f"{y}-01-01", tz="UTC") for y in (year, int(year) + 1))
        if part.index[0] - begin < _EDGE and end - part.index[-1] < _EDGE:
            found[int(year)] = part
    if not found:
        span = f"bars from {bars.index[0]:%Y-%m-%d} to {bars.index[-1]:%Y-%m-%d}"
        raise DataError("years", span, "all bars of a calendar year, or of several")
    return found


def _judged(
    bars: pd.DataFrame, start: str, trainers: Mapping[str, Trainer], refit: Span | None
) -> Tables:
    """Figures by estimate, and gains of the first by rival."""
    signals = {name: _signals(each, bars, start, refit) for name, each in trainers.items()}
    summaries = evaluate(signals, bars, start, baselines=False)
    table = {
        f"{figure}{'' if column == 'value' else ' ' + column}": summaries.summary(column)[figure]
        for figure in _JUDGED
        for column in ("value", "low", "high")
    }
    figures = pd.DataFrame(table)
    outcomes = judged_outcomes(bars[bars.index >= start], hour_of_bars(series_key(bars)[2]))
    (own, first), *rivals = (
        (name, each.reindex(outcomes.index).fillna({"regime": -1}))
        for name, each in signals.items()
    )
    switches = figures["switches_per_hour"]
    gains = {}
    for name, rival in rivals:
        both = duel(first, rival, outcomes, _DAY_US)
        gains[name] = {
            **both.loc["eta_squared", ["gain", "low", "high"]].rename({"gain": "eta_squared"}),
            "auc_stress": both.loc["auc_stress", "gain"],
            "switches_per_hour": switches[own] - switches[name],
        }
    return figures, pd.DataFrame(gains).T


def _signals(trainer: Trainer, bars: pd.DataFrame, start: str, refit: Span | None) -> pd.DataFrame:
    if refit is not None:
        return expanding_walk(trainer, bars, start, refit).signals
    signals = trainer(bars[bars.index < start]).signals(bars)
    return signals[signals.index >= start]
