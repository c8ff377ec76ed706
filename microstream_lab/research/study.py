"""Every table of the documentation in one go, on as many cores as asked.

A study is a list of small tasks, each a pure function of bars and one trainer, so that they run
side by side and the tables do not depend on how many did.

Invariant: nobody in a table has seen what he is judged by; see the modules that make the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import pandas as pd

from microstream_lab.research.contest import contest
from microstream_lab.research.crises import crises_table, walk_through_crises
from microstream_lab.research.evaluate import evaluate
from microstream_lab.research.figures import by_topic
from microstream_lab.research.folds import Span
from microstream_lab.research.lineup import GROUPS, Trainer, lineup, recipe_trainers
from microstream_lab.research.refits import contenders, expanding_walk
from microstream_lab.research.side_by_side import side_by_side
from microstream_lab.research.stability import agreement_of_folds, seed_agreement

__all__ = ["Market", "Study", "run_study", "study_tasks"]

Tables: TypeAlias = dict[str, pd.DataFrame]
Part: TypeAlias = Callable[[], Tables]

CRISIS_SHARES: Final = (0.5, 0.45, 0.05)
"""Shares at which alarms for the crises are cut: the usual 95 % quantile."""
HOUR: Final = "Fitted once"
REFITTED: Final = "Refitted on the way"
REFITS_AGREE: Final = "Agreement of successive refits"
SEEDS_AGREE: Final = "Agreement of seeds"
CONTEST: Final = "Regimes against volatility targeting"
CRISES: Final = "Known crises"
_EXPOSURE: Final = (1.0, 0.5, 0.0)


@dataclass(frozen=True, eq=False)
class Market:
    """What is studied: ``bars``, and where judging begins."""

    bars: pd.DataFrame
    start: str


@dataclass(frozen=True)
class Study:
    """What is tried, and how long its windows are.

    ``recipes`` are feature sets of bundles, or ``default``; ``groups`` are of
    :func:`microstream_lab.research.lineup.lineup`; ``refit`` is the time between refits,
    ``crisis_train`` and ``crisis_refit`` those of the crises, where the first recipe is judged.
    """

    recipes: Sequence[str] = ("default", "seed")
    groups: Sequence[str] = GROUPS
    refit: Span = "30D"
    crisis_train: Span = "365D"
    crisis_refit: Span = "30D"
    crisis_since: str = "2020-01-01"


def run_study(
    study: Study,
    market: Market,
    five: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    *,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Tables:
    """All tables by title.

    Parameters
    ----------
    study : Study
        What to try.
    market : Market
        For the coming hour, refits, stability and the contest.
    five, events : DataFrame, optional
        Bars and known crises for the table of alarms; left out unless both are given.
    n_jobs : int, optional
        Processes; the tables do not depend on it.
    progress : bool
        Show a progress bar.
    """
    parts = study_tasks(study, market, five, events)
    gathered: dict[str, list[pd.DataFrame]] = {}
    for tables in side_by_side(parts, n_jobs, progress, "evaluate"):
        for title, table in tables.items():
            gathered.setdefault(title, []).append(table)
    return dict(_readable(gathered))


def study_tasks(
    study: Study, market: Market, five: pd.DataFrame | None, events: pd.DataFrame | None
) -> list[Part]:
    """The parts of a study: functions without parameters, each giving tables by title."""
    own = recipe_trainers(study.recipes)
    everybody = own | lineup(study.groups)
    steady = {name: each for name, each in everybody.items() if _is_cheap(name)}
    first = dict(list(own.items())[:1])
    refitted = first | steady
    parts: list[Part] = []
    if five is not None and events is not None:
        # The default's walk takes longest: begun last, it would be waited for alone.
        alarms = first | lineup(("ewma", "har"), (CRISIS_SHARES,))
        parts += [partial(_crises, five, events, study, *alarm) for alarm in alarms.items()]
    parts += [partial(_once, market, name, each) for name, each in everybody.items()]
    parts += [partial(_walked, market, name, each, study.refit) for name, each in refitted.items()]
    parts += [partial(_seeds, market, name, each) for name, each in own.items()]
    return parts


def _is_cheap(name: str) -> bool:
    return name.startswith(("EWMA", "HAR"))


def _once(market: Market, name: str, trainer: Trainer) -> Tables:
    """The coming hour, by one fit on all that came before."""
    estimates, skipped = contenders({name: trainer}, market.bars, market.start)
    if skipped:
        return {f"{HOUR}: left out": pd.DataFrame({"reason": skipped}).rename_axis("estimate")}
    return {HOUR: evaluate(estimates, market.bars, market.start, baselines=False).table}


def _walked(market: Market, name: str, trainer: Trainer, refit: Span) -> Tables:
    """The coming hour, agreement and the contest, by refits on the way."""
    walk = expanding_walk(trainer, market.bars, market.start, refit)
    judged = evaluate({name: walk.signals}, market.bars, market.start, baselines=False)
    alike = pd.DataFrame({name: agreement_of_folds(walk, market.bars)._asdict()}).T
    return {
        REFITTED: judged.table,
        REFITS_AGREE: alike.rename_axis("estimate"),
        CONTEST: _contest(name, walk.signals, market.bars),
    }


def _seeds(market: Market, name: str, trainer: Trainer) -> Tables:
    training = market.bars[market.bars.index < market.start]
    alike = seed_agreement(training, market.bars, trainer)
    return {SEEDS_AGREE: pd.DataFrame({name: alike._asdict()}).T.rename_axis("estimate")}


def _contest(name: str, signals: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    result = contest(signals, bars.loc[signals.index], _EXPOSURE, decide_every=60)
    row = {
        "Sharpe": result.summary().loc["sharpe", "regimes"],
        "of targeting": result.summary().loc["sharpe", "targeting"],
        **result.difference.rename({"value": "difference"}),
        "turnover": result.regimes.turnover,
        "folds ahead": int((result.folds["regimes"] > result.folds["targeting"]).sum()),
        "folds": len(result.folds),
        "verdict": result.verdict().split(":")[0],
    }
    return pd.DataFrame({name: row}).T.rename_axis("estimate")


def _crises(
    five: pd.DataFrame,
    events: pd.DataFrame,
    study: Study,
    name: str,
    trainer: Trainer,
) -> Tables:
    windows = (study.crisis_train, study.crisis_refit)
    met = walk_through_crises(five, events, {name: trainer}, *windows, since=study.crisis_since)
    return {CRISES: crises_table(met)}


def _readable(gathered: Mapping[str, list[pd.DataFrame]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Parts put together, figures by topic."""
    for title, parts in gathered.items():
        told = pd.concat(parts)
        if "figure" in told.index.names:
            for topic, table in by_topic(told).items():
                yield f"{title}: {topic}", table
        else:
            yield title, told
