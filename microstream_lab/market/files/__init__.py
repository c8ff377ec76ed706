"""Files of the exchange's archive: read, checked row by row, and written the same way."""

from microstream_lab.market.files.frames import (
    find_files,
    is_agg_trades,
    read_agg_trades,
    read_klines,
    write_agg_trades,
    write_klines,
)

__all__ = [
    "find_files",
    "is_agg_trades",
    "read_agg_trades",
    "read_klines",
    "write_agg_trades",
    "write_klines",
]
