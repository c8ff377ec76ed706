"""Where one regime ends and the next begins, on the scale of expected volatility."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["merged", "place_cuts", "usual_shares"]

FloatArray = npt.NDArray[np.float64]

_CRISIS: Final = 0.10
_REACH: Final = 0.12
_DEEP: Final = 0.6
_BINS: Final = 40
_SMOOTHING: Final = np.array([1, 2, 3, 2, 1]) / 9


def usual_shares(n_regimes: int) -> tuple[float, ...]:
    """Shares of training time, calmest first: a crisis is rare, the others are equally common."""
    others = (1.0 - _CRISIS) / (n_regimes - 1)
    return (*(n_regimes - 1) * (others,), _CRISIS)


def place_cuts(heights: FloatArray, shares: FloatArray) -> FloatArray:
    """Cuts that give each regime its share of the rows, or nearly so.

    A cut moves by up to 0.12 of the rows into a valley of their density, if there is one at most
    0.6 times as high as the hills on both sides: where the market has states that keep apart, none
    of them is cut in two. Real forecasts have a single hill, and are cut exactly.

    Parameters
    ----------
    heights : array of shape (n_rows,)
    shares : array of shape (K,)
        Calmest first, adding up to 1.

    Returns
    -------
    array of shape (K - 1,), ascending
    """
    places = np.cumsum(shares)[:-1]
    exact = np.quantile(heights, places)
    low, high = np.quantile(heights, (0.005, 0.995))
    edges = np.linspace(low, high, _BINS + 1)
    density = np.convolve(np.histogram(heights, edges)[0], _SMOOTHING, "same")
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.searchsorted(np.sort(heights), middles) / len(heights)
    cuts = [
        _valley(density, middles, np.abs(below - place) <= _REACH, cut)
        for place, cut in zip(places, exact, strict=True)
    ]
    return exact if (np.diff(cuts) <= 0).any() else np.array(cuts)


def merged(level_probs: FloatArray, bands: npt.NDArray[np.intp], own: FloatArray) -> FloatArray:
    """Of each level's filtered mass, the share found at forecasts within each regime's band.

    Parameters
    ----------
    level_probs : array of shape (n_rows, n_levels)
    bands : array of shape (n_rows,)
        Regime whose band the row's forecast lies in.
    own : array of shape (n_levels, K)
        1 for the regime of the level's own mean, where a level without any mass belongs.
    """
    mass = np.column_stack([level_probs[bands == k].sum(axis=0) for k in range(own.shape[1])])
    mass += 1e-9 * own
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def _valley(
    density: FloatArray, middles: FloatArray, within: npt.NDArray[np.bool_], cut: float
) -> float:
    """The middle of the lowest bin within reach if it lies between two hills, else `cut`."""
    if not within.any():
        return cut
    lowest = int(np.where(within, density, np.inf).argmin())
    hills = density[: lowest + 1].max(), density[lowest:].max()
    return float(middles[lowest]) if density[lowest] < _DEEP * min(hills) else cut
