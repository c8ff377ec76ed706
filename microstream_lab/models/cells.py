"""A fitted Isolation Forest as cells whose leaves are noted beforehand, for scoring many rows.

Invariant: depths are those of :class:`~microstream_lab.models.forest.ForestTables`, which the cells
are made of, in every bit.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from microstream_lab.models.buckets import bucketed
from microstream_lab.models.forest import ForestTables
from microstream_lab.models.kernels.cells import cell_depths, note_cells

__all__ = ["ForestCells", "note_cells_of"]

FloatArray = npt.NDArray[np.float64]
_MOST_CELLS: Final = 2.0**24
"""Bytes that a forest's cells may take; trees that cut along many columns have far more."""
_CODES: Final = 256
_BUCKETS_BY_CUT: Final = 8


class ForestCells(NamedTuple):
    """What :func:`~microstream_lab.models.kernels.cells.cell_depths` reads, in its order."""

    cuts: FloatArray
    scales: FloatArray
    buckets: npt.NDArray[np.uint32]
    halvings: npt.NDArray[np.int64]
    steps: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int64]
    cells: npt.NDArray[np.uint8]
    leaf_depths: FloatArray

    def depths(self, columns: npt.NDArray[np.float32]) -> FloatArray:
        """Depth of finite rows summed over all trees, shape ``(n_rows,)``.

        Parameters
        ----------
        columns : array of shape (n_columns, n_rows)
            Those that the forest cuts along, one after the other.
        """
        return np.asarray(cell_depths(columns, *self, (0,) * len(self.starts)))


def note_cells_of(tables: ForestTables) -> ForestCells | None:
    """The cells of a forest, or None where it has too many, or a tree too many kinds of leaves."""
    n_trees, n_columns = tables.base.shape
    ends = np.append(tables.base.ravel(), tables.possible.shape[1]).astype(np.int64)
    sizes = np.diff(ends).reshape(n_trees, n_columns)
    coded = [np.unique(depths, return_inverse=True) for depths in tables.leaf_depths]
    most_kinds = max(len(kinds) for kinds, _ in coded)
    if sizes.prod(axis=1, dtype=np.float64).sum() > _MOST_CELLS or most_kinds > _CODES:
        return None
    begins = np.append(0, sizes.prod(axis=1).cumsum())
    cells, leaf_depths = np.zeros(begins[-1], np.uint8), np.zeros((n_trees, _CODES))
    for tree, (kinds, _) in enumerate(coded):
        leaf_depths[tree, : len(kinds)] = kinds
    shape = tables.leaf_depths.shape
    codes = np.array([code.reshape(shape[1:]) for _, code in coded]).astype(np.uint8)
    note_cells(sizes, tables.base, tables.possible, codes, begins, cells)
    bounds = tables.starts.astype(np.int64)
    n_intervals = np.diff(bounds) + 1
    strides = np.ones_like(sizes)
    strides[:, :-1] = sizes[:, :0:-1].cumprod(axis=1)[:, ::-1]
    steps = tables.intervals * np.repeat(strides, n_intervals, axis=1)
    return ForestCells(
        *_ladders([tables.cuts[low:high] for low, high in pairwise(bounds)]),
        steps=steps.astype(np.min_scalar_type(steps.max())),
        starts=np.append(0, n_intervals.cumsum()[:-1]),
        begins=begins,
        cells=cells,
        leaf_depths=leaf_depths,
    )


def _ladders(
    columns: list[FloatArray],
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Cuts, scales, buckets and halvings of all columns."""
    n_buckets = max(1, _BUCKETS_BY_CUT * max(len(cuts) for cuts in columns))
    scales, buckets, halvings = [], [], []
    for cuts in columns:
        lowest, by_unit, before = bucketed(cuts, n_buckets)
        scales.append((lowest, by_unit))
        buckets.append(before)
        halvings.append(int(np.diff(before).max()).bit_length())
    room = max(len(cuts) for cuts in columns) + (1 << max(halvings))
    padded = np.full((len(columns), room), np.inf)
    for place, cuts in zip(padded, columns, strict=True):
        place[: len(cuts)] = cuts
    return padded, np.array(scales), np.array(buckets), np.array(halvings)
