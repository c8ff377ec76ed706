"""A coroutine in a thread of its own that can always be ended.

Invariant: asking it to end takes effect at any moment, also before it has begun, and is over within
two seconds whatever it waits for; what cannot be cancelled (a call in a thread, a loop that is
blocked) is left behind by name, and nobody ever waits for it, not even Python when it exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final, TypeVar

__all__ = ["Background", "in_thread", "together"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_ENDED_WITHIN_S: Final = 2.0
_GRACE_S: Final = 1.2
"""For what is cancelled to put its things in order; after that it is cancelled once more."""
_LAST_S: Final = 0.2
_LINGER_S: Final = 1.5
_UNDER_WAY: ContextVar[list[str] | None] = ContextVar("under_way", default=None)


async def in_thread(what: str, function: Callable[..., T], *arguments: Any) -> T:
    """Like :func:`asyncio.to_thread`; should it be left behind, `what` says what it was."""
    under_way = _UNDER_WAY.get()
    names = [] if under_way is None else under_way

    def named() -> T:
        try:
            return function(*arguments)
        finally:
            names.remove(what)

    names.append(what)
    return await asyncio.to_thread(named)


async def together(
    work: Coroutine[Any, Any, None],
    beside: Coroutine[Any, Any, None],
    last: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Await `work` while `beside` runs; whatever one of them raises ends both and is raised.

    Both have ended on return. `last` is done while they end, as its turn may never come after.
    """
    tasks = [asyncio.create_task(work), asyncio.create_task(beside)]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        waited = [*tasks, *([asyncio.ensure_future(last())] if last else [])]
        await asyncio.gather(*waited, return_exceptions=True)


class Background:
    """Runs a coroutine once.

    Parameters
    ----------
    name : str
        Of the thread.
    work : async callable
        What to run.
    ended : callable
        Called in the thread with what `work` ended with: None, the exception it raised, or a
        ``CancelledError`` if it was asked to end.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._work, self._ended = work, ended
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None
        self._is_asked, self._asked_at = False, 0.0
        self._under_way: list[str] = []

    @property
    def under_way(self) -> tuple[str, ...]:
        """What goes on in threads at this moment; after the end, what was left behind."""
        return tuple(self._under_way)

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask(self) -> None:
        """Ask it to end, and do not wait."""
        with self._lock:
            self._is_asked, self._asked_at = True, time.monotonic()
            if self._loop is not None and self._leave is not None:
                self._loop.call_soon_threadsafe(self._leave.set)

    def stop(self) -> None:
        """Ask it to end and wait for that, though not for long; before the start, not to begin."""
        self.ask()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(_ENDED_WITHIN_S)

    def _main(self) -> None:
        _UNDER_WAY.set(self._under_way)
        loop = asyncio.new_event_loop()
        loop.set_default_executor(_Unpooled())
        try:
            outcome = loop.run_until_complete(self._run())
        finally:
            with self._lock:
                self._loop = None
            loop.close()
        self._ended(outcome)

    async def _run(self) -> BaseException | None:
        work = asyncio.ensure_future(self._work())
        leaving = asyncio.create_task(self._asked().wait())
        await asyncio.wait([work, leaving], return_when=asyncio.FIRST_COMPLETED)
        for patience_s in (_GRACE_S, _LAST_S):
            if not work.done():
                work.cancel()
                await asyncio.wait([work], timeout=patience_s)
        await _clear_up()
        await self._linger()
        return self._outcome(work)

    async def _linger(self) -> None:
        """Most calls in threads are over in a moment: what is not is left behind."""
        end = self._asked_at + _LINGER_S
        while self._under_way and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def _asked(self) -> asyncio.Event:
        """Set as soon as somebody has asked to end, be it long ago."""
        leave = asyncio.Event()
        with self._lock:
            self._loop, self._leave = asyncio.get_running_loop(), leave
            if self._is_asked:
                leave.set()
        return leave

    def _outcome(self, work: asyncio.Future[None]) -> BaseException | None:
        is_whole = work.done() and not work.cancelled()
        failure = work.exception() if is_whole else None
        if not self._is_asked:
            return failure if is_whole else RuntimeError("cancelled from within")
        if failure is not None:
            log.warning("%s did not end in good order", self._thread.name, exc_info=failure)
        return asyncio.CancelledError()


class _Unpooled(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own and waits for none of them.

    A pool's threads are joined when Python exits, and by ``asyncio`` when a loop ends: a call that
    hangs would hold up both.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call `fn` in a new thread."""
        future: Future[T] = Future()

        def answer() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        threading.Thread(target=answer, name="beside a live session", daemon=True).start()
        return future


async def _clear_up() -> None:
    """Cancel whatever tasks are left, and see to generators, for a moment."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_LAST_S)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().shutdown_asyncgens(), _LAST_S)
