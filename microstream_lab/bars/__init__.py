"""Trades to bars, in batch and one at a time.

Invariant: a trade belongs to the bar of its own ``trade_time``, as in the exchange's klines; within
a bar the order is that of ``agg_id``. Both faces do the same float operations in the same order, so
they agree in every bit, and sums end on the exchange's own eighth decimal.
"""

from __future__ import annotations

from microstream_lab.bars.batch import bars_from_trades
from microstream_lab.bars.builder import BarBuilder
from microstream_lab.bars.sampled import SampledBar, SampledBarBuilder, sampled_bars

__all__ = ["BarBuilder", "SampledBar", "SampledBarBuilder", "bars_from_trades", "sampled_bars"]
