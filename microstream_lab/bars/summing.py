"""Sums without any rounding but the last: whole numbers of 1e-8, products of 1e-16.

Invariant: nothing is lost, so that neither the order of adding nor the size of a sum shows in the
result, and whoever adds the same trades ends on the same bits.

A sum is kept twice: modulo 2**64, as 64 bits hold it however large it grows, and as the estimate
that floats give. The estimate is off by far less than 2**63, and the one number that fits both is
the sum.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALL_DECIMALS",
    "LARGEST",
    "NO_ROOM",
    "UNITS",
    "in_units",
    "rows_to_sum",
    "settled",
]

UNITS: Final = 100_000_000
LARGEST: Final = 1e18
"""Prices and sizes stay below this, or not even estimates would be any good."""

ALL_DECIMALS: Final = 2.0**51 / UNITS
NO_ROOM: Final = 2.0 ** np.array([26, 29, 33, 36, 39, 43, 46, 49])
"""From each of these on, a float has room for one decimal less: eight below, none beyond."""
_SCALES: Final = np.array([UNITS, UNITS**2], np.float64)
_WHOLE, _REST = divmod(2**64, UNITS)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def in_units(values: Floats) -> Ints:
    """Values of at most eight decimals as whole numbers of 1e-8, modulo 2**64.

    A value of 67 million and more is taken for one of as many decimals as a float has room for.
    """
    if values.max() < ALL_DECIMALS:
        return np.rint(values * UNITS).astype(np.int64)
    whole = np.floor(values)
    coarse = 10 ** np.searchsorted(NO_ROOM, values, side="right")
    rest = np.rint((values - whole) * (UNITS // coarse)).astype(np.int64) * coarse
    return whole.astype(np.int64) * UNITS + rest


def rows_to_sum(price: Floats, quantity: Floats) -> tuple[Ints, Floats]:
    """Size and amount of every trade, for adding.

    Returns
    -------
    exact : ndarray of shape (2, n_trades)
        In units of 1e-8 and 1e-16, modulo 2**64.
    estimate : ndarray of shape (2, n_trades)
        The plain floats.
    """
    sizes = in_units(quantity)
    exact = np.stack([sizes, in_units(price) * sizes])
    return exact, np.stack([quantity, price * quantity])


def settled(exact: Ints, estimate: Floats) -> Floats:
    """The floats nearest to sums, those of amounts rounded to eight decimals, half a unit upwards.

    Parameters
    ----------
    exact, estimate : ndarray of shape (..., 2)
        A sum of sizes and a sum of amounts, each known twice.
    """
    turns = np.rint((estimate * _SCALES - exact) / 2.0**64)
    if estimate.max() > 2.0**62 / UNITS:
        return _settled_large(exact, turns)
    units = exact.copy()  # of the sizes: below 2**62 they have not made a turn
    high, low = turns[..., 1].astype(np.int64), exact[..., 1]
    carried = (high * _REST + low % UNITS + UNITS // 2) // UNITS
    units[..., 1] = high * _WHOLE + low // UNITS + carried
    return np.where(units < 2**53, units / UNITS, units // UNITS + units % UNITS / UNITS)


def _settled_large(exact: Ints, turns: Floats) -> Floats:
    """What :func:`settled` does, in numbers without a limit."""
    values = np.empty(exact.shape)
    for place in np.ndindex(exact.shape):
        total = int(exact[place]) + (int(turns[place]) << 64)
        is_amount = place[-1] == 1
        values[place] = ((total + UNITS // 2) // UNITS if is_amount else total) / UNITS
    return values
