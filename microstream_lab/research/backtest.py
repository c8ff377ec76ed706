"""A regime-conditioned strategy on history, against buy and hold.

Invariant: the signal of bar t is known when bar t closes and acts from bar t+1. The position held
over bar t+1 earns ``position * (close_{t+1} / close_t - 1)`` and pays ``cost_bps`` on the change
of position that was needed to get there. The first bar earns nothing.

A position is a share of equity and is held at that share, as if the drift within a holding were
traded for free. Where the regime is unknown (-1) the strategy is flat: it has no reason for a
position, and pays for leaving and entering.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.errors import DataError, SettingsError
from microstream_lab.research.performance import (
    Ledger,
    regime_figures,
    summarise,
)
from microstream_lab.research.positions import (
    YEAR_US,
    Exposure,
    held_between,
    leverage,
    simple_returns,
    target_positions,
    within_band,
)
from microstream_lab.research.signals import require_filtered, require_same_bars

__all__ = ["BacktestResult", "Exposure", "backtest", "backtest_positions", "target_positions"]

Floats: TypeAlias = npt.NDArray[np.float64]

_MIN_GROWTH = 1e-300  # what is left after losing everything, so that its logarithm exists


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """What a strategy earned, bar by bar, and buy and hold beside it.

    Attributes
    ----------
    strategy, buy_and_hold : Ledger
        Positions, net returns and costs from the second bar on.
    market : ndarray of shape (n_bars - 1,)
        Close-to-close simple returns.
    regime : ndarray of shape (n_bars - 1,)
        The regime acted upon: that of the bar before.
    n_regimes : int
        K; 0 where positions were given without regimes.
    first_time : Timestamp
        ``open_time`` of the first bar, where both equities are 1.
    """

    strategy: Ledger
    buy_and_hold: Ledger
    market: Floats
    regime: npt.NDArray[np.int64]
    n_regimes: int
    first_time: pd.Timestamp
    level: float = 0.9
    n_resamples: int = 1000
    seed: int = 0

    @cached_property
    def equity(self) -> pd.DataFrame:
        """Growth of 1 by bar; columns ``strategy`` and ``buy_and_hold``."""
        index = self.strategy.index.insert(0, self.first_time)
        return pd.DataFrame(
            {
                name: np.exp(np.concatenate([[0.0], ledger.log_growth.cumsum()]))
                for name, ledger in self._ledgers().items()
            },
            index=index,
        )

    @cached_property
    def drawdown(self) -> pd.DataFrame:
        """Loss since the highest equity so far, 0 .. -1; columns as :attr:`equity`."""
        return self.equity / self.equity.cummax() - 1

    @cached_property
    def by_regime(self) -> pd.DataFrame:
        """What the market did under each regime, known beforehand, and what was earned in it.

        Indexed by regime (-1 is unknown), those that never were included: ``bars``, ``share``;
        ``mean_return`` of the market a year with its interval ``low``, ``high``; ``volatility``
        and ``sharpe`` of the market; ``mean_position``, and ``contribution`` of the regime to the
        strategy's yearly net return.
        """
        options = (self.level, self.n_resamples, self.seed)
        return regime_figures(self.strategy, self.market, self.regime, self.n_regimes, *options)

    @cached_property
    def daily_returns(self) -> pd.Series:
        """Net simple return of the strategy by UTC day."""
        growth = pd.Series(self.strategy.log_growth, self.strategy.index)
        days = growth.groupby(self.strategy.index.floor("D")).sum()
        return pd.Series(np.expm1(days.to_numpy()), days.index)

    @property
    def turnover(self) -> float:
        """Sum of the absolute changes of position, in multiples of equity."""
        return float(self.strategy.traded.sum())

    @property
    def mean_exposure(self) -> float:
        """Mean position over the bars that earned."""
        return float(self.strategy.position.mean())

    @cached_property
    def _summary(self) -> pd.DataFrame:
        tables = {
            name: summarise(ledger, self.level, self.n_resamples, self.seed)
            for name, ledger in self._ledgers().items()
        }
        own, hold = tables["strategy"], tables["buy_and_hold"].add_prefix("hold_")
        return own.join(hold.rename(columns={"hold_value": "buy_and_hold"}))

    def summary(self) -> pd.DataFrame:
        """One row a figure: ``value low high`` and ``buy_and_hold hold_low hold_high``.

        Returns are shares (0.1 is 10 %); ``annual_return``, ``volatility`` and ``sharpe`` are by
        year of the calendar, 365 days, missing bars included. ``turnover`` is the sum of absolute
        changes of position, ``costs`` what was paid for them as a share of the equity of the
        time, ``trades`` how often the position changed. ``low`` and ``high`` bound the middle
        `level` of resampled blocks of days; NaN below eight days.
        """
        return self._summary.copy()

    def _ledgers(self) -> dict[str, Ledger]:
        return {"strategy": self.strategy, "buy_and_hold": self.buy_and_hold}


def backtest(
    signals: pd.DataFrame,
    bars: pd.DataFrame,
    exposure: Exposure,
    cost_bps: float = 5.0,
    *,
    volatility_target: float | None = None,
    max_leverage: float = 1.0,
    volatility_halflife: float = 60.0,
    decide_every: int = 1,
    band: float = 0.0,
    level: float = 0.9,
    n_resamples: int = 1000,
    seed: int = 0,
) -> BacktestResult:
    """Hold an exposure per regime, from the bar after the signal on.

    Parameters
    ----------
    signals : DataFrame
        Filtered signals, as from ``ModelBundle.signals`` or ``WalkForward.signals``.
    bars : DataFrame
        Bars with the same index.
    exposure : sequence of K floats or mapping
        Position per regime as a share of equity, calmest first; negative is short.
    cost_bps : float
        Cost of a change of position in basis points of what is traded; 5 is a taker's fee on
        USD-M futures.
    volatility_target : float, optional
        Yearly volatility the position is scaled to, by an EWMA of past squared returns.
    max_leverage : float
        Largest factor of that scaling.
    volatility_halflife : float
        Half-life of the EWMA in bars.
    decide_every : int
        Bars between decisions, on the UTC clock: 60 looks at the signal of the last minute of
        each hour and holds in between. Estimates that change often cost less this way.
    band : float
        Changes of position up to this size are not traded, going flat excepted.
    level, n_resamples, seed
        Of the bootstrap intervals.

    Returns
    -------
    BacktestResult

    Raises
    ------
    LookAheadError
        If `signals` hold smoothed or Viterbi output, or no filtered probabilities.
    DataError
        If the indices differ or a close is not positive.
    SettingsError
        If `exposure` does not name every regime or a number cannot be used.
    """
    require_same_bars(signals, bars)
    targets = target_positions(signals, exposure)
    if volatility_target is not None:
        targets *= leverage(bars, volatility_target, max_leverage, volatility_halflife)
    targets = held_between(targets, bars, decide_every)
    return backtest_positions(
        targets,
        bars,
        cost_bps,
        band=band,
        regime=signals["regime"].to_numpy(np.int64),
        n_regimes=require_filtered(signals),
        level=level,
        n_resamples=n_resamples,
        seed=seed,
    )


def backtest_positions(
    targets: npt.ArrayLike,
    bars: pd.DataFrame,
    cost_bps: float = 5.0,
    *,
    band: float = 0.0,
    regime: npt.ArrayLike | None = None,
    n_regimes: int = 0,
    level: float = 0.9,
    n_resamples: int = 1000,
    seed: int = 0,
) -> BacktestResult:
    """Hold any causal target: ``targets[t]``, decided at the close of bar t, from bar t+1 on.

    Parameters
    ----------
    targets : array_like of shape (n_bars,)
        Positions as shares of equity.
    bars, cost_bps, band, level, n_resamples, seed
        See :func:`backtest`.
    regime : array_like of shape (n_bars,), optional
        For :attr:`BacktestResult.by_regime`; unknown (-1) unless given.
    n_regimes : int
        K of those regimes.
    """
    wanted = np.asarray(targets, np.float64)
    _check(wanted, bars, cost_bps, band)
    market = simple_returns(bars)
    index = pd.DatetimeIndex(bars.index)[1:]
    years = np.diff(pd.DatetimeIndex(bars.index).as_unit("us").asi8) / YEAR_US
    held = within_band(wanted, band) if band else wanted
    labels = np.full(len(bars), -1) if regime is None else np.asarray(regime, np.int64)
    strategy, hold = (
        _ledger(position, market, cost_bps, index, years)
        for position in (held[:-1], np.ones(len(market)))
    )
    return BacktestResult(
        strategy,
        hold,
        market,
        labels[:-1],
        n_regimes,
        bars.index[0],
        level,
        n_resamples,
        seed,
    )


def _check(targets: Floats, bars: pd.DataFrame, cost_bps: float, band: float) -> None:
    if targets.shape != (len(bars),) or not np.isfinite(targets).all():
        found = f"targets of shape {targets.shape}, {np.isnan(targets).sum()} of them NaN"
        raise DataError("backtest", found, f"{len(bars)} finite positions, one a bar")
    if len(bars) < 2:
        raise DataError("backtest", f"{len(bars)} bars", "at least two")
    if not (np.isfinite(cost_bps) and cost_bps >= 0 and band >= 0):
        raise SettingsError(f"cost_bps, band: found {cost_bps}, {band}, expected 0 or more")


def _ledger(
    position: Floats,
    market: Floats,
    cost_bps: float,
    index: pd.DatetimeIndex,
    years: Floats,
) -> Ledger:
    traded = np.abs(np.diff(position, prepend=0.0))
    net = position * market - traded * (cost_bps / 1e4)
    growth = np.log(np.maximum(1 + net, _MIN_GROWTH))
    return Ledger(index, position, traded, net, growth, cost_bps / 1e4, years)
