"""One sweep for all: every combination of a grid, tried on as many cores or machines as asked.

Invariant: a row is a pure function of what is tried and of its own parameters, all of which can be
pickled; how many processes worked, and where, changes nothing in the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, TypeAlias

import pandas as pd

from microstream_lab.errors import ParameterError
from microstream_lab.research.backtest_trial import BacktestTrial
from microstream_lab.research.trial import Options, Task, Trial

__all__ = ["Grid", "points_of", "sweep"]

Grid: TypeAlias = Mapping[str, Sequence[Any]]


def sweep(
    what: pd.DataFrame | Trial,
    grid: Grid,
    fixed: Mapping[str, Any] | None = None,
    *,
    n_jobs: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Try every combination of a grid.

    Parameters
    ----------
    what : DataFrame or Trial
        A bars frame, to be walked forward and backtested at each point, or whatever else is tried:
        :class:`microstream_lab.research.notebook_trial.NotebookTrial` runs a notebook.
    grid : mapping of str to sequence
        Values of parameters: for bars those of :func:`microstream_lab.train_bundle`
        (``n_regimes``, ...), of :func:`microstream_lab.walk_forward` (``train``, ``test``,
        ``embargo``, ``expanding``, ``warmup``) and of :func:`microstream_lab.backtest`
        (``exposure``, ``cost_bps``, ``decide_every``, ``band``, ...); for a notebook its own.
    fixed : mapping, optional
        Parameters that all points share.
    n_jobs : int, optional
        Processes; what ``joblib.parallel_config`` says, else one, unless given.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame
        One row a point in the order of the grid: its parameters, its figures, and ``error``, empty
        where all went well. For bars, ``daily_sharpe`` is not annualised and ``deflated_sharpe``
        is the probability of skill given that all rows were tried.

    Raises
    ------
    ParameterError
        At a name nobody knows, a value nobody takes or a parameter without values, before anything
        is tried.
    """
    trial = BacktestTrial(what) if isinstance(what, pd.DataFrame) else what
    points = points_of(grid)
    full = [{**(fixed or {}), **point} for point in points]
    trial.check(full)
    tasks = trial.tasks(full)
    figures: dict[int, Options] = {}
    done = _counted(_worked_off(tasks, n_jobs), len(tasks), trial.unit, progress)
    for task, found in zip(tasks, done, strict=True):
        figures |= dict(zip(task.rows, found, strict=True))
    return trial.table([{**point, **figures[row], **point} for row, point in enumerate(points)])


def points_of(grid: Grid) -> list[Options]:
    """Every combination of the grid's values, the last parameter varying fastest.

    Raises
    ------
    ParameterError
        If a parameter has no values, or they are no list.
    """
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise ParameterError(f"sweep: {name}: found {values!r}, expected a list of values")
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _worked_off(tasks: Sequence[Task], n_jobs: int | None) -> Iterator[list[Options]]:
    from joblib import Parallel, delayed

    calls = (delayed(task.function)(*task.arguments) for task in tasks)
    done: Iterator[list[Options]] = Parallel(n_jobs=n_jobs, return_as="generator")(calls)
    return done


def _counted(
    done: Iterator[list[Options]], total: int, unit: str, progress: bool
) -> Iterator[list[Options]]:
    if not progress:
        return done
    from tqdm.auto import tqdm

    return iter(tqdm(done, total=total, desc="sweep", unit=unit))
