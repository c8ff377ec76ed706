"""Whether bars are fit to be learnt from: how much of them is there, and whether prices are a path.

A price series goes on from where it was: over a quarter of an hour it moves about four times as far
as over a minute. The same closes in another order do not: they jump all over the day each minute,
and a quarter of an hour takes them no further. The variance ratio of Lo and MacKinlay tells the
two apart. On BTCUSDT, 2022, by minutes, no day is below 0.50 and no shuffled day above 0.08.

Invariant: pure; nothing but times and closes is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.outcomes import log_returns
from microstream_lab.schema import as_micros, interval_us, require_bars, series_key

__all__ = ["Soundness", "examine", "variance_ratios"]

Floats = npt.NDArray[np.float64]

_DAY_US: Final = 86_400_000_000
_STEPS: Final = 15
_FEWEST: Final = 200
"""Returns in a part of the series; the ratio of fewer says nothing."""


@dataclass(frozen=True)
class Soundness:
    """What was found in a bars frame.

    Attributes
    ----------
    coverage : float
        Share of the bars from first to last that are there.
    hole_hours : float
        Longest run of missing bars among the newest days, in hours; 0 if there is none.
    hole_at : Timestamp or None
        The last bar before it.
    least_ratio : float
        Lowest variance ratio of any part; NaN if no part is long enough to tell.
    disordered : tuple of Timestamp
        First bars of the parts below the ratio asked for.
    """

    coverage: float
    hole_hours: float
    hole_at: pd.Timestamp | None
    least_ratio: float
    disordered: tuple[pd.Timestamp, ...]


def examine(
    bars: pd.DataFrame,
    recent_days: float = 7.0,
    min_ratio: float = 0.2,
    end: object | None = None,
) -> Soundness:
    """Look at the bars a model was trained on and is judged by.

    Parameters
    ----------
    bars : DataFrame
        Bars frame.
    recent_days : float
        How far back from the last bar holes are looked for.
    min_ratio : float
        Variance ratio below which the prices of a part are no path.
    end : time, optional
        Where the bars were to end: what lacks there is missing, too.
    """
    require_bars(bars, "bars to examine")
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    step = interval_us(series_key(bars)[2])
    stop = times[-1] + step if end is None else max(as_micros(end), int(times[-1]) + step)
    missing = np.diff(times, append=stop) // step - 1
    recent = np.where(times + step * (missing + 1) > stop - recent_days * _DAY_US, missing, 0)
    longest = int(recent.max(initial=0))
    ratios = variance_ratios(bars)
    return Soundness(
        coverage=len(times) * step / int(stop - times[0]),
        hole_hours=longest * step / 3.6e9,
        hole_at=bars.index[int(recent.argmax())] if longest else None,
        least_ratio=float(ratios.min()) if len(ratios) else float("nan"),
        disordered=tuple(ratios.index[ratios < min_ratio]),
    )


def variance_ratios(bars: pd.DataFrame) -> pd.Series:
    """Variance of returns over 15 bars, as a multiple of that of 15 single returns, part by part.

    Parts are UTC days, or more of them where a day has fewer than 200 bars. About 1 for a random
    walk and 1/15 for prices in random order.

    Returns
    -------
    Series
        By the first bar of each part that has at least 200 returns and moved at all.

    References
    ----------
    Lo and MacKinlay (1988), Stock market prices do not follow random walks, Review of Financial
    Studies 1, section 1.
    """
    times = pd.DatetimeIndex(bars.index).as_unit("us").asi8
    step = interval_us(series_key(bars)[2])
    length = _DAY_US * max(1, -(-(_FEWEST + 1) * step // _DAY_US))
    part = times // length
    returns = log_returns(bars).to_numpy(copy=True)
    first = np.flatnonzero(np.diff(part, prepend=part[0] - 1))
    returns[first] = np.nan  # a part is judged by itself
    found = {}
    for rows in np.split(np.arange(len(part)), first[1:]):
        ratio = _ratio(returns[rows])
        if np.isfinite(ratio):
            found[bars.index[rows[0]]] = ratio
    return pd.Series(found, dtype=np.float64)


def _ratio(returns: Floats) -> float:
    single = returns[np.isfinite(returns)]
    if len(single) < _FEWEST:
        return float("nan")
    sums = np.lib.stride_tricks.sliding_window_view(returns, _STEPS).sum(axis=1)
    sums = sums[np.isfinite(sums)]
    if not len(sums) or not single.any():
        return float("nan")
    return float((sums**2).mean() / (_STEPS * (single**2).mean()))
