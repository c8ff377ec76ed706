"""Trades folded into bars: one compiled pass over the columns.

Invariant: the float operations and their order are those of
:class:`~microstream_lab.bars.builder.BarBuilder`, so the two agree in every bit. Importing this
module imports numba; nothing is compiled before the first call, and what was compiled is cached on
disk.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from microstream_lab.bars import summing

__all__ = ["fold", "survey"]

_added = njit(nogil=True)(summing.added)
_joined = njit(nogil=True)(summing.joined)
_settled = njit(nogil=True)(summing.settled)


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
def _fold_bar(
    row: int,
    bar_end: int,
    times: NDArray[np.int64],
    price: NDArray[np.float64],
    quantity: NDArray[np.float64],
    first_ids: NDArray[np.int64],
    last_ids: NDArray[np.int64],
    buyer_is_maker: NDArray[np.bool_],
    sides: NDArray[np.float64],
    prices: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> tuple[int, int]:
    """Fold the trades from `row` to `bar_end` into one bar.

    `sides` is room for the running sums: taker buys and sells, base and quote, total and lost.
    Indexing it by the side is three times as fast as a branch that no processor can foretell.
    Returns the row after the bar and the number of single trades.
    """
    high = low = prices[0] = price[row]
    sides[:] = 0.0
    n_single = 0
    while row < len(times) and times[row] < bar_end:
        value, size, side = price[row], quantity[row], int(buyer_is_maker[row])
        high, low = value if value > high else high, value if value < low else low
        n_single += last_ids[row] - first_ids[row] + 1
        sides[side, 0, 0], sides[side, 0, 1] = _added(sides[side, 0, 0], sides[side, 0, 1], size)
        sides[side, 1, 0], sides[side, 1, 1] = _added(
            sides[side, 1, 0], sides[side, 1, 1], value * size
        )
        row += 1
    prices[1], prices[2], prices[3] = high, low, price[row - 1]
    for unit in range(2):
        buy, buy_lost = sides[0, unit]
        sell, sell_lost = sides[1, unit]
        total, lost = _joined(buy, buy_lost, sell, sell_lost)
        sums[unit], sums[unit + 2] = _settled(total, lost), _settled(buy, buy_lost)
    return row, n_single


@njit(cache=True, nogil=True)
def fold(
    times: NDArray[np.int64],
    price: NDArray[np.float64],
    quantity: NDArray[np.float64],
    first_ids: NDArray[np.int64],
    last_ids: NDArray[np.int64],
    buyer_is_maker: NDArray[np.bool_],
    step: int,
    n_bars: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Fold trades whose bars never go backwards into `n_bars` bars from the first trade's on.

    Returns
    -------
    prices : ndarray of shape (n_bars, 4)
        Open, high, low and close; a quiet bar has the close before it four times.
    sums : ndarray of shape (n_bars, 4)
        Base and quote volume, and the part of each that takers bought.
    counts : ndarray of shape (n_bars,)
        Single trades.
    """
    prices, sums = np.empty((n_bars, 4)), np.zeros((n_bars, 4))
    counts, sides = np.zeros(n_bars, dtype=np.int64), np.empty((2, 2, 2))
    row, bar_end = 0, times[0] - times[0] % step
    for bar in range(n_bars):
        bar_end += step
        if row == len(times) or times[row] >= bar_end:
            prices[bar] = prices[bar - 1, 3]
            continue
        row, counts[bar] = _fold_bar(
            row,
            bar_end,
            times,
            price,
            quantity,
            first_ids,
            last_ids,
            buyer_is_maker,
            sides,
            prices[bar],
            sums[bar],
        )
    return prices, sums, counts
