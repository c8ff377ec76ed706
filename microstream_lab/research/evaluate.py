"""One harness, one table: how well any estimate tells the coming hour, beside simple baselines.

Invariant: everything is judged on bars that no estimate in the table was trained on, with
filtered signals, and all estimates on the same bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from microstream_lab.errors import DataError, LookAheadError
from microstream_lab.outcomes import (
    forward_log_amihud,
    forward_log_volatility,
)
from microstream_lab.research.figures import by_topic
from microstream_lab.research.lineup import Estimator, Trainer, fit_all, lineup
from microstream_lab.research.scoring import Outcomes, reliability, score
from microstream_lab.research.signals import require_filtered
from microstream_lab.schema import as_micros, hour_of_bars, interval_us, require_bars, series_key

__all__ = ["Estimate", "Estimator", "Evaluation", "evaluate", "judged_outcomes"]


Estimate: TypeAlias = Estimator | pd.DataFrame
"""Something that makes signals, or signals that were made, as by a walk-forward."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How each estimate did.

    Attributes
    ----------
    table : DataFrame
        Rows by ``estimate`` and ``figure``, columns ``value low high``; the figures are those of
        :func:`microstream_lab.research.scoring.score`, and ``model_minutes_k``, the mean stay the
        model itself expects, where it does.
    reliability : DataFrame
        Rows by ``estimate`` and lower edge of the bin: mean ``forecast`` of the last regime,
        ``observed`` frequency of the top 10 %, ``bars``.
    start, end : Timestamp
        First and last judged bar.
    n_bars, horizon : int
        Bars judged, and bars that make up an outcome.
    skipped : mapping
        Baselines that could not be judged, and why.
    """

    table: pd.DataFrame
    reliability: pd.DataFrame
    start: pd.Timestamp
    end: pd.Timestamp
    n_bars: int
    horizon: int
    skipped: Mapping[str, str] = field(default_factory=dict)

    def summary(self, column: str = "value") -> pd.DataFrame:
        """One row an estimate, one column a figure; `column` may be ``low`` or ``high``."""
        names = self.table.index.unique("estimate")
        figures = self.table.index.unique("figure")
        columns = {name: self.table.loc[name, column].reindex(figures) for name in names}
        return pd.DataFrame(columns).T

    def tables(self, intervals: bool = True) -> dict[str, pd.DataFrame]:
        """The same for reading: one narrow table a topic, figures by their full names."""
        tables = by_topic(self.table, intervals)
        for table in tables.values():
            for name, reason in self.skipped.items():
                table.loc[name] = [f"skipped: {reason}", *["-"] * (table.shape[1] - 1)]
        return tables


def evaluate(
    bundles: Estimate | Sequence[Estimate] | Mapping[str, Estimate],
    bars: pd.DataFrame,
    start: object = None,
    *,
    baselines: bool | Mapping[str, Trainer] = True,
    horizon: int | None = None,
    warmup: int = 20_000,
    level: float = 0.9,
    n_resamples: int = 500,
    seed: int = 0,
) -> Evaluation:
    """Judge estimates by the coming hour of each bar.

    Parameters
    ----------
    bundles : estimate, sequence or mapping of names to estimates
        Bundles, baselines, or signals frames.
    bars : DataFrame
        Bars frame; those before `start` warm the estimates up and train the baselines.
    start : time, optional
        First bar to judge; where the latest training ended unless given.
    baselines : bool or mapping
        Add trainers, fitted on the bars before `start`; True for those of
        :func:`microstream_lab.research.lineup.lineup`.
    horizon : int, optional
        Bars of an outcome; an hour of them, at least twelve, unless given.
    warmup : int
        Bars before `start` that estimates see first; one that says it needs more gets more.
    level, n_resamples, seed
        Of the bootstrap intervals.

    Returns
    -------
    Evaluation

    Raises
    ------
    LookAheadError
        If an estimate was trained on bars to be judged, or its signals hold hindsight.
    DataError
        If no bar is left to judge, or none to fit the baselines on.
    """
    require_bars(bars, "evaluate")
    horizon = horizon or hour_of_bars(series_key(bars)[2])
    estimates = _named(bundles)
    first = _first_judged(estimates, bars, start)
    row = int(bars.index.searchsorted(first))
    skipped: dict[str, str] = {}
    if baselines:
        trainers = baselines if isinstance(baselines, Mapping) else lineup()
        fitted, skipped = _baselines(trainers, bars.iloc[:row], first)
        estimates |= fitted
    judged = bars.iloc[row:]
    outcomes = judged_outcomes(judged, horizon)
    tables, curves = {}, {}
    for name, estimate in estimates.items():
        seen = bars.iloc[max(0, row - max(warmup, getattr(estimate, "warmup_bars", 0))) :]
        signals, n_regimes = _signals(name, estimate, seen, judged)
        figures = score(signals, outcomes, n_regimes, level, n_resamples, seed)
        tables[name] = pd.concat([figures, _model_stays(estimate, outcomes.interval, n_regimes)])
        curves[name] = _reliability(signals, outcomes, n_regimes)
    return Evaluation(
        pd.concat(tables, names=["estimate", "figure"]),
        pd.concat(curves, names=["estimate", "from"]),
        judged.index[0],
        judged.index[-1],
        len(judged),
        horizon,
        skipped,
    )


def judged_outcomes(bars: pd.DataFrame, horizon: int = 60) -> Outcomes:
    """What followed each of the judged `bars`, and which of it was extreme among them.

    Raises :class:`DataError` if no bar is followed by `horizon` bars.
    """
    volatility = forward_log_volatility(bars, horizon)
    amihud = forward_log_amihud(bars, horizon)
    if volatility.isna().all():
        raise DataError(
            "evaluate", f"{len(bars)} bars to judge", f"runs longer than {horizon} bars"
        )
    return Outcomes(
        pd.DatetimeIndex(bars.index).as_unit("us"),
        series_key(bars)[2],
        volatility.to_numpy(),
        amihud.to_numpy(),
        (volatility > volatility.quantile(0.95)).to_numpy(),
        (volatility > volatility.quantile(0.90)).to_numpy(),
        (amihud > amihud.quantile(0.95)).to_numpy(),
    )


def _baselines(
    trainers: Mapping[str, Trainer], training: pd.DataFrame, first: pd.Timestamp
) -> tuple[dict[str, Estimator], dict[str, str]]:
    if len(training) < 2:
        found = f"{len(training)} bars before {first}"
        raise DataError("evaluate", found, "training bars, or baselines=False")
    return fit_all(trainers, training)


def _model_stays(estimate: Estimate, interval: str, n_regimes: int) -> pd.DataFrame:
    """Rows ``model_minutes_k`` of an estimate that expects stays of its regimes, in bars."""
    holder: Any = getattr(estimate, "regime_model", estimate)
    expected = getattr(holder, "expected_durations", None)
    stays = np.array([]) if expected is None else np.asarray(expected(), np.float64)
    minutes = stays * (interval_us(interval) / 60_000_000)
    if len(minutes) != n_regimes:  # stays of hidden states that are merged into regimes
        minutes = np.array([])
    rows = {f"model_minutes_{k}": [value, np.nan, np.nan] for k, value in enumerate(minutes)}
    return pd.DataFrame(rows, ["value", "low", "high"], dtype=np.float64).T


def _named(bundles: Estimate | Sequence[Estimate] | Mapping[str, Estimate]) -> dict[str, Estimate]:
    if isinstance(bundles, Mapping):
        return dict(bundles)
    several = bundles if isinstance(bundles, (list, tuple)) else [bundles]
    names = [
        str(getattr(estimate, "bundle_id", f"estimate {number}"))
        for number, estimate in enumerate(several)
    ]
    return dict(zip(names, several, strict=True))


def _first_judged(
    estimates: Mapping[str, Estimate], bars: pd.DataFrame, start: object
) -> pd.Timestamp:
    """Where judging begins: at `start`, or after the last training; never inside a training."""
    ends = {name: _trained_until(estimate) for name, estimate in estimates.items()}
    wanted = max(ends.values(), default=0) if start is None else as_micros(start)
    for name, end in ends.items():
        if wanted < end:
            raise LookAheadError(
                f"evaluate: found {name!r} trained until {_stamp(end)}, expected the end of "
                f"training not after {_stamp(wanted)}, where judging begins"
            )
    step = interval_us(series_key(bars)[2])
    last = int(pd.DatetimeIndex(bars.index).as_unit("us").asi8[-1])
    if wanted > last:
        found = f"bars until {_stamp(last + step)}"
        raise DataError("evaluate", found, f"bars from {_stamp(wanted)} on, to judge")
    return _stamp(wanted)


def _trained_until(estimate: Estimate) -> int:
    """End of training, us; 0 for a signals frame, whose maker has seen to that."""
    return 0 if isinstance(estimate, pd.DataFrame) else int(getattr(estimate, "end", 0))


def _stamp(micros: int) -> pd.Timestamp:
    return pd.Timestamp(micros, unit="us", tz="UTC")


def _signals(
    name: str, estimate: Estimate, seen: pd.DataFrame, judged: pd.DataFrame
) -> tuple[pd.DataFrame, int]:
    signals = estimate if isinstance(estimate, pd.DataFrame) else estimate.signals(seen)
    n_regimes = require_filtered(signals, f"signals of {name!r}")
    if "expected_stress" not in signals.columns:
        raise DataError(f"signals of {name!r}", "no column expected_stress", "one to rank bars by")
    signals = signals.reindex(judged.index)
    return signals.assign(regime=signals["regime"].fillna(-1).astype(np.int8)), n_regimes


def _reliability(signals: pd.DataFrame, outcomes: Outcomes, n_regimes: int) -> pd.DataFrame:
    judged = (signals["regime"].to_numpy() >= 0) & ~np.isnan(outcomes.volatility)
    crisis = signals[f"p_{n_regimes - 1}"].to_numpy(np.float64)
    return reliability(crisis[judged], outcomes.rough[judged])
