"""The depth of rows in all trees of a forest, without walking down any of them.

The cuts of a tree along one feature divide that feature into intervals, and each interval leaves
some of the tree's leaves possible. With those kept as sets of bits, the leaf of a row is what all
its features leave possible: one look-up and one AND per feature, no branch that a processor would
have to guess.

Invariant: depths are summed in the order of the trees, so that sums equal scikit-learn's in every
bit. A word holds 63 leaves: bit 0 stands for none, and its depth is 0.

References
----------
Lucchese et al. (2015), QuickScorer, SIGIR, section 3, for leaves as bits; Leiserson, Prokop and
Randall (1998), Using de Bruijn sequences to index a 1 in a computer word, for the place of a bit.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from microstream_lab.compiled import compiled

__all__ = ["DE_BRUIJN", "LEAVES_PER_WORD", "mark_leaves", "summed_depths"]

DE_BRUIJN: Final = np.uint64(0x03F79D71B4CB0A89)
LEAVES_PER_WORD: Final = 63
_SHIFT: Final = np.uint64(58)
_BLOCK: Final = 256
_ONE: Final = np.uint32(1)


@compiled
def mark_leaves(left, right, column, cut, depth, n_cuts, base, possible, leaf_depths):  # type: ignore[no-untyped-def]
    """Fill `possible` and `leaf_depths` for one tree.

    Node i sends a row left if its interval along ``column[i]`` is at most ``cut[i]``; a leaf has
    ``left == -1``. ``possible[:, base[f] + interval]`` are the bits for an interval of column f.
    """
    n_columns = len(n_cuts)
    first = np.zeros((len(left), n_columns), np.int64)
    last = np.zeros((len(left), n_columns), np.int64)
    last[0] = n_cuts
    n_leaves = 0
    for node in range(len(left)):  # children always come after their parent
        if left[node] >= 0:
            for child in (left[node], right[node]):
                first[child], last[child] = first[node], last[node]
            last[left[node], column[node]] = cut[node]
            first[right[node], column[node]] = cut[node] + 1
            continue
        word, place = n_leaves // 63, n_leaves % 63 + 1
        bit = np.uint64(1) << np.uint64(place)
        n_leaves += 1
        leaf_depths[word // 2, word % 2, (bit * DE_BRUIJN) >> _SHIFT] = depth[node]
        for f in range(n_columns):
            for interval in range(first[node, f], last[node, f] + 1):
                possible[word // 2, base[f] + interval, word % 2] |= bit


@compiled
def _count_below(column, cuts, start, stop, ranks):  # type: ignore[no-untyped-def]
    """Where in ``cuts[start:stop]``, ascending, each value of a column belongs, by halving.

    All rows take each step together: their look-ups do not wait for one another.
    """
    size = np.uint32(stop - start)
    ranks[: len(column)] = start
    while size > _ONE:
        half = size >> _ONE
        for row in range(len(column)):
            ranks[row] += half * np.uint32(cuts[ranks[row] + half - _ONE] < column[row])
        size -= half
    if size == _ONE:
        for row in range(len(column)):
            ranks[row] += np.uint32(cuts[ranks[row]] < column[row])


@compiled
def summed_depths(rows, columns, cuts, starts, intervals, base, possible, leaf_depths, dims):  # type: ignore[no-untyped-def]
    """Depth of each row summed over all trees, shape ``(n_rows,)``.

    Parameters
    ----------
    rows : float32 array of shape (n_rows, n_features)
        Finite, and rounded to float32, as scikit-learn's trees compare them.
    columns : int64 array of shape (n_columns,)
        The features that any tree cuts along.
    cuts : float64 array of shape (n_cuts,)
        The distinct cuts of all trees, ascending, one column after the other.
    starts : uint32 array of shape (n_columns + 1,)
        Where the cuts of each column begin.
    intervals : array of unsigned int of shape (n_trees, n_cuts + n_columns)
        A tree's own interval for each interval between all cuts of a column.
    base : uint32 array of shape (n_trees, n_columns)
        Where the intervals of each tree and column begin in `possible`.
    possible : uint64 array of shape (n_pairs, n_intervals, 2)
        Leaves that each interval leaves possible, two words at a time.
    leaf_depths : float64 array of shape (n_trees, n_pairs, 2, 64)
        Depth of each leaf, at the place where the hash of its bit points.
    dims : tuple or array of length n_columns
        See :mod:`microstream_lab.models.sizes`.
    """
    n_columns = len(dims)
    total = np.zeros(len(rows))
    ranks = np.empty((n_columns, _BLOCK), np.uint32)
    for begin in range(0, len(rows), _BLOCK):
        n = min(_BLOCK, len(rows) - begin)
        for f in range(n_columns):
            column = rows[begin : begin + n, columns[f]]
            _count_below(column, cuts, starts[f], starts[f + 1], ranks[f])
            ranks[f, :n] += np.uint32(f)
        for tree in range(len(base)):
            own = intervals[tree]
            for pair in range(len(possible)):
                depth = leaf_depths[tree, pair]
                for row in range(n):
                    at = base[tree, 0] + np.uint32(own[ranks[0, row]])
                    low, high = possible[pair, at, 0], possible[pair, at, 1]
                    for f in range(1, n_columns):
                        at = base[tree, f] + np.uint32(own[ranks[f, row]])
                        low &= possible[pair, at, 0]
                        high &= possible[pair, at, 1]
                    total[begin + row] += (
                        depth[0, (low * DE_BRUIJN) >> _SHIFT]
                        + depth[1, (high * DE_BRUIJN) >> _SHIFT]
                    )
    return total
