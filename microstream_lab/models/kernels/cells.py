"""The depth of many rows in all trees of a forest, by one look-up for each tree.

The cuts of a tree divide the rows' space into cells, and all rows of a cell end in the same leaf.
Where a tree has few enough cells their leaves are noted beforehand, and a row's cell is the sum of
what each of its columns contributes.

Invariant: depths are summed in the order of the trees, so that sums equal those of
:func:`~microstream_lab.models.kernels.forest.summed_depths` in every bit.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from microstream_lab.compiled import compiled
from microstream_lab.models.kernels.forest import DE_BRUIJN

__all__ = ["cell_depths", "note_cells"]

_SHIFT: Final = np.uint64(58)
_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE: Final = np.uint32(1)
_BLOCK: Final = 4096


@compiled
def note_cells(sizes, base, possible, leaf_codes, begins, cells):  # type: ignore[no-untyped-def]
    """Fill `cells`: for every cell of every tree, the last column's intervals first, its code.

    Parameters
    ----------
    sizes : int64 array of shape (n_trees, n_columns)
        Intervals of each tree along each column.
    base, possible
        See :func:`~microstream_lab.models.kernels.forest.summed_depths`.
    leaf_codes : uint8 array of shape (n_trees, n_pairs, 2, 64)
        Codes of the leaves' depths, at the places of ``leaf_depths``; 0 for none.
    begins : int64 array of shape (n_trees + 1,)
        Where the cells of each tree begin.
    cells : uint8 array, zeros, written
    """
    n_trees, n_columns = sizes.shape
    last = n_columns - 1
    place = np.empty(n_columns, np.int64)
    for tree in range(n_trees):
        place[:] = 0
        for begin in range(begins[tree], begins[tree + 1], sizes[tree, last]):
            for pair in range(len(possible)):
                codes, low, high = leaf_codes[tree, pair], _ALL, _ALL
                for f in range(last):
                    low &= possible[pair, base[tree, f] + place[f], 0]
                    high &= possible[pair, base[tree, f] + place[f], 1]
                for interval in range(sizes[tree, last]):
                    at = base[tree, last] + interval
                    one = ((low & possible[pair, at, 0]) * DE_BRUIJN) >> _SHIFT
                    other = ((high & possible[pair, at, 1]) * DE_BRUIJN) >> _SHIFT
                    cells[begin + interval] += codes[0, one] + codes[1, other]
            f = last - 1
            while f >= 0:
                place[f] += 1
                if place[f] < sizes[tree, f]:
                    break
                place[f] = 0
                f -= 1


@compiled
def _count_below(column, cuts, lowest, by_unit, buckets, halvings, ranks):  # type: ignore[no-untyped-def]
    """How many of `cuts`, ascending, are below each value of a column.

    A bucket tells where its own cuts begin; the place among them is found by halving, in which all
    rows take each step together, so that their look-ups do not wait for one another.
    """
    highest = float(len(buckets) - 2)
    for row in range(len(column)):
        bucket = (column[row] - lowest) * by_unit
        ranks[row] = buckets[np.uint32(min(max(bucket, 0.0), highest))]
    for halving in range(halvings, 0, -1):
        half = _ONE << np.uint32(halving - 1)
        for row in range(len(column)):
            ranks[row] += half * np.uint32(cuts[ranks[row] + half - _ONE] < column[row])


@compiled
def cell_depths(  # type: ignore[no-untyped-def]
    rows, cuts, scales, buckets, halvings, steps, starts, begins, cells, depths, dims
):
    """Depth of each row summed over all trees, shape ``(n_rows,)``.

    Parameters
    ----------
    rows : float32 array of shape (n_columns, n_rows)
        The columns that any tree cuts along, finite.
    cuts : float64 array of shape (n_columns, n_places)
        The distinct cuts of all trees, ascending, then infinities.
    scales : float64 array of shape (n_columns, 2)
    buckets : uint32 array of shape (n_columns, n_buckets + 1)
        See :class:`~microstream_lab.models.buckets.Buckets`, of each column's cuts.
    halvings : int64 array of shape (n_columns,)
        Steps that find a place among the cuts of the fullest bucket.
    steps : array of unsigned int of shape (n_trees, n_cuts + n_columns)
        What each interval between all cuts of a column adds to the number of a tree's cell.
    starts : int64 array of shape (n_columns,)
        Where the intervals of each column begin in `steps`.
    begins, cells
        See :func:`note_cells`.
    depths : float64 array of shape (n_trees, 256)
        The depth behind each code.
    dims : tuple or array of length n_columns
        See :mod:`microstream_lab.models.sizes`.
    """
    n_columns = len(dims)
    total = np.zeros(rows.shape[1])
    ranks = np.empty((n_columns, _BLOCK), np.uint32)
    for begin in range(0, len(total), _BLOCK):
        n = min(_BLOCK, len(total) - begin)
        for f in range(n_columns):
            column, (lowest, by_unit) = rows[f, begin : begin + n], scales[f]
            _count_below(column, cuts[f], lowest, by_unit, buckets[f], halvings[f], ranks[f])
            ranks[f, :n] += np.uint32(starts[f])
        for tree in range(len(steps)):
            step, codes, depth = steps[tree], cells[begins[tree] : begins[tree + 1]], depths[tree]
            for row in range(n):
                cell = np.uint32(step[ranks[0, row]])
                for f in range(1, n_columns):
                    cell += np.uint32(step[ranks[f, row]])
                total[begin + row] += depth[codes[cell]]
    return total
