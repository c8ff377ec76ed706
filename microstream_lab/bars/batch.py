"""Trades to bars, all at once.

Invariant: the frame of trades is only read, and one compiled kernel serves whatever its layout is.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from microstream_lab.bars.summing import LARGEST, settled
from microstream_lab.columns import holds_one_value
from microstream_lab.errors import DataError
from microstream_lab.schema import (
    BAR_VALUES,
    PARTIAL,
    QUALITIES,
    TRADE_COLUMNS,
    as_micros,
    interval_us,
)
from microstream_lab.threads import parts, share_out

__all__ = ["bars_from_trades", "require_trades"]

_FOLDED: Final[dict[str, type]] = {
    "trade_time": np.int64,
    "agg_id": np.int64,
    "price": np.float64,
    "quantity": np.float64,
    "first_id": np.int64,
    "last_id": np.int64,
    "buyer_is_maker": np.bool_,
}


def bars_from_trades(
    trades: pd.DataFrame, interval: str, until: object | None = None
) -> pd.DataFrame:
    """Bars of the trades of one symbol, quiet bars included.

    Parameters
    ----------
    trades : DataFrame
        The columns :data:`~microstream_lab.schema.TRADE_COLUMNS`, ``market`` and ``symbol``,
        ordered by ``agg_id``. A ``trade_time`` may be earlier than that of the trade before it:
        the trade still counts in the bar of its own time.
    interval : str
        Such as ``"1m"``.
    until : timestamp, str or int of microseconds, optional
        A time before which the trades are known to be all there are: quiet bars that end by then
        are added after the last trade's bar.

    Returns
    -------
    DataFrame
        A bars frame from the first trade's bar to the last's. The first and the last bar hold
        whatever the frame holds of them. Bars between whose ids some are missing, and those the
        hole lies in, are ``partial``, all others ``complete``.

    Raises
    ------
    DataError
        If a column is missing, there are no trades, a number is negative or not finite, or
        ``agg_id`` does not rise from row to row.
    """
    require_trades(trades)
    step = interval_us(interval)
    times, agg_ids, *columns = (_plain(trades[name]) for name in _FOLDED)
    open_times = _open_times(times, step, until)
    folded = _folded(times, columns, step, len(open_times), agg_ids)
    in_id_order = times
    if folded is None:
        _refuse(columns, agg_ids)
        order = np.argsort(times // step, kind="stable")
        times, *columns = (_fixed(column[order]) for column in (times, *columns))
        open_times = _open_times(times, step, until)
        row_numbers = _fixed(np.arange(len(times)))
        folded = _folded(times, columns, step, len(open_times), row_numbers)
        assert folded is not None
    quality = np.zeros(len(open_times), dtype=np.int8)
    if agg_ids[-1] - agg_ids[0] >= len(agg_ids):
        _mark_holes(quality, agg_ids, (in_id_order - open_times[0]) // step)
    return _bars_frame(open_times, folded, quality, trades, interval)


def _folded(
    times: NDArray[np.int64],
    columns: list[NDArray[Any]],
    step: int,
    n_bars: int,
    agg_ids: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]] | None:
    """Prices, settled sums and counts of the bars, or None where a column is not as it should be.

    On all cores, in parts that begin with the first trade of a bar.
    """
    from microstream_lab.bars.folding import fold  # numba loads with the first batch only

    cuts = [np.searchsorted(times, times[part.start] // step * step) for part in parts(len(times))]
    rows = np.unique([*cuts, len(times)])
    bars = np.append((times[rows[:-1]] - times[0] // step * step) // step, n_bars)
    folded: list[Any] = [None] * (len(rows) - 1)

    def fold_part(part: int) -> None:
        inside, n_inside = slice(rows[part], rows[part + 1]), bars[part + 1] - bars[part]
        ids = agg_ids[max(inside.start - 1, 0) : inside.stop]
        if n_inside > 0 and (ids[1:] > ids[:-1]).all():
            *made, is_sound = fold(*(c[inside] for c in (times, *columns)), step, n_inside)
            folded[part] = made if is_sound else None

    share_out(fold_part, range(len(folded)), worth_it=len(folded) > 1)
    if any(part is None for part in folded):
        return None
    prices, exact, estimate, counts = map(np.concatenate, zip(*folded, strict=True))
    return prices, settled(exact, estimate), counts


def require_trades(trades: pd.DataFrame) -> None:
    """Check that a frame holds the trades of one series.

    Raises
    ------
    DataError
        If it lacks columns, or holds more than one market or symbol.
    """
    missing = [n for n in (*TRADE_COLUMNS, "market", "symbol") if n not in trades.columns]
    if missing:
        expected = f"columns {' '.join(TRADE_COLUMNS)} market symbol"
        raise DataError("trades", f"no column {missing[0]}", expected)
    if trades.empty:
        raise DataError("trades", "no rows", "at least one trade")
    for name in ("market", "symbol"):
        if not holds_one_value(trades[name]):
            found = f"{trades[name].nunique()} values of {name}"
            raise DataError("trades", found, "trades of one symbol")


def _refuse(columns: list[NDArray[Any]], agg_ids: NDArray[np.int64]) -> None:
    """Name what of prices, quantities and ids cannot be used, if anything."""
    for name, values in zip(("price", "quantity"), columns[:2], strict=True):
        if not (values.min() >= 0 and values.max() < LARGEST):  # nor is NaN
            found = f"a {name} that is negative, not finite or too large"
            raise DataError("trades", found, f"numbers below {LARGEST:g}")
    for row in 1 + np.flatnonzero(agg_ids[1:] <= agg_ids[:-1])[:1]:
        found = f"agg_id {agg_ids[row]} after {agg_ids[row - 1]}"
        raise DataError(f"trades, row {row}", found, "agg_id ascending and unique")


def _plain(column: pd.Series[Any]) -> NDArray[Any]:
    """A column as the kernel takes it; times become microseconds."""
    if column.dtype.kind == "M":
        return _fixed(pd.DatetimeIndex(column).as_unit("us").asi8)
    return _fixed(column.to_numpy(_FOLDED[str(column.name)]))


def _fixed(values: NDArray[Any]) -> NDArray[Any]:
    """Contiguous and read-only, always: every other layout would be compiled for anew."""
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


def _open_times(times: NDArray[np.int64], step: int, until: object | None) -> NDArray[np.int64]:
    first, last = times[0] - times[0] % step, times[-1] - times[-1] % step
    if until is not None:
        last = max(last, as_micros(until) // step * step - step)
    return np.arange(first, last + step, step, dtype=np.int64)


def _mark_holes(
    quality: NDArray[np.int8], agg_ids: NDArray[np.int64], bars: NDArray[np.int64]
) -> None:
    """Call partial what lies between two trades with ids missing between them."""
    rows = np.flatnonzero(np.diff(agg_ids) != 1)
    ends = np.sort([bars[rows], bars[rows + 1]], axis=0)
    n_holes = np.zeros(len(quality) + 1, dtype=np.int64)
    np.add.at(n_holes, ends[0], 1)
    np.add.at(n_holes, ends[1] + 1, -1)
    quality[n_holes.cumsum()[:-1] > 0] = QUALITIES.index(PARTIAL)


def _bars_frame(
    open_times: NDArray[np.int64],
    values: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]],
    quality: NDArray[np.int8],
    trades: pd.DataFrame,
    interval: str,
) -> pd.DataFrame:
    prices, sums, counts = values
    columns = (*prices.T, *sums[:, 0].T, counts, *sums[:, 1].T)
    index = pd.DatetimeIndex(open_times.view("M8[us]"), tz="UTC", name="open_time")
    bars = pd.DataFrame(dict(zip(BAR_VALUES, columns, strict=True)), index=index)
    bars["quality"] = pd.Categorical.from_codes(quality, pd.Index(QUALITIES))
    constants = {name: str(trades[name].iloc[0]) for name in ("market", "symbol")}
    for name, value in {**constants, "interval": interval}.items():
        bars[name] = pd.Categorical.from_codes(np.zeros_like(quality), pd.Index([value]))
    return bars
