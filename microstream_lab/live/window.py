"""The last bars and what was said of them, column by column, in a window of fixed length.

Invariant: open times ascend, each once; memory never grows; a column handed out is a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from microstream_lab.schema import QUALITIES, Bar, Signal

__all__ = ["Columns", "Window"]

Floats = npt.NDArray[np.float64]
Columns = dict[str, Floats]

_OF_BAR: Final = ("open", "high", "low", "close", "volume", "quality")
_OF_SIGNAL: Final = ("anomaly_score", "is_anomaly", "regime")


class Window:
    """The last `length` bars.

    Parameters
    ----------
    length : int
        How many bars are kept.
    features : sequence of str
        Names of the features kept of each signal.
    n_regimes : int
        K: so many filtered probabilities are kept of each signal.

    Notes
    -----
    ``quality`` is the place in :data:`~microstream_lab.schema.QUALITIES`, ``regime`` -1 and all
    other numbers of a signal NaN where there is none.
    """

    def __init__(self, length: int, features: Sequence[str] = (), n_regimes: int = 0) -> None:
        self.length, self._features, self._n_regimes = length, tuple(features), n_regimes
        probs = tuple(f"p_{k}" for k in range(n_regimes))
        self._names = (*_OF_BAR, *_OF_SIGNAL, *probs, *self._features)
        self._times = np.zeros(length, np.int64)
        self._values = np.full((len(self._names), length), np.nan)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """Open times (us), oldest first."""
        return self._times[: self._n].copy()

    def columns(self) -> Columns:
        """Every column by name, oldest bar first, shape ``(n_bars,)`` each."""
        values = self._values[:, : self._n].copy()
        return dict(zip(self._names, values, strict=True))

    def put(self, bar: Bar, signal: Signal | None) -> bool:
        """Add a bar, or put it in the place of the one of its time.

        Returns
        -------
        bool
            False if the bar is older than the window and was left out.
        """
        place = int(np.searchsorted(self._times[: self._n], bar.open_time))
        if place == self._n or self._times[place] != bar.open_time:
            if self._n == self.length:
                if place == 0:
                    return False
                self._shift(place)
                place -= 1
            else:
                self._make_room(place)
        self._times[place] = bar.open_time
        self._values[:, place] = self._row(bar, signal)
        return True

    def relabel(self, features: Sequence[str], n_regimes: int) -> Window:
        """The same bars with other columns of signals, all of them unknown."""
        fresh = Window(self.length, features, n_regimes)
        fresh._n, fresh._times = self._n, self._times
        fresh._values[: len(_OF_BAR)] = self._values[: len(_OF_BAR)]
        fresh._values[fresh._names.index("regime"), : self._n] = -1
        return fresh

    def _shift(self, place: int) -> None:
        """Forget the oldest bar, so that there is room before `place`."""
        self._times[: place - 1] = self._times[1:place]
        self._values[:, : place - 1] = self._values[:, 1:place]

    def _make_room(self, place: int) -> None:
        end = self._n
        self._times[place + 1 : end + 1] = self._times[place:end].copy()
        self._values[:, place + 1 : end + 1] = self._values[:, place:end].copy()
        self._n += 1

    def _row(self, bar: Bar, signal: Signal | None) -> list[float]:
        quality = QUALITIES.index(bar.quality)
        row = [bar.open, bar.high, bar.low, bar.close, bar.volume, quality]
        if signal is None:
            unknown = [np.nan] * (self._n_regimes + len(self._features))
            return [*row, np.nan, np.nan, -1, *unknown]
        features = [signal.features.get(name, np.nan) for name in self._features]
        probs = (*signal.filtered_probs, *[np.nan] * self._n_regimes)[: self._n_regimes]
        return [
            *row,
            signal.anomaly_score,
            float(signal.is_anomaly),
            signal.regime,
            *probs,
            *features,
        ]
