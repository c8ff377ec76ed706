"""One sweep for all: many settings, each walked forward and backtested, on as many cores as asked.

Invariant: a row is a pure function of the bars and of its own parameters, all of which can be
pickled; how many processes worked, and where, changes nothing in the table.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import product
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from microstream_lab.errors import MicrostreamError, ParameterError
from microstream_lab.research.backtest import backtest
from microstream_lab.research.evaluate import evaluate
from microstream_lab.research.sharpe import deflated_sharpe, sharpe_ratio
from microstream_lab.research.walkforward import walk_forward
from microstream_lab.training import train_bundle

__all__ = ["sweep", "sweep_point"]

Options: TypeAlias = dict[str, Any]

_WALK: Final = ("train", "test", "embargo", "expanding", "warmup")
_STRATEGY: Final = (
    *("exposure", "cost_bps", "decide_every", "band"),
    *("volatility_target", "max_leverage", "volatility_halflife"),
)
_DEFAULTS: Final = {"train": "90D", "test": "30D", "embargo": "1h", "exposure": (1.0, 0.5, 0.0)}
_TOLD: Final = ("eta_squared", "auc_stress", "switches_per_hour")
_EARNED: Final = ("sharpe", "annual_return", "max_drawdown", "mean_exposure", "turnover")


def sweep(
    bars: pd.DataFrame,
    grid: Mapping[str, Sequence[Any]],
    fixed: Mapping[str, Any] | None = None,
    *,
    n_jobs: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Walk every combination of a grid forward and backtest it.

    Parameters
    ----------
    bars : DataFrame
        Bars frame.
    grid : mapping of str to sequence
        Values of parameters: of :func:`microstream_lab.train_bundle` (``n_regimes``, ...), of
        :func:`microstream_lab.walk_forward` (``train``, ``test``, ``embargo``, ``expanding``,
        ``warmup``) and of :func:`microstream_lab.backtest` (``exposure``, ``cost_bps``,
        ``decide_every``, ``band``, ...).
    fixed : mapping, optional
        Parameters that all points share.
    n_jobs : int, optional
        Processes; what ``joblib.parallel_config`` says, else one, unless given.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame
        One row a point in the order of the grid: its parameters; the figures of the strategy and
        of the signals; ``daily_sharpe``, not annualised; ``deflated_sharpe``, the probability of
        skill given that all rows were tried; ``error``, empty where all went well.

    Raises
    ------
    ParameterError
        At a name nobody knows or a parameter without values, before anything is fitted.
    """
    from joblib import Parallel, delayed

    shared = {**_DEFAULTS, **(fixed or {})}
    _check(grid, shared)
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    groups = _by_training([shared | point for point in points])
    tasks = (delayed(sweep_point)(bars, training, rules) for training, _, rules in groups)
    done: Iterator[list[Options]] = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    figures: dict[int, Options] = {}
    for (_, rows, _), found in zip(groups, _counted(done, len(groups), progress), strict=True):
        figures |= dict(zip(rows, found, strict=True))
    table = [point | figures[row] for row, point in enumerate(points)]
    return _deflated(pd.DataFrame(table))


def sweep_point(bars: pd.DataFrame, training: Options, rules: Sequence[Options]) -> list[Options]:
    """Figures of one walk-forward, for each of several strategies on its signals.

    Parameters
    ----------
    bars : DataFrame
        Bars frame.
    training : dict
        Parameters of walk-forward and bundle.
    rules : sequence of dict
        Parameters of the backtest, one dict a strategy.
    """
    try:
        walk = walk_forward(bars, **training)
        tested = bars.loc[walk.signals.index]
        judged = evaluate(walk.signals, bars, tested.index[0], baselines=False, n_resamples=1)
        told = {name: float(judged.table["value"].xs(name, level=1).iloc[0]) for name in _TOLD}
    except MicrostreamError as error:
        return [{"error": str(error)} for _ in rules]
    return [told | _earned(walk.signals, tested, rule) for rule in rules]


def _earned(signals: pd.DataFrame, bars: pd.DataFrame, rule: Options) -> Options:
    try:
        result = backtest(signals, bars, **rule, n_resamples=1)
    except MicrostreamError as error:
        return {"error": str(error)}
    values = result.summary()["value"]
    daily = result.daily_returns.to_numpy()
    earned = {name: float(values[name]) for name in _EARNED}
    return earned | {"daily_sharpe": sharpe_ratio(daily), "_daily": daily, "error": ""}


def _deflated(table: pd.DataFrame) -> pd.DataFrame:
    """Deflate each row's Sharpe ratio by the number and spread of all of them."""
    if "_daily" not in table:
        return table
    trials = table["daily_sharpe"].to_numpy(np.float64)
    chances = [
        deflated_sharpe(daily, trials)
        if isinstance(daily, np.ndarray) and len(daily) > 2
        else np.nan
        for daily in table["_daily"]
    ]
    return table.drop(columns=["_daily", "error"]).assign(
        deflated_sharpe=chances, error=table["error"].fillna("")
    )


def _by_training(points: list[Options]) -> list[tuple[Options, list[int], list[Options]]]:
    """Points that share their walk-forward: its parameters, their rows, and their strategies."""
    groups: dict[str, tuple[Options, list[int], list[Options]]] = {}
    for row, point in enumerate(points):
        rule = {name: value for name, value in point.items() if name in _STRATEGY}
        training = {name: value for name, value in point.items() if name not in _STRATEGY}
        _, rows, rules = groups.setdefault(repr(sorted(training.items())), (training, [], []))
        rows.append(row)
        rules.append(rule)
    return list(groups.values())


def _check(grid: Mapping[str, Sequence[Any]], shared: Mapping[str, Any]) -> None:
    of_bundle = [name for name in inspect.signature(train_bundle).parameters if name != "bars"]
    known = (*of_bundle, *_WALK, *_STRATEGY)
    for name in (*grid, *shared):
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ParameterError(
                f"sweep: found {name!r}, expected one of: {', '.join(known)}{hint}"
            )
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise ParameterError(f"sweep: {name}: found {values!r}, expected a list of values")


def _counted(done: Iterator[list[Options]], total: int, progress: bool) -> Iterator[list[Options]]:
    if not progress:
        return done
    from tqdm.auto import tqdm

    return iter(tqdm(done, total=total, desc="sweep", unit="fit"))
