"""Names a person understands for the figures of tables and runs, and the tables they go into.

Invariant: figures keep their short names wherever programs read them; only what is shown uses
these.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

__all__ = ["FIGURES", "Figure", "by_topic", "readable", "with_interval"]


class Figure(NamedTuple):
    """A figure's full name, the table it belongs to, and the digits worth showing."""

    title: str
    topic: str = ""
    digits: int = 3


VOLATILITY: Final = "The coming hour's volatility (AUC: ranking of its worst 5 %)"
ILLIQUIDITY: Final = "The coming hour's illiquidity (AUC: ranking of its worst 5 %)"
CALIBRATION: Final = "Steadiness and calibration"
OCCUPANCY: Final = "Share of time by regime"
STAYS: Final = "Mean stay, minutes"
EXPECTED_STAYS: Final = "Mean stay the model expects, minutes"

FIGURES: Final = {
    "eta_squared": Figure("variance explained (eta²)", VOLATILITY),
    "auc_stress": Figure("AUC of stress", VOLATILITY, 4),
    "auc_crisis": Figure("AUC of P(crisis)", VOLATILITY, 4),
    "eta_amihud": Figure("variance explained (eta²)", ILLIQUIDITY),
    "auc_amihud": Figure("AUC of stress", ILLIQUIDITY),
    "auc_amihud_crisis": Figure("AUC of P(crisis)", ILLIQUIDITY),
    "switches_per_hour": Figure("switches per hour", CALIBRATION),
    "known": Figure("bars with a regime", CALIBRATION),
    "brier": Figure("Brier score of P(crisis)", CALIBRATION, 4),
    "total_return": Figure("total return"),
    "annual_return": Figure("return a year"),
    "volatility": Figure("volatility a year"),
    "sharpe": Figure("Sharpe ratio a year"),
    "max_drawdown": Figure("deepest drawdown"),
    "mean_exposure": Figure("mean exposure"),
    "turnover": Figure("turnover, times equity"),
    "costs": Figure("costs, share of equity"),
    "trades": Figure("changes of position"),
    "adds": Figure("regimes add to volatility targeting"),
    "folds": Figure("folds"),
    "bars": Figure("bars"),
    "version": Figure("bundle version"),
    "converged": Figure("best start converged"),
    "decision": Figure("the gate says"),
    "promoted": Figure("promoted"),
    "champion": Figure("judged against"),
    "reasons": Figure("why"),
    "agreement": Figure("agreement of successive refits"),
    "deflated_sharpe": Figure("probability of skill (deflated Sharpe)"),
}
"""Figures by their short name."""

_BY_REGIME: Final = {
    "share": ("regime {}", OCCUPANCY, 3),
    "minutes": ("regime {}", STAYS, 1),
    "model_minutes": ("regime {}", EXPECTED_STAYS, 1),
}


def readable(name: str) -> str:
    """The full name of a figure; words of an unknown one."""
    figure = _figure(name)
    return figure.title if figure else name.replace("_", " ")


def by_topic(table: pd.DataFrame, intervals: bool = True) -> dict[str, pd.DataFrame]:
    """A long table of figures as readable tables, a few columns each.

    Parameters
    ----------
    table : DataFrame
        Rows by ``estimate`` and ``figure``, columns ``value low high``.
    intervals : bool
        Show ``0.52 (0.49 to 0.55)`` instead of the value alone.

    Returns
    -------
    dict of DataFrame
        By topic; rows are the estimates that have such figures, columns full names, cells text.
    """
    tables: dict[str, dict[str, pd.Series]] = {}
    for name in table.index.unique("figure"):
        figure = _figure(str(name))
        if figure and figure.topic:
            rows = table.xs(name, level="figure")
            cells = [
                with_interval(value, low, high, figure.digits, intervals)
                for value, low, high in rows.to_numpy(np.float64)
            ]
            columns = tables.setdefault(figure.topic, {})
            columns[figure.title] = pd.Series(cells, rows.index, dtype=object)
    order = table.index.unique("estimate")
    told = {topic: pd.DataFrame(columns).fillna("-") for topic, columns in tables.items()}
    return {topic: part.reindex(order.intersection(part.index)) for topic, part in told.items()}


def with_interval(
    value: float, low: float, high: float, digits: int = 3, interval: bool = True
) -> str:
    """``0.523 (0.49 to 0.55)``: a digit less for the interval, which is left out if unknown."""
    if np.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    if not interval or np.isnan(low) or np.isnan(high):
        return text
    fewer = max(1, digits - 1)
    return f"{text} ({low:.{fewer}f} to {high:.{fewer}f})"


def _figure(name: str) -> Figure | None:
    if name in FIGURES:
        return FIGURES[name]
    match = re.fullmatch(r"(share|minutes|model_minutes)_(\d+)", name)
    if not match:
        return None
    title, topic, digits = _BY_REGIME[match[1]]
    return Figure(title.format(match[2]), topic, digits)
