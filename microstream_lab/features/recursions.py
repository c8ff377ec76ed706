"""Compiled loops of the batch faces: logarithms, decaying means and sliding sums.

Invariant: the float operations and their order are those of :mod:`microstream_lab.features.memory`,
one bar at a time, so the two faces agree in every bit. NaN is not observed: it changes nothing and
what was known is told again. Outcomes go to the last argument, memory of numpy's: it takes large
arrays in large pages, and a kernel's own would be paid for page by page. Importing this module
imports numba; what was compiled is cached.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from microstream_lab.compiled import compiled

__all__ = ["bucket_imbalances", "decaying_means", "log_ratios", "sliding_sums"]

FloatArray = npt.NDArray[np.float64]


@compiled
def log_ratios(numerator: FloatArray, denominator: FloatArray, logs: FloatArray) -> None:
    """``ln(a / b)`` by the C library's logarithm; numpy's own differs from it in the last bit."""
    for row in range(len(numerator)):
        logs[row] = math.log(numerator[row] / denominator[row])


@compiled
def decaying_means(values: FloatArray, factor: float, least: int, means: FloatArray) -> None:
    """Mean of the values so far, each worth `factor` less a value later; NaN before `least`."""
    total = weight = 0.0
    seen = 0
    for row in range(len(values)):
        if not math.isnan(values[row]):
            total = factor * total + values[row]
            weight = factor * weight + 1.0
            seen += 1
        means[row] = total / weight if seen >= least else np.nan


@compiled
def sliding_sums(values: FloatArray, length: int, sums: FloatArray) -> None:
    """Sum of the last `length` values, NaN before there are so many."""
    block, tails = np.empty(length), np.zeros(length)
    total = running = np.nan
    filled, full = 0, False
    for row in range(len(values)):
        if not math.isnan(values[row]):
            running = values[row] if filled == 0 else running + values[row]
            block[filled] = values[row]
            filled += 1
            if filled == length:
                total, filled, full = running, 0, True
                tail = 0.0
                for place in range(length - 1, -1, -1):
                    tail += block[place]
                    tails[place] = tail
            elif full:
                total = running + tails[filled]
        sums[row] = total


@compiled
def bucket_imbalances(
    volume: FloatArray, bought: FloatArray, sizes: FloatArray, length: int, means: FloatArray
) -> None:
    """Mean imbalance of the last `length` volume buckets, NaN before the first is full.

    ``sizes[t]`` is the volume of a bucket that begins in bar t.
    """
    ring = np.zeros(length)
    n_full, mean, size, filled, bucket_bought = 0, np.nan, 0.0, 0.0, 0.0
    for row in range(len(volume)):
        if volume[row] > 0:
            share, rest = bought[row] / volume[row], volume[row]
            size = size if size > 0 else sizes[row]
            while rest >= size - filled:
                bucket_bought += (size - filled) * share
                ring[n_full % length] = abs(2.0 * bucket_bought - size) / size
                rest -= size - filled
                n_full += 1
                size, filled, bucket_bought = sizes[row], 0.0, 0.0
                if rest > (length + 1) * size:
                    rest = size * length + rest % size
                mean = ring[: min(n_full, length)].mean()
            filled += rest
            bucket_bought += rest * share
        means[row] = mean
