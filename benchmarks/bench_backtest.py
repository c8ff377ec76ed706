"""Five years of minutes backtested with costs and statistics, beside vectorbt where it is there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from made_up import FIVE_YEARS, bars, states
from turns import Figure, publish, ratio, take_turns, told

from microstream_lab.research.backtest import backtest_positions

COST_BPS = 5.0
PATH, REFERENCE, GOAL = f"backtest, {FIVE_YEARS:,} bars", "vectorbt, same statistics", 10.0
HOW = (
    "Long in the calm regime of {n:,} made-up bars and flat otherwise, 5 bp a change; ours is "
    "`backtest_positions` and the figures of its summary without intervals (total return, "
    "largest drawdown, Sharpe ratio, turnover, costs, trades), vectorbt "
    "`Portfolio.from_signals` and total return, largest drawdown, Sharpe ratio and trades, its "
    "compilation not counted."
)


def theirs(close: pd.Series, calm: np.ndarray) -> Any:
    """The same with vectorbt, acting one bar later."""
    import vectorbt

    before = np.concatenate([[False], calm[:-1]])
    entries, exits = calm & ~before, ~calm & before
    portfolio = vectorbt.Portfolio.from_signals(
        close, pd.Series(entries, close.index), pd.Series(exits, close.index), fees=COST_BPS / 1e4
    )
    return (
        portfolio.total_return(),
        portfolio.max_drawdown(),
        portfolio.sharpe_ratio(freq="1min"),
        portfolio.trades.count(),
    )


def main() -> None:
    """Ours alone where vectorbt is not installed."""
    frame, calm = bars(FIVE_YEARS), states(FIVE_YEARS) == 0
    targets = calm.astype(np.float64)

    def ours() -> pd.DataFrame:
        return backtest_positions(targets, frame, COST_BPS, n_resamples=1).summary()

    if find_spec("vectorbt") is None:
        took = told(take_turns({"ours": ours}, 3)["ours"])
        reason = f"vectorbt is not installed (a peer, no dependency); ours takes {took}"
        publish(Figure(PATH, REFERENCE, GOAL, how=HOW.format(n=FIVE_YEARS), skipped=reason))
        return
    theirs(frame["close"][:5_000], calm[:5_000])  # compiles: of all bars it takes a minute or two
    taken = take_turns({"ours": ours, "theirs": lambda: theirs(frame["close"], calm)}, 2)
    publish(
        Figure(
            PATH,
            REFERENCE,
            GOAL,
            ratio(taken["theirs"], taken["ours"]),
            told(taken["ours"]),
            told(taken["theirs"]),
            HOW.format(n=FIVE_YEARS),
        )
    )


if __name__ == "__main__":
    main()
