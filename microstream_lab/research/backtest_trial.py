"""What a sweep over bars tries: a walk-forward, and a backtest of each strategy on its signals.

Invariant: points that share their training share one walk-forward.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar, Final, NamedTuple

import numpy as np
import pandas as pd

from microstream_lab.errors import MicrostreamError, ParameterError
from microstream_lab.research.backtest import backtest
from microstream_lab.research.evaluate import evaluate
from microstream_lab.research.sharpe import deflated_sharpe, sharpe_ratio
from microstream_lab.research.trial import Options, Task
from microstream_lab.research.walkforward import walk_forward
from microstream_lab.training import train_bundle

__all__ = ["BacktestTrial", "sweep_point"]

_WALK: Final = ("train", "test", "embargo", "expanding", "warmup")
_STRATEGY: Final = (
    *("exposure", "cost_bps", "decide_every", "band"),
    *("volatility_target", "max_leverage", "volatility_halflife"),
)
_DEFAULTS: Final = {"train": "90D", "test": "30D", "embargo": "1h", "exposure": (1.0, 0.5, 0.0)}
_TOLD: Final = ("eta_squared", "auc_stress", "switches_per_hour")
_EARNED: Final = ("sharpe", "annual_return", "max_drawdown", "mean_exposure", "turnover")


class Loaded(NamedTuple):
    """Bars on their way to a worker.

    joblib leaves a bare frame on one dask worker, and with that worker it would be lost.
    """

    bars: pd.DataFrame


class BacktestTrial:
    """Walk bars forward and backtest them at each point; see :func:`.sweep.sweep`."""

    unit: ClassVar[str] = "fit"

    def __init__(self, bars: pd.DataFrame) -> None:
        self._loaded = Loaded(bars)

    def check(self, points: Sequence[Options]) -> None:
        """Refuse parameters nobody knows."""
        of_bundle = [name for name in inspect.signature(train_bundle).parameters if name != "bars"]
        known = (*of_bundle, *_WALK, *_STRATEGY)
        for name in dict.fromkeys(name for point in points for name in point):
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise ParameterError(
                    f"sweep: found {name!r}, expected one of: {', '.join(known)}{hint}"
                )

    def tasks(self, points: Sequence[Options]) -> list[Task]:
        """One task a training."""
        groups: dict[str, tuple[Options, list[int], list[Options]]] = {}
        for row, point in enumerate(_DEFAULTS | point for point in points):
            rule = {name: value for name, value in point.items() if name in _STRATEGY}
            training = {name: value for name, value in point.items() if name not in _STRATEGY}
            key = repr(sorted(training.items()))
            _, rows, rules = groups.setdefault(key, (training, [], []))
            rows.append(row)
            rules.append(rule)
        return [
            Task(rows, sweep_point, (self._loaded, training, rules))
            for training, rows, rules in groups.values()
        ]

    def table(self, rows: list[Options]) -> pd.DataFrame:
        """Deflate each row's Sharpe ratio by the number and spread of all of them."""
        table = pd.DataFrame(rows)
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


def sweep_point(loaded: Loaded, training: Options, rules: Sequence[Options]) -> list[Options]:
    """Figures of one walk-forward, for each of several strategies on its signals.

    Parameters
    ----------
    loaded : Loaded
        A bars frame.
    training : dict
        Parameters of walk-forward and bundle.
    rules : sequence of dict
        Parameters of the backtest, one dict a strategy.
    """
    bars = loaded.bars
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
