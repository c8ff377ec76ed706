"""Who presses: the taker's side in one bar and over buckets of equal volume."""

from __future__ import annotations

from collections import deque
from math import nan

import numpy as np
import pandas as pd

from microstream_lab.features.base import Feature, register
from microstream_lab.features.horizon import bars_over
from microstream_lab.features.memory import Decay, FloatArray, column
from microstream_lab.schema import Bar, hour_of_bars

__all__ = ["TakerImbalance", "Vpin"]

_DAY, _BUCKET = 1440, 5


@register
class TakerImbalance(Feature):
    """Side of the takers: ``2 B / V - 1``, -1 (all sell) .. 1 (all buy), 0 without trades.

    ``B`` is the volume that takers bought, ``V`` all volume.

    References
    ----------
    Chordia, Roll and Subrahmanyam (2002), Order imbalance, liquidity, and market returns, Journal
    of Financial Economics 65.
    """

    name = "taker_imbalance"
    unit = "1"
    direction = "high = takers buy"
    memory = "none"
    warm_up = 0

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        bought, volume = column(bars, "taker_buy_base"), column(bars, "volume")
        return np.divide(2 * bought, volume, out=np.ones(len(bars)), where=volume > 0) - 1

    def update(self, bar: Bar) -> float:
        return 2 * bar.taker_buy_base / bar.volume - 1 if bar.volume > 0 else 0.0


@register
class Vpin(Feature):
    """One-sidedness of the flow on the volume's clock: ``mean(|B - S| / V)``, 0 .. 1.

    The mean of as many buckets of volume V as the window has bars, or of those that are full;
    undefined (NaN) before the first. ``B`` and ``S`` are what takers bought and sold, known here
    and guessed in the paper. A bucket holds what five sixtieths of an hour of bars usually trade
    (an EWMA with a half-life of a day of bars, when the bucket begins). A bar's volume is split
    between buckets pro rata; nothing passes on this clock while nothing trades.

    References
    ----------
    Easley, Lopez de Prado and O'Hara (2012), Flow toxicity and liquidity in a high-frequency world,
    Review of Financial Studies 25, section 2.
    """

    name = "vpin"
    unit = "1"
    direction = "high = one-sided"
    memory = "window of buckets"
    spans_gaps = True

    def __init__(self, window: int = 20, interval: str = "1m") -> None:
        super().__init__(window, interval)
        self._usual = Decay(bars_over(_DAY, interval))
        self._bucket_bars = bars_over(_BUCKET, interval)
        self._imbalances: deque[float] = deque(maxlen=window)
        self._size = self._filled = self._bought = 0.0
        self._seen = 0

    @property
    def warm_up(self) -> int:
        return hour_of_bars(self.interval)

    def batch(self, bars: pd.DataFrame) -> FloatArray:
        from microstream_lab.features.recursions import bucket_imbalances

        volume, bought = column(bars, "volume"), column(bars, "taker_buy_base")
        sizes = self._usual.batch(volume) * self._bucket_bars
        means = np.empty(len(volume))
        bucket_imbalances(volume, bought, sizes, self.window, means)
        means[: self.warm_up] = np.nan
        return means

    def update(self, bar: Bar) -> float:
        size = self._usual.update(bar.volume) * self._bucket_bars
        if bar.volume > 0:
            self._pour(bar.volume, bar.taker_buy_base / bar.volume, size)
        self._seen = min(self._seen + 1, self.warm_up + 1)
        if self._seen <= self.warm_up or not self._imbalances:
            return nan
        return sum(self._imbalances) / len(self._imbalances)

    def _pour(self, rest: float, share: float, size: float) -> None:
        """Fill buckets with a bar's volume; `size` is that of a bucket that begins in this bar."""
        self._size = self._size if self._size > 0 else size
        while rest >= (room := self._size - self._filled):
            bought = self._bought + room * share
            self._imbalances.append(abs(2.0 * bought - self._size) / self._size)
            rest -= room
            self._size, self._filled, self._bought = size, 0.0, 0.0
            if rest > (self.window + 1) * size:  # older buckets would be forgotten at once
                rest = size * self.window + rest % size
        self._filled += rest
        self._bought += rest * share
