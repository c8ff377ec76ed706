"""Two bundles on the same bars: what each tells of the coming hour, and how sure the difference is.

Invariant: both are judged by the bars for which both have a regime and the coming hour is known;
a gain is positive where the challenger is the better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from microstream_lab.research.bootstrap import interval_of_sums
from microstream_lab.research.scoring import (
    Outcomes,
    area_under_curve,
    moments,
    variance_explained,
)

__all__ = ["FIGURES", "duel"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FIGURES: Final = ("eta_squared", "r_squared", "stress_error", "stress_bias", "auc_stress")
"""Share of the variance of the coming hour's log volatility that the regime explains, and that a
line in ``expected_stress`` does; root mean square error of ``expected_stress``, and its mean error
(positive: too much was expected); and how it ranks the worst 5 % of hours. The last has a value but
no interval: a week holds a handful of such hours, and many a resample none."""


def duel(
    challenger: pd.DataFrame,
    champion: pd.DataFrame | None,
    outcomes: Outcomes,
    block_us: int,
    level: float = 0.9,
    n: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Figures of one or two estimates, and of their difference, with block-bootstrap intervals.

    Parameters
    ----------
    challenger, champion : DataFrame
        Signals on the index of `outcomes`.
    outcomes : Outcomes
        What followed each bar.
    block_us : int
        Bars are summed over so many microseconds, and blocks of these sums are drawn.
    level, n, seed
        Of the intervals; see :func:`microstream_lab.research.bootstrap.interval_of_sums`.

    Returns
    -------
    DataFrame
        A row for each of :data:`FIGURES`: ``challenger``, ``champion``, ``gain`` and its interval
        ``low`` to ``high`` (NaN without a champion, or over too few blocks); in ``attrs`` the
        numbers of ``bars`` and ``blocks``.
    """
    sides = [challenger] if champion is None else [challenger, champion]
    judged = np.isfinite(outcomes.volatility)
    for signals in sides:
        judged &= signals["regime"].to_numpy() >= 0
    blocks = outcomes.index.asi8[judged] // block_us
    parts = [_Side(signals, outcomes, judged, blocks) for signals in sides]
    table = pd.DataFrame(np.nan, list(FIGURES), ["challenger", "champion", "gain", "low", "high"])
    for name, part in zip(("challenger", "champion"), parts, strict=False):
        table[name] = part.exact
    table.attrs = {"bars": int(judged.sum()), "blocks": len(np.unique(blocks))}
    if champion is not None and len(blocks):
        table["gain"] = _gains(table["challenger"].to_numpy(), table["champion"].to_numpy())
        width = parts[0].sums.shape[1]

        def gains(totals: Floats) -> Floats:
            first, second = totals[:, :width], totals[:, width:]
            return _gains(parts[0].figures(first).T, parts[1].figures(second).T).T

        sums = np.hstack([part.sums for part in parts])
        table["low"], table["high"] = interval_of_sums(sums, gains, level, n, seed=seed)
    return table


def _gains(challenger: Floats, champion: Floats) -> Floats:
    """By figure: more explained and better ranked, less error, less bias either way."""
    better = challenger - champion
    better[2] = champion[2] - challenger[2]
    better[3] = np.abs(champion[3]) - np.abs(challenger[3])
    return better


class _Side:
    """Additive quantities of one estimate by block, and the figures that totals of them give."""

    def __init__(
        self,
        signals: pd.DataFrame,
        outcomes: Outcomes,
        judged: Bools,
        blocks: npt.NDArray[np.int64],
    ) -> None:
        regime = signals["regime"].to_numpy(np.int64)[judged]
        stress = signals["expected_stress"].to_numpy(np.float64)[judged]
        volatility, wild = outcomes.volatility[judged], outcomes.wild[judged]
        error = stress - volatility
        if not len(regime):
            self.sums, self.exact = np.zeros((0, 0)), [float("nan")] * len(FIGURES)
            return
        every = np.ones(len(regime), bool)
        inside = [regime == k for k in range(int(regime.max()) + 1)]
        x, y = stress - stress.mean(), volatility - volatility.mean()
        plain = [every, error, error**2, x, y, x * x, y * y, x * y]
        self._n_plain = len(plain)
        starts = np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 1))
        self.sums = _by_block([*plain, *moments(inside, every, volatility)], starts)
        self.exact = self.figures(self.sums.sum(axis=0)[None])[0].tolist()
        self.exact[-1] = area_under_curve(stress, wild)

    def figures(self, totals: Floats) -> Floats:
        """Totals (m, n_columns) to figures (m, 5); the last, which no sums give, is NaN."""
        n, error, squares, x, y, xx, yy, xy = totals[:, : self._n_plain].T
        with np.errstate(invalid="ignore", divide="ignore"):
            explained = (xy - x * y / n) ** 2 / ((xx - x * x / n) * (yy - y * y / n))
            return np.column_stack(
                [
                    variance_explained(totals[:, self._n_plain :]),
                    explained,
                    np.sqrt(squares / n),
                    error / n,
                    np.full(len(n), np.nan),
                ]
            )


def _by_block(columns: Sequence[npt.NDArray[np.generic]], starts: npt.NDArray[np.int64]) -> Floats:
    sums = [np.add.reduceat(np.asarray(column, np.float64), starts) for column in columns]
    return np.column_stack(sums)
