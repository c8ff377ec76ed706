"""Drift of live signals from the training of their bundle, one signal at a time or all at once.

Invariant: a report knows the signals up to its bar and no later one; both faces give the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.engine import SignalModel
from microstream_lab.errors import BundleMismatchError
from microstream_lab.features import FEATURES
from microstream_lab.models.drift import (
    DriftReference,
    DriftWindow,
    Reading,
    learn_drift,
    stability_index,
)
from microstream_lab.models.drift_report import DriftReport
from microstream_lab.models.filter import RegimeFilter
from microstream_lab.models.levels import LevelModel
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.schema import Signal, interval_us

__all__ = ["DriftWatch", "drift_from_signals", "drift_reference", "drift_window"]

FloatArray = npt.NDArray[np.float64]

_DAY_US: Final = 86_400_000_000
_WINDOW: Final = range(96, 10_001)


class DriftModel(SignalModel, Protocol):
    """What is needed of a bundle beside what the engine needs."""

    @property
    def regime_model(self) -> Any:
        """The chain."""

    @property
    def drift(self) -> DriftReference | None:
        """What the training was like; None in bundles made before it was kept."""


class _Likelihood:
    """Log likelihood of each row, given those before it."""

    def __init__(self, model: Any, scaler: FeatureScaler, max_hole: int = 20) -> None:
        self._model, self._scaler = model, scaler
        self._filter = RegimeFilter(model, max_hole)
        self._mean = np.array([model.mean_ if isinstance(model, LevelModel) else 0.0])

    def rows(self, values: FloatArray, steps: npt.NDArray[np.int64] | None) -> FloatArray:
        rows = self._scaler.scaled(values)
        if isinstance(self._model, LevelModel):
            forecasts = self._model.forecast_.predict(rows)
            rows = self._model.without_drift(forecasts, self._mean)[:, None]
        return self._filter.filter(rows, steps)[1]


class DriftWatch:
    """Drift of one series under one bundle.

    Parameters
    ----------
    bundle : ModelBundle
        One that knows what its training was like.
    """

    def __init__(self, bundle: DriftModel) -> None:
        if bundle.drift is None:
            raise _without_reference(bundle)
        self.bundle, self.reference = bundle, bundle.drift
        self._window = DriftWindow(bundle.drift)
        self._likelihood = _Likelihood(bundle.regime_model, bundle.scaler)
        self._step = interval_us(bundle.interval)
        self._columns = [bundle.features.index(name) for name in bundle.drift.names]
        self._last = 0

    def update(self, signal: Signal) -> DriftReport | None:
        """Take the next signal; None if it is not later than the last, or tells no regime."""
        if signal.open_time <= self._last or signal.regime < 0:
            return None
        self.extend([signal])
        return self.report(signal.market, signal.symbol)

    def fill(self, signals: pd.DataFrame) -> None:
        """Take the signals of a frame that are later than the last and tell a regime."""
        times = pd.DatetimeIndex(signals.index).as_unit("us").asi8
        known = (signals["regime"] >= 0).to_numpy() & (times > self._last)
        values = signals[list(self.bundle.features)].to_numpy(np.float64)[known]
        self._add(times[known], values, signals["regime"].to_numpy()[known])

    def extend(self, signals: Sequence[Signal]) -> None:
        """Take several signals at once, passing over those that :meth:`update` would."""
        later = [each for each in signals if each.regime >= 0 and each.open_time > self._last]
        if later:
            names = self.bundle.features
            values = np.array([[each.features[name] for name in names] for each in later])
            regimes = np.array([each.regime for each in later])
            self._add(np.array([each.open_time for each in later]), values, regimes)

    def report(self, market: str, symbol: str) -> DriftReport:
        """How far the window is from the training now."""
        reference, window = self.reference, self._window
        reading = window.read()
        return DriftReport(
            market,
            symbol,
            self.bundle.interval,
            self._last,
            self.bundle.bundle_id,
            window.n_rows,
            reference.window,
            dict(zip(reference.names, reading.features.tolist(), strict=True)),
            reading.regimes,
            reading.shortfall,
            reference.alarms(reading) if window.is_full else (),
        )

    def _add(
        self,
        times: npt.NDArray[np.int64],
        values: FloatArray,
        regimes: npt.NDArray[np.integer[Any]],
    ) -> None:
        if not len(times):
            return
        before = self._last or times[0] - self._step
        likelihoods = self._likelihood.rows(values, np.diff(times, prepend=before) // self._step)
        rows = values[:, self._columns]
        for row, regime, likelihood in zip(rows, regimes, likelihoods, strict=True):
            self._window.add(row, int(regime), float(likelihood))
        self._last = int(times[-1])


def drift_from_signals(bundle: DriftModel, signals: pd.DataFrame) -> pd.DataFrame:
    """Drift at every bar of a signals frame that tells a regime.

    Returns
    -------
    DataFrame
        ``n_bars``, a PSI for each feature watched, ``regimes``, ``shortfall`` and ``alarms``, as
        in :class:`DriftReport`.
    """
    reference = bundle.drift
    if reference is None:
        raise _without_reference(bundle)
    known = signals[signals["regime"] >= 0]
    times = pd.DatetimeIndex(known.index).as_unit("us").asi8
    step = interval_us(bundle.interval)
    steps = np.diff(times, prepend=times[:1] - step) // step
    table = known[list(bundle.features)]
    likelihood = _Likelihood(bundle.regime_model, bundle.scaler).rows(
        table.to_numpy(np.float64), steps
    )
    size, names = reference.window, list(reference.names)
    bins = reference.bins(known[names].to_numpy(np.float64))
    columns: dict[str, FloatArray] = {
        name: stability_index(_rolling(column, 10, size), shares)
        for name, column, shares in zip(names, bins.T, reference.shares, strict=True)
    }
    regimes = _rolling(known["regime"].to_numpy(np.int64), len(reference.regimes), size)
    columns["regimes"] = stability_index(regimes, reference.regimes)
    ends = np.arange(1, len(known) + 1)
    n_bars = np.minimum(ends, size)
    sums = np.cumsum(np.append(0.0, likelihood))
    columns["shortfall"] = reference.log_likelihood - (sums[ends] - sums[ends - n_bars]) / n_bars
    frame = pd.DataFrame({"n_bars": n_bars, **columns}, index=known.index)
    alarms = np.empty(len(known), dtype=object)
    for row, reading in enumerate(frame[list(columns)].to_numpy()):
        read = Reading(reading[:-2], float(reading[-2]), float(reading[-1]))
        alarms[row] = reference.alarms(read) if n_bars[row] == size else ()
    return frame.assign(alarms=alarms)


def drift_reference(
    names: Iterable[str],
    values: FloatArray,
    scaler: FeatureScaler,
    model: Any,
    steps: npt.NDArray[np.int64] | None,
    interval: str,
) -> DriftReference:
    """What the training of these models was like; see :func:`learn_drift`.

    Features that lie on a circle are not watched: a day of them is never like a week.
    """
    names = tuple(names)
    watched = [k for k, name in enumerate(names) if not FEATURES[name].cyclic]
    likelihood = _Likelihood(model, scaler).rows(values, steps)
    regimes = model.tracker().track(scaler.transform(values), steps)[1]
    return learn_drift(
        tuple(names[k] for k in watched),
        values[:, watched],
        regimes,
        likelihood,
        len(model.occupancy_),
        drift_window(interval),
    )


def drift_window(interval: str) -> int:
    """A day of bars; never fewer than 96, nor more than 10,000."""
    return min(max(_DAY_US // interval_us(interval), _WINDOW[0]), _WINDOW[-1])


def _without_reference(bundle: DriftModel) -> BundleMismatchError:
    return BundleMismatchError(
        f"bundle {bundle.bundle_id}: found nothing to tell drift by, expected a bundle trained by "
        "this version of the package"
    )


def _rolling(bins: npt.NDArray[np.int64], n_bins: int, size: int) -> npt.NDArray[np.int64]:
    """Counts by bin over the last `size` rows up to each, shape ``(n_rows, n_bins)``."""
    sums = np.zeros((len(bins) + 1, n_bins), np.int64)
    sums[1:] = np.cumsum(np.eye(n_bins, dtype=np.int64)[bins], axis=0)
    starts = np.maximum(0, np.arange(1, len(bins) + 1) - size)
    return np.asarray(sums[1:] - sums[starts])
