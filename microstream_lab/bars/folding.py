"""Trades folded into bars: one compiled pass over the columns.

Invariant: sums are exact, so that they are those of
:class:`~microstream_lab.bars.builder.BarBuilder` in every bit, and what cannot be folded is found
on the way, since reading the columns takes almost as long as folding them. Importing this module
imports numba; nothing is compiled before the first call, and what was compiled is cached on disk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from microstream_lab.bars.summing import ALL_DECIMALS, LARGEST, NO_ROOM, UNITS
from microstream_lab.compiled import compiled

__all__ = ["fold"]


@compiled
def _units(value: float) -> np.int64:
    """What :func:`~microstream_lab.bars.summing.in_units` makes of one value."""
    if value < ALL_DECIMALS:
        return np.int64(np.rint(value * UNITS))
    whole, coarse = np.floor(value), 1
    for edge in NO_ROOM:
        coarse *= 10 if value >= edge else 1
    rest = np.int64(np.rint((value - whole) * (UNITS // coarse))) * coarse
    return np.int64(whole) * UNITS + rest


@compiled
def _fold_bar(
    price: NDArray[np.float64],
    quantity: NDArray[np.float64],
    first_ids: NDArray[np.int64],
    last_ids: NDArray[np.int64],
    buyer_is_maker: NDArray[np.bool_],
    exact: NDArray[np.int64],
    estimate: NDArray[np.float64],
) -> tuple[float, float, int, bool]:
    """High, low and count of one bar's trades, and whether their numbers can be used.

    The sums go to `exact` and `estimate`.
    """
    high = low = price[0]
    largest = smallest = quantity[0]
    n_single, sizes, amounts, bought_sizes, bought_amounts = 0, 0, 0, 0, 0
    size_sum, amount_sum, bought_size_sum, bought_amount_sum = 0.0, 0.0, 0.0, 0.0
    for row in range(len(price)):
        value, size = price[row], quantity[row]
        high, low = value if value > high else high, value if value < low else low
        largest = size if size > largest else largest
        smallest = size if size < smallest else smallest
        n_single += last_ids[row] - first_ids[row] + 1
        bought = np.int64(not buyer_is_maker[row])  # a factor: no processor can foretell a branch
        size_units = _units(size)
        amount_units = _units(value) * size_units
        sizes, amounts = sizes + size_units, amounts + amount_units
        bought_sizes += size_units * bought
        bought_amounts += amount_units * bought
        size_sum, amount_sum = size_sum + size, amount_sum + value * size
        bought_size_sum += size * bought
        bought_amount_sum += value * size * bought
    exact[0, 0], exact[0, 1] = sizes, amounts
    exact[1, 0], exact[1, 1] = bought_sizes, bought_amounts
    estimate[0, 0], estimate[0, 1] = size_sum, amount_sum
    estimate[1, 0], estimate[1, 1] = bought_size_sum, bought_amount_sum
    is_sound = low >= 0.0 and smallest >= 0.0 and high < LARGEST and largest < LARGEST
    return (
        high,
        low,
        n_single,
        is_sound and not np.isnan(amount_sum),
    )  # not all NaN is in an extreme


@compiled
def fold(
    times: NDArray[np.int64],
    price: NDArray[np.float64],
    quantity: NDArray[np.float64],
    first_ids: NDArray[np.int64],
    last_ids: NDArray[np.int64],
    buyer_is_maker: NDArray[np.bool_],
    step: int,
    n_bars: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], bool]:
    """Fold trades into `n_bars` bars from the first trade's on.

    Returns
    -------
    prices : ndarray of shape (n_bars, 4)
        Open, high, low and close; a quiet bar has the close before it four times.
    exact, estimate : ndarray of shape (n_bars, 2, 2)
        Sums of sizes and amounts, of all trades and of those that takers bought, as
        :func:`~microstream_lab.bars.summing.settled` takes them.
    counts : ndarray of shape (n_bars,)
        Single trades.
    is_sound : bool
        Whether all that is of any use: no trade's bar is before the last trade's or none of these,
        and no number is negative, not finite or too large.
    """
    prices, counts = np.empty((n_bars, 4)), np.zeros(n_bars, dtype=np.int64)
    exact, estimate = np.zeros((n_bars, 2, 2), np.int64), np.zeros((n_bars, 2, 2))
    end, bar_end, is_sound = 0, times[0] - times[0] % step, True
    for bar in range(n_bars):
        begin, bar_end = bar_end, bar_end + step
        row = end
        while end < len(times) and times[end] < bar_end:
            is_sound &= times[end] >= begin
            end += 1
        if end == row:
            prices[bar] = prices[bar - 1, 3]
            continue
        high, low, counts[bar], is_usable = _fold_bar(
            price[row:end],
            quantity[row:end],
            first_ids[row:end],
            last_ids[row:end],
            buyer_is_maker[row:end],
            exact[bar],
            estimate[bar],
        )
        prices[bar, 0], prices[bar, 1] = price[row], high
        prices[bar, 2], prices[bar, 3] = low, price[end - 1]
        is_sound &= is_usable
    return prices, exact, estimate, counts, is_sound and end == len(times)
