"""Compiled hot loops of the models, each beside a plain reference in the tests.

Invariant: a kernel computes what scikit-learn or hmmlearn would, to the last few bits, and the same
kernel serves one row and many, so that live and historical figures cannot drift apart.
"""

from __future__ import annotations

from microstream_lab.models.kernels.chain import filter_rows, gaussian_log_densities
from microstream_lab.models.kernels.expectation import backward_pass, filter_block, weigh
from microstream_lab.models.kernels.forest import mark_leaves, summed_depths

__all__ = [
    "backward_pass",
    "filter_block",
    "filter_rows",
    "gaussian_log_densities",
    "mark_leaves",
    "summed_depths",
    "weigh",
]
