"""A local exchange in a thread of its own, for tests of what runs in other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from microstream_lab.market.exchange import LocalExchange


class ThreadedExchange:
    """An exchange, and a way to call it from another thread."""

    def __init__(self, exchange: LocalExchange, loop: asyncio.AbstractEventLoop) -> None:
        self.exchange, self._loop = exchange, loop

    def call(self, what: Callable[..., Any], *arguments: Any) -> Any:
        async def run() -> Any:
            return what(*arguments)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)


@contextmanager
def exchange_in_thread(source: object, **options: Any) -> Iterator[ThreadedExchange]:
    """`LocalExchange(source, **options)`, open until the context ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def enter() -> LocalExchange:
        return await LocalExchange(source, **options).__aenter__()

    exchange = asyncio.run_coroutine_threadsafe(enter(), loop).result(60)
    try:
        yield ThreadedExchange(exchange, loop)
    finally:
        asyncio.run_coroutine_threadsafe(exchange.__aexit__(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
