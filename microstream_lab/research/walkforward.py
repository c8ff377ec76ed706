"""Refit and move on: every signal comes from a bundle that had not seen its bar.

Invariant: the fit of a fold gets the bars of its training window and nothing else, the test window
begins an embargo after that window ends, and later bars never change an earlier signal.

Windows are cut in time, not in rows, so that a missing day shortens a window's data and moves no
boundary::

    |------ train ------|embargo|---- test ----|
                   |------ train ------|embargo|---- test ----|
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import DataError, LookAheadError, MicrostreamError
from microstream_lab.features import features_from_bars
from microstream_lab.research.folds import Fold, Span, fold_windows, span_us
from microstream_lab.research.signals import require_filtered
from microstream_lab.schema import interval_us, require_bars, series_key
from microstream_lab.training import train_bundle

__all__ = ["WalkForward", "pinned", "walk_forward"]

_log = logging.getLogger(__name__)
_WARMUP_BARS = 2_000


class SignalSource(Protocol):
    """What a fold needs of a fitted bundle."""

    def signals(self, bars: pd.DataFrame) -> pd.DataFrame:
        """Signals of every bar, filtered."""


@dataclass(frozen=True, eq=False)
class WalkForward:
    """Out-of-sample signals of all folds, and the bundles that made them.

    Attributes
    ----------
    signals : DataFrame
        The test windows' signals one after the other, with the ``fold`` that made each.
    folds : DataFrame
        One row a fold: its dates, ``train_bars``, ``train_coverage``, ``test_bars``,
        ``test_coverage``, ``bundle_id``; log-likelihood a bar of the regime model inside and
        outside its training window (NaN where there is no such model); and of the test window
        the share of bars with a ``known`` regime, ``switches_per_hour``, share of ``anomalies``.
    bundles : tuple
        The fitted bundle of each fold.
    """

    signals: pd.DataFrame
    folds: pd.DataFrame
    bundles: tuple[Any, ...]

    def summary(self) -> pd.DataFrame:
        """One row a fold, what a reader wants to see first; ends are exclusive."""
        columns = ["train_start", "train_end", "test_start", "test_end", "test_bars"]
        columns += ["test_coverage", "train_log_likelihood", "test_log_likelihood"]
        columns += ["known", "switches_per_hour"]
        return self.folds[columns].copy()


def walk_forward(
    bars: pd.DataFrame,
    train: Span,
    test: Span,
    embargo: Span = 0,
    *,
    expanding: bool = False,
    warmup: Span | None = None,
    trainer: Callable[..., SignalSource] = train_bundle,
    progress: bool | Callable[[Fold], object] = False,
    **bundle_options: Any,
) -> WalkForward:
    """Train on a window, score the next one, move on by the length of the test window.

    Parameters
    ----------
    bars : DataFrame
        Bars frame; folds begin at its first bar, and the last test window may be a short one.
    train, test, embargo : int, str or Timedelta
        Lengths of the windows, as a number of bars or a duration.
    expanding : bool
        Keep the first training bar for all folds instead of rolling the window.
    warmup : int, str or Timedelta, optional
        Bars before each test window that fill feature windows and warm the filter; their signals
        are not returned. They are known when the test window begins, so they may lie in the
        embargo and in the training window. What the bundle says it needs (``warmup_bars``), else
        2,000, unless given.
    trainer : callable
        ``trainer(bars, **bundle_options)`` fits one fold.
    progress : bool or callable
        A progress bar, or something to call before each fit.
    **bundle_options
        For the trainer, see :func:`microstream_lab.train_bundle`.

    Returns
    -------
    WalkForward

    Raises
    ------
    DataError
        If the bars do not reach into a first test window, or a window holds no bar to fit on.
    SettingsError
        If a window's length cannot be read or is not positive.
    """
    require_bars(bars, "walk_forward")
    folds = fold_windows(bars, train, test, embargo, expanding=expanding)
    step = interval_us(series_key(bars)[2])
    if warmup is not None:
        span_us(warmup, step, "warmup")
    results = [
        _run(fold, bars, warmup, trainer, bundle_options) for fold in _announced(folds, progress)
    ]
    rows = [
        _describe(fold, bars, bundle, signals)
        for fold, (bundle, signals) in zip(folds, results, strict=True)
    ]
    return WalkForward(
        pd.concat([signals for _, signals in results]),
        pd.DataFrame(rows).set_index("fold"),
        tuple(bundle for bundle, _ in results),
    )


def pinned(bundle: ModelBundle) -> Callable[..., ModelBundle]:
    """A trainer that keeps `bundle` instead of fitting: for testing a saved bundle as it is.

    It raises :class:`LookAheadError` for a fold whose training window ends before the bundle's.
    """

    def keep(bars: pd.DataFrame, **_: Any) -> ModelBundle:
        last, trained_until = bars.index[-1], pd.Timestamp(bundle.end, unit="us", tz="UTC")
        if last + pd.Timedelta(interval_us(bundle.interval), unit="us") < trained_until:
            raise LookAheadError(
                f"bundle {bundle.bundle_id}: found training until {trained_until}, "
                f"expected none after {last}, where the fold's training ends"
            )
        return bundle

    return keep


def _announced(folds: list[Fold], progress: bool | Callable[[Fold], object]) -> Iterator[Fold]:
    if progress is True:
        from tqdm.auto import tqdm

        yield from tqdm(folds, desc="walk-forward", unit="fold")
        return
    for fold in folds:
        if callable(progress):
            progress(fold)
        yield fold


def _between(bars: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    return bars.iloc[bars.index.searchsorted(start) : bars.index.searchsorted(end)]


def _run(
    fold: Fold,
    bars: pd.DataFrame,
    warmup: Span | None,
    trainer: Callable[..., SignalSource],
    options: dict[str, Any],
) -> tuple[SignalSource, pd.DataFrame]:
    training = _between(bars, fold.train_start, fold.train_end)
    if training.empty:
        found = f"no bar from {fold.train_start} to {fold.train_end}"
        raise DataError(f"fold {fold.number}", found, "bars to fit on")
    _log.info("fold %d: fit on %d bars before %s", fold.number, len(training), fold.train_end)
    try:
        bundle = trainer(training, **options)
    except MicrostreamError as error:
        error.add_note(f"in fold {fold.number}, {fold.train_start} to {fold.train_end}")
        raise
    span = getattr(bundle, "warmup_bars", _WARMUP_BARS) if warmup is None else warmup
    warm = pd.Timedelta(span_us(span, interval_us(series_key(bars)[2]), "warmup"), unit="us")
    seen = _between(bars, fold.test_start - warm, fold.test_end)
    signals = bundle.signals(seen)
    require_filtered(signals, f"signals of fold {fold.number}")
    tested = signals.iloc[signals.index.searchsorted(fold.test_start) :]
    return bundle, tested.assign(fold=np.int16(fold.number))


def _describe(
    fold: Fold, bars: pd.DataFrame, bundle: SignalSource, signals: pd.DataFrame
) -> dict[str, Any]:
    step = pd.Timedelta(interval_us(series_key(bars)[2]), unit="us")
    training = _between(bars, fold.train_start, fold.train_end)
    regimes = signals["regime"].to_numpy()
    known = regimes >= 0
    switches = np.count_nonzero((np.diff(regimes) != 0) & known[1:] & known[:-1])
    return {
        "fold": fold.number,
        "train_start": fold.train_start,
        "train_end": fold.train_end,
        "test_start": fold.test_start,
        "test_end": fold.test_end,
        "train_bars": len(training),
        "train_coverage": len(training) * step / (fold.train_end - fold.train_start),
        "test_bars": len(signals),
        "test_coverage": len(signals) * step / (fold.test_end - fold.test_start),
        **_likelihoods(bundle, training, signals),
        "bundle_id": getattr(bundle, "bundle_id", ""),
        "known": known.mean(),
        "switches_per_hour": switches / max(1, known.sum()) * (pd.Timedelta("1h") / step),
        "anomalies": signals["is_anomaly"].mean() if "is_anomaly" in signals else np.nan,
    }


def _likelihoods(
    bundle: SignalSource, training: pd.DataFrame, signals: pd.DataFrame
) -> dict[str, float]:
    names = ("train_log_likelihood", "test_log_likelihood")
    if not isinstance(bundle, ModelBundle):
        return dict.fromkeys(names, np.nan)
    tables = (features_from_bars(training, bundle.features, bundle.window), signals)
    return {name: _likelihood(bundle, table) for name, table in zip(names, tables, strict=True)}


def _likelihood(bundle: ModelBundle, table: pd.DataFrame) -> float:
    """Log-likelihood a bar of the feature columns of `table`, bars without features left out."""
    rows = bundle.scaler.transform(table[list(bundle.features)].to_numpy())
    known = np.isfinite(rows).all(axis=1)
    return bundle.regime_model.score(rows[known]) if known.any() else np.nan
