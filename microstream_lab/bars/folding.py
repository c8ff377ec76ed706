"""Trades folded into bars: one compiled pass over the columns.

Invariant: sums are exact, so that they are those of
:class:`~microstream_lab.bars.builder.BarBuilder` in every bit. Importing this module imports numba;
nothing is compiled before the first call, and what was compiled is cached on disk.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["fold", "survey"]


@njit(cache=True, nogil=True)
def survey(
    agg_ids: NDArray[np.int64], times: NDArray[np.int64], step: int
) -> tuple[int, int, bool]:
    """Look the trades over before folding them.

    Returns
    -------
    tuple of int, int, bool
        Row of the first ``agg_id`` that does not rise (-1: none), the number of holes in the ids,
        and whether every trade falls into the bar of the trade before it or a later one.
    """
    n_holes, in_order, bar_open = 0, True, times[0] - times[0] % step
    for row in range(1, len(agg_ids)):
        rise = agg_ids[row] - agg_ids[row - 1]
        if rise < 1:
            return row, n_holes, in_order
        n_holes += rise > 1
        if times[row] < bar_open:
            in_order = False
        elif times[row] >= bar_open + step:
            bar_open = times[row] - times[row] % step
    return -1, n_holes, in_order


@njit(cache=True, nogil=True)
def fold(
    times: NDArray[np.int64],
    price: NDArray[np.float64],
    exact: NDArray[np.int64],
    estimate: NDArray[np.float64],
    first_ids: NDArray[np.int64],
    last_ids: NDArray[np.int64],
    buyer_is_maker: NDArray[np.bool_],
    step: int,
    n_bars: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Fold trades whose bars never go backwards into `n_bars` bars from the first trade's on.

    `exact` and `estimate` are those of :func:`~microstream_lab.bars.summing.rows_to_sum`.

    Returns
    -------
    prices : ndarray of shape (n_bars, 4)
        Open, high, low and close; a quiet bar has the close before it four times.
    exact, estimate : ndarray of shape (n_bars, 2, 2)
        Sums of sizes and amounts, of all trades and of those that takers bought.
    counts : ndarray of shape (n_bars,)
        Single trades.
    """
    prices, counts = np.empty((n_bars, 4)), np.zeros(n_bars, dtype=np.int64)
    sums, estimates = np.zeros((n_bars, 2, 2), np.int64), np.zeros((n_bars, 2, 2))
    row, bar_end = 0, times[0] - times[0] % step
    for bar in range(n_bars):
        bar_end += step
        if row == len(times) or times[row] >= bar_end:
            prices[bar] = prices[bar - 1, 3]
            continue
        high = low = prices[bar, 0] = price[row]
        while row < len(times) and times[row] < bar_end:
            high, low = max(high, price[row]), min(low, price[row])
            counts[bar] += last_ids[row] - first_ids[row] + 1
            bought = 1 - int(buyer_is_maker[row])  # a factor, as no processor can foretell a branch
            for unit in range(2):
                sums[bar, 0, unit] += exact[unit, row]
                sums[bar, 1, unit] += exact[unit, row] * bought
                estimates[bar, 0, unit] += estimate[unit, row]
                estimates[bar, 1, unit] += estimate[unit, row] * bought
            row += 1
        prices[bar, 1], prices[bar, 2], prices[bar, 3] = high, low, price[row - 1]
    return prices, sums, estimates, counts
