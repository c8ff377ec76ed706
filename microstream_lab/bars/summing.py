"""Sums that end on the exchange's own last digit: compensated, then rounded to eight decimals.

Invariant: only float and integer operations whose result IEEE 754 fixes, so that the compiled and
the plain caller get the same bits. A running sum is a pair ``(total, lost)`` and stands for
``total - lost``, Kahan's compensated sum.

References
----------
Kahan (1965), Further remarks on reducing truncation errors. Knuth, TAOCP 2, section 4.2.2, for the
exact error of one addition.
"""

from __future__ import annotations

import math

__all__ = ["added", "joined", "settled"]

_UNITS = 100_000_000
_EXACT_BELOW = 90_071_992  # 2**53 units of 1e-8: beyond, a float cannot hold every eighth decimal


def added(total: float, lost: float, value: float) -> tuple[float, float]:
    """The running sum with `value` added, and what the addition lost."""
    step = value - lost
    larger = total + step
    return larger, (larger - total) - step


def settled(total: float, lost: float) -> float:
    """The float nearest to ``total - lost`` rounded to eight decimals.

    The whole part is set aside first: scaling a sum of tens of millions by 1e8 in one float would
    lose the digit that is to be kept.
    """
    whole = math.floor(total)
    units = math.floor((total - whole - lost) * _UNITS + 0.5)
    if whole < _EXACT_BELOW:
        return (whole * _UNITS + units) / _UNITS
    return whole + units / _UNITS


def joined(total: float, lost: float, other: float, other_lost: float) -> tuple[float, float]:
    """The running sum of two running sums, with the error of adding them kept."""
    both = total + other
    shadow = both - total
    error = (total - (both - shadow)) + (other - shadow)
    return both, lost + other_lost - error
