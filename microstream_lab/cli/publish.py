"""``microstream store publish``: stored bars onto Kafka."""

from __future__ import annotations

from typing import Annotated

import typer

from microstream_lab.cli.common import (
    End,
    Interval,
    Market,
    Start,
    load_settings,
    on_terminal,
    open_store,
    tell_status,
)

__all__ = ["publish"]


def publish(
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="Such as BTCUSDT.")],
    interval: Interval = None,
    start: Start = None,
    end: End = None,
    market: Market = None,
) -> None:
    """Put stored bars on Kafka, before a recorder goes on from them; workers score what they get.

    Doing it again, after an interruption, is no harm: what a worker has seen it passes over.

    Example: microstream store publish BTCUSDT ETHUSDT --start 2024-01-01
    """
    from microstream_lab.bus.connection import require_library
    from microstream_lab.live.backlog import publish_stored

    require_library()
    settings = load_settings()
    store = open_store(settings)
    for symbol in map(str.upper, symbols):
        series = (market or settings.market, symbol, interval or settings.interval)
        n = 0
        for n in publish_stored(store, settings, series, start, end):
            if on_terminal():
                tell_status(_told(series, n))
        tell_status(_told(series, n), is_last=True)


def _told(series: tuple[str, str, str], n: int) -> str:
    none = "" if n else "; none is stored, microstream ingest brings some in"
    return f"{' '.join(series)}: {n:,} bars published{none}"
