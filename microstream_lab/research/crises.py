"""Known crises: whether an alarm came in time and lasted, and how many came for nothing.

Invariant: every signal comes from a fit on earlier bars, and the onset and the windows of the
events are given, never found by what is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import DataError
from microstream_lab.research.bootstrap import day_starts, interval, interval_of_sums
from microstream_lab.research.folds import Span, span_us
from microstream_lab.research.lineup import Trainer
from microstream_lab.research.signals import require_filtered
from microstream_lab.research.walkforward import walk_forward
from microstream_lab.schema import as_micros, interval_us, series_key

__all__ = [
    "Crises",
    "crises_table",
    "episodes",
    "judge_crises",
    "read_events",
    "walk_through_crises",
]

Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]

BEFORE_MIN: Final = 60
AFTER_MIN: Final = 15
_MERGED_MIN: Final = 60
_QUIET: Final = 0.01
_HOUR_MIN: Final = 60
_COLUMNS: Final = {"date_from_utc": "start", "date_to_utc": "end", "onset_utc": "onset"}


@dataclass(frozen=True, eq=False)
class Crises:
    """How an estimate met the known crises.

    Attributes
    ----------
    events : DataFrame
        By event: ``onset``; ``delay_min`` from it to the beginning of the first crisis episode
        that begins within -60 .. +15 minutes, NaN if none does; ``covered``, whether the regime
        was crisis at any bar of these minutes; ``share`` of the event's window in crisis.
    table : DataFrame
        Figures as rows ``value low high``: ``found`` and ``covered``, shares of the events;
        ``delay_min``, the mean; ``crisis_share`` of the windows; ``false_episodes`` and
        ``false_quiet``, episodes that begin on a day without event and, of these, on a quiet day,
        in all; ``false_per_month``. Intervals are over events, or over days.
    n_days, n_quiet : int
        Days without event that were judged, and quiet ones among them.
    """

    events: pd.DataFrame
    table: pd.DataFrame
    n_days: int
    n_quiet: int


def read_events(path: Path | str) -> pd.DataFrame:
    """Events of a CSV file ``name, date_from_utc, date_to_utc, onset_utc``, by name.

    Returns columns ``start``, ``end`` (exclusive) and ``onset``; raises :class:`DataError` if the
    file is not of this kind.
    """
    try:
        raw = pd.read_csv(path, usecols=["name", *_COLUMNS], index_col="name")
        events: pd.DataFrame = raw.rename(columns=_COLUMNS).apply(pd.to_datetime, utc=True)
    except (OSError, ValueError) as error:
        expected = f"columns name {' '.join(_COLUMNS)}"
        raise DataError(str(path), str(error), expected) from error
    return events


def episodes(
    crisis: Bools, index: pd.DatetimeIndex, step_us: int, merged_min: float = 0
) -> pd.DatetimeIndex:
    """Where crisis episodes begin; pauses of up to `merged_min` minutes do not end one."""
    times = index[crisis]
    pause = np.diff(times.as_unit("us").asi8) - step_us
    return times[np.append(np.ones(min(1, len(times)), bool), pause > merged_min * 60_000_000)]


def judge_crises(
    signals: pd.DataFrame,
    bars: pd.DataFrame,
    events: pd.DataFrame,
    *,
    level: float = 0.9,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Crises:
    """Compare filtered signals with the events that lie within them.

    Parameters
    ----------
    signals : DataFrame
        With ``regime``; the last one is the crisis.
    bars : DataFrame
        Bars frame that holds the signals' bars, for the quiet days: those whose trailing
        60-minute range stays under 1 %.
    events : DataFrame
        As from :func:`read_events`.

    Raises
    ------
    DataError
        If no event lies within the signals.
    """
    crisis = signals["regime"].to_numpy() == require_filtered(signals) - 1
    index = pd.DatetimeIndex(signals.index)
    step = interval_us(series_key(bars)[2])
    inside = events[(events["start"] >= index[0]) & (events["onset"] <= index[-1])]
    if inside.empty:
        raise DataError("events", f"none from {index[0]} to {index[-1]}", "at least one")
    begins = episodes(crisis, index, step)
    rows = {name: _met(event, begins, crisis, index) for name, event in inside.iterrows()}
    met = pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")
    false, days = _false_by_day(crisis, index, step, inside, _is_quiet(bars, index))
    by_event = met[["delay_min", "covered", "share"]].astype(np.float64)
    table = _table(by_event.to_numpy(), false, level, n_resamples, seed)
    return Crises(met, table, int(days[0]), int(days[1]))


def walk_through_crises(
    bars: pd.DataFrame,
    events: pd.DataFrame,
    trainers: Mapping[str, Trainer],
    train: Span = "365D",
    refit: Span = "30D",
    *,
    since: object = "2020-01-01",
    expanding: bool = False,
) -> dict[str, Crises]:
    """Judge every trainer by a walk-forward from `since` on, so that no fit has seen an event.

    Parameters
    ----------
    bars, events, trainers
        Bars frame, :func:`read_events`, and what to refit.
    train, refit : int, str or Timedelta
        Bars each fit sees, all there are if `expanding`, and how long it is used.
    """
    first = pd.Timestamp(as_micros(since), unit="us", tz="UTC")
    span = pd.Timedelta(span_us(train, interval_us(series_key(bars)[2]), "train"), unit="us")
    from_there = bars.iloc[bars.index.searchsorted(first - span) :]
    found = {}
    for name, trainer in trainers.items():
        walk = walk_forward(from_there, span, refit, expanding=expanding, trainer=trainer)
        found[name] = judge_crises(walk.signals, from_there, events)
    return found


def crises_table(crises: Mapping[str, Crises]) -> pd.DataFrame:
    """One row an estimate, values only: events met in time, begun then, delay, false alarms."""
    rows = {}
    for name, each in crises.items():
        value = each.table["value"]
        rows[name] = {
            "events": len(each.events),
            "in time": int(each.events["covered"].sum()),
            "begins within": int(each.events["delay_min"].notna().sum()),
            "mean delay, min": value["delay_min"],
            "crisis share inside": value["crisis_share"],
            "false episodes": int(value["false_episodes"]),
            "on quiet days": int(value["false_quiet"]),
            "false a month": value["false_per_month"],
            "low": each.table.loc["false_per_month", "low"],
            "high": each.table.loc["false_per_month", "high"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("estimate")


def _met(
    event: pd.Series, begins: pd.DatetimeIndex, crisis: Bools, index: pd.DatetimeIndex
) -> dict[str, object]:
    early = event["onset"] - pd.Timedelta(minutes=BEFORE_MIN)
    late = event["onset"] + pd.Timedelta(minutes=AFTER_MIN)
    timely = begins[(begins >= early) & (begins <= late)]
    delay = (timely[0] - event["onset"]).total_seconds() / 60 if len(timely) else np.nan
    window = (index >= event["start"]) & (index < event["end"])
    return {
        "onset": event["onset"],
        "delay_min": delay,
        "covered": bool(crisis[(index >= early) & (index <= late)].any()),
        "share": float(crisis[window].mean()),
    }


def _is_quiet(bars: pd.DataFrame, index: pd.DatetimeIndex) -> Bools:
    """Whether the hour up to each bar ranged less than 1 %."""
    rows = max(1, _HOUR_MIN * 60_000_000 // interval_us(series_key(bars)[2]))
    high = bars["high"].rolling(rows, min_periods=1).max()
    low = bars["low"].rolling(rows, min_periods=1).min()
    return np.asarray((high / low - 1 < _QUIET).reindex(index).fillna(value=False), bool)


def _false_by_day(
    crisis: Bools, index: pd.DatetimeIndex, step: int, events: pd.DataFrame, quiet: Bools
) -> tuple[Floats, Floats]:
    """Day, quiet day, false episodes, those on quiet days: by day without event; and the sums."""
    starts = day_starts(index)
    days = index[starts].floor("D")
    false = episodes(crisis, index, step, _MERGED_MIN).floor("D")
    n_false = pd.Series(1, index=false).groupby(level=0).sum().reindex(days).fillna(0).to_numpy()
    is_quiet = np.logical_and.reduceat(quiet, starts)
    calm = np.ones(len(days), bool)
    for first, end in zip(events["start"], events["end"], strict=True):
        calm &= (days < first.floor("D")) | (days >= end)
    columns = np.column_stack([np.ones(len(days)), is_quiet, n_false, n_false * is_quiet])
    return columns[calm].astype(np.float64), columns[calm][:, :2].sum(axis=0)


def _table(by_event: Floats, false: Floats, level: float, n: int, seed: int) -> pd.DataFrame:
    """Figures of `by_event` (n_events, delay covered share) and of `false`, days by columns."""
    columns = pd.Index(["value", "low", "high"])
    means = [_means(by_event[None])[0], *interval(by_event, _means, level, n, 1.0, seed)]
    sums = [_rates(false.sum(axis=0)[None])[0]]
    sums += interval_of_sums(false, _rates, level, n, seed=seed)
    names = ["found", "covered", "delay_min", "crisis_share"]
    counts = ["false_episodes", "false_quiet", "false_per_month"]
    parts = [pd.DataFrame(means, columns, names).T, pd.DataFrame(sums, columns, counts).T]
    return pd.concat(parts)


def _means(events: Floats) -> Floats:
    """Found, covered, mean delay, share (m, 4) of resamples (m, n_events, 3)."""
    delay, covered, share = np.moveaxis(events, -1, 0)
    found = np.isfinite(delay)
    with np.errstate(invalid="ignore"):
        mean = np.where(found, delay, 0.0).sum(axis=1) / found.sum(axis=1)
    return np.column_stack([found.mean(axis=1), covered.mean(axis=1), mean, share.mean(axis=1)])


def _rates(totals: Floats) -> Floats:
    """False episodes in all, on quiet days and a month (m, 3), of totals (m, 4)."""
    days, _, false, quiet = totals.T
    return np.column_stack([false, quiet, false / days * 30])
