"""What research demands of a signals frame before it judges or trades it.

Invariant: nothing that knows the future passes. Hindsight carries the word ``smoothed`` or
``viterbi`` in its column's name, and a frame with such a column is refused whole: dropping the
column is the caller's decision, to be seen in the caller's code.
"""

from __future__ import annotations

import re

import pandas as pd

from microstream_lab.errors import DataError, LookAheadError

__all__ = ["filtered_columns", "require_filtered", "require_same_bars"]

_HINDSIGHT = re.compile("smoothed|viterbi", re.IGNORECASE)


def filtered_columns(signals: pd.DataFrame) -> list[str]:
    """Names ``p_0 .. p_{K-1}`` of the filtered probabilities in `signals`, in order."""
    n_regimes = 0
    while f"p_{n_regimes}" in signals.columns:
        n_regimes += 1
    return [f"p_{k}" for k in range(n_regimes)]


def require_filtered(signals: pd.DataFrame, where: str = "signals frame") -> int:
    """Number of regimes of a frame that holds filtered estimates and no hindsight.

    Raises
    ------
    LookAheadError
        If a column is named as smoothed or Viterbi output, or the filtered ones are missing.
    DataError
        If there is no ``regime``, or one outside -1 .. K-1.
    """
    for name in map(str, signals.columns):
        if _HINDSIGHT.search(name):
            raise LookAheadError(
                f"{where}: found column {name!r}, which knows the future, expected filtered "
                f"probabilities p_0 .. p_K only"
            )
    n_regimes = len(filtered_columns(signals))
    if n_regimes == 0:
        raise LookAheadError(
            f"{where}: found no filtered probabilities, expected columns p_0 .. p_K beside regime"
        )
    _require_regimes(signals, n_regimes, where)
    return n_regimes


def _require_regimes(signals: pd.DataFrame, n_regimes: int, where: str) -> None:
    if "regime" not in signals.columns:
        raise DataError(where, "no column regime", "the regime of each bar, -1 where unknown")
    regimes = signals["regime"]
    if len(regimes) and not (regimes.min() >= -1 and regimes.max() < n_regimes):
        found = f"regimes {regimes.min()} .. {regimes.max()}"
        raise DataError(where, found, f"-1 .. {n_regimes - 1}, one of each p_k")


def require_same_bars(signals: pd.DataFrame, bars: pd.DataFrame) -> None:
    """Raise :class:`DataError` unless `signals` and `bars` share their ``open_time``s, in order."""
    if signals.index.equals(bars.index):
        return
    only = signals.index.symmetric_difference(bars.index)
    found = f"{len(signals)} signals and {len(bars)} bars"
    found += f" that differ first at {only[0]}" if len(only) else " in another order"
    raise DataError("signals and bars", found, "one signal a bar (try bars.loc[signals.index])")
