"""What happened after each bar: the outcomes that regimes and scores are judged by.

Invariant: the outcome of bar t is made of bars t+1 .. t+horizon and of bar t's close, never of
anything else of bar t, so that an estimate made at bar t and its outcome share no information.
Outcomes know the future. They train and they judge; they are never an input of a signal.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import SettingsError
from microstream_lab.schema import interval_us

__all__ = ["forward_log_amihud", "forward_log_volatility", "log_returns"]

_Floats: TypeAlias = npt.NDArray[np.float64]


def log_returns(bars: pd.DataFrame) -> pd.Series:
    """Close-to-close log return of each bar; NaN at the first and after a missing bar.

    Parameters
    ----------
    bars : DataFrame
        Bars frame, indexed by ``open_time``.

    Returns
    -------
    Series of shape (n_bars,)
        Named ``log_return``, on the index of `bars`.
    """
    log_close = np.log(bars["close"].to_numpy(np.float64))
    returns = np.diff(log_close, prepend=np.nan)
    returns[1:][np.diff(_times(bars)) != _step(bars)] = np.nan
    return pd.Series(returns, index=bars.index, name="log_return")


def forward_log_volatility(bars: pd.DataFrame, horizon: int = 60) -> pd.Series:
    """Log realised volatility of the `horizon` bars that follow each bar.

    The realised volatility is the root of the sum of squared log returns, not annualised.

    Parameters
    ----------
    bars : DataFrame
        Bars frame, indexed by ``open_time``.
    horizon : int
        Bars to look ahead; 60 is an hour of minutes.

    Returns
    -------
    Series of shape (n_bars,)
        Named ``forward_log_volatility``; NaN where a following bar is missing, or where the
        price did not move at all.

    Raises
    ------
    SettingsError
        If `horizon` is not positive.
    """
    variance = _forward_sum(log_returns(bars).to_numpy() ** 2, horizon)
    return _log(variance, 0.5, bars, "forward_log_volatility")


def forward_log_amihud(bars: pd.DataFrame, horizon: int = 60) -> pd.Series:
    """Log Amihud illiquidity of the `horizon` bars that follow each bar.

    The mean of |log return| per million units of quote volume, over the bars that traded.

    Returns
    -------
    Series of shape (n_bars,)
        Named ``forward_log_amihud``, high means illiquid; NaN where a following bar is missing,
        or where the price did not move at all.

    References
    ----------
    Amihud (2002), Illiquidity and stock returns, Journal of Financial Markets 5, eq. 1.
    """
    returns = np.abs(log_returns(bars).to_numpy())
    volume = bars["quote_volume"].to_numpy(np.float64) / 1e6
    traded = volume > 0
    impact = np.where(np.isnan(returns), np.nan, 0.0)
    np.divide(returns, volume, out=impact, where=traded)
    n_traded = _forward_sum(traded.astype(np.float64), horizon)
    mean = _forward_sum(impact, horizon) / np.where(n_traded > 0, n_traded, np.nan)
    return _log(mean, 1.0, bars, "forward_log_amihud")


def _forward_sum(values: _Floats, horizon: int) -> _Floats:
    """Sum of the `horizon` values after each one; NaN where one is missing."""
    if horizon < 1:
        raise SettingsError(f"horizon: found {horizon}, expected at least one bar")
    sums = np.full(len(values), np.nan)
    if len(values) > horizon:
        # Summed window by window: a running sum would leave its rounding in quiet windows.
        windows = np.lib.stride_tricks.sliding_window_view(values[1:], horizon)
        sums[:-horizon] = windows.sum(axis=1)
    return sums


def _log(values: _Floats, power: float, bars: pd.DataFrame, name: str) -> pd.Series:
    logs = np.full(len(values), np.nan)
    np.log(values, out=logs, where=values > 0)
    return pd.Series(power * logs, index=bars.index, name=name)


def _times(bars: pd.DataFrame) -> npt.NDArray[np.int64]:
    return pd.DatetimeIndex(bars.index).as_unit("us").asi8


def _step(bars: pd.DataFrame) -> int:
    return interval_us(str(bars["interval"].iloc[0]))
