"""Stored history onto the bus, for workers to warm their engines on, or to score.

Invariant: bars go out in order of time under the revisions they have in the store, so that going on
from the beginning after an interruption changes nothing for those who read them.
"""

from __future__ import annotations

from collections.abc import Iterator

from microstream_lab.bus.publisher import BarPublisher
from microstream_lab.bus.topics import ensure_topics
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["publish_stored"]


def publish_stored(
    store: Store,
    settings: Settings,
    series: tuple[str, str, str],
    start: object | None = None,
    end: object | None = None,
) -> Iterator[int]:
    """Publish the stored bars of a series, and say after each few thousand how many the broker has.

    Parameters
    ----------
    store : Store
        Where the bars are.
    settings : Settings
        Where the broker is.
    series : tuple of str
        Market, symbol and interval.
    start, end : anything :func:`microstream_lab.schema.as_micros` reads, optional
        The first moment and the one to stop before.

    Raises
    ------
    BusError
        If the broker does not take them.
    """
    market, symbol, interval = series
    ensure_topics(settings)
    publisher, n = BarPublisher(settings), 0
    try:
        for page in store.pages(symbol, interval, start, end, market):
            publisher.publish(page)
            yield (n := n + len(page))
    finally:
        publisher.close()
