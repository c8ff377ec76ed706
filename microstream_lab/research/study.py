"""Every table of the documentation in one go, on as many cores as asked.

A study is a list of small tasks, each a pure function of bars and one trainer, so that they run
side by side and the tables do not depend on how many did.

Invariant: nobody in a table has seen what he is judged by; see the modules that make the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import pandas as pd

from microstream_lab.research.contest import contest
from microstream_lab.research.crises import crises_table, walk_through_crises
from microstream_lab.research.evaluate import evaluate
from microstream_lab.research.figures import by_topic
from microstream_lab.research.folds import Span
from microstream_lab.research.lineup import GROUPS, Trainer, lineup, recipe_trainers
from microstream_lab.research.refits import contenders
from microstream_lab.research.stability import stability_table

__all__ = ["Market", "Study", "run_study", "study_tasks"]

Part: TypeAlias = tuple[str, Callable[[], pd.DataFrame]]

CRISIS_SHARES: Final = (0.5, 0.45, 0.05)
"""Shares at which alarms for the crises are cut: the usual 95 % quantile."""
HOUR: Final = "Fitted once"
REFITTED: Final = "Refitted on the way"
STABLE: Final = "Does a label mean the same"
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
    ``crisis_train`` and ``crisis_refit`` those of the crises.
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
) -> dict[str, pd.DataFrame]:
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
    from joblib import Parallel, delayed

    parts = study_tasks(study, market, five, events)
    done = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(task)() for _, task in parts)
    gathered: dict[str, list[pd.DataFrame]] = {}
    for (title, _), table in zip(parts, _counted(done, len(parts), progress), strict=True):
        gathered.setdefault(title, []).append(table)
    return dict(_readable(gathered))


def study_tasks(
    study: Study, market: Market, five: pd.DataFrame | None, events: pd.DataFrame | None
) -> list[Part]:
    """The parts of a study: to which table each belongs, and what makes it."""
    own = recipe_trainers(study.recipes)
    everybody = own | lineup(study.groups)
    steady = {name: each for name, each in everybody.items() if _is_cheap(name)}
    first = dict(list(own.items())[:1])
    parts: list[Part] = [
        (HOUR, partial(_hour, market, {name: each}, None)) for name, each in everybody.items()
    ]
    parts += [
        (REFITTED, partial(_hour, market, {name: each}, study.refit))
        for name, each in (first | steady).items()
    ]
    parts += [
        (STABLE, partial(_stability, market, {name: each}, study.refit))
        for name, each in (first | steady).items()
    ]
    parts += [
        (CONTEST, partial(_contest, market, name, each, study.refit))
        for name, each in (first | steady).items()
    ]
    if five is not None and events is not None:
        alarms = first | lineup(("ewma", "har"), (CRISIS_SHARES,))
        parts += [
            (CRISES, partial(_crises, five, events, {name: each}, study))
            for name, each in alarms.items()
        ]
    return parts


def _is_cheap(name: str) -> bool:
    return name.startswith(("EWMA", "HAR"))


def _hour(market: Market, trainers: Mapping[str, Trainer], refit: Span | None) -> pd.DataFrame:
    estimates, skipped = contenders(trainers, market.bars, market.start, refit)
    if skipped:
        return pd.DataFrame({"skipped": skipped}).rename_axis("estimate")
    return evaluate(estimates, market.bars, market.start, baselines=False).table


def _stability(market: Market, trainers: Mapping[str, Trainer], refit: Span) -> pd.DataFrame:
    return stability_table(trainers, market.bars, market.start, refit)


def _contest(market: Market, name: str, trainer: Trainer, refit: Span) -> pd.DataFrame:
    found, _ = contenders({name: trainer}, market.bars, market.start, refit)
    signals: Any = found[name]
    tested = market.bars.loc[signals.index]
    result = contest(signals, tested, _EXPOSURE, decide_every=60)
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
    five: pd.DataFrame, events: pd.DataFrame, trainers: Mapping[str, Trainer], study: Study
) -> pd.DataFrame:
    windows = (study.crisis_train, study.crisis_refit)
    return crises_table(
        walk_through_crises(five, events, trainers, *windows, since=study.crisis_since)
    )


def _readable(gathered: Mapping[str, list[pd.DataFrame]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Parts put together: figures by topic, those who were left out in a table of their own."""
    for title, parts in gathered.items():
        skipped = [part for part in parts if "skipped" in part]
        told = pd.concat([part for part in parts if "skipped" not in part])
        if "figure" in told.index.names:
            for topic, table in by_topic(told).items():
                yield f"{title}: {topic}", table
        else:
            yield title, told
        if skipped:
            yield f"{title}: left out", pd.concat(skipped)


def _counted(done: Any, total: int, progress: bool) -> Iterator[pd.DataFrame]:
    if not progress:
        yield from done
        return
    from tqdm.auto import tqdm

    yield from tqdm(done, total=total, desc="evaluate", unit="part")
