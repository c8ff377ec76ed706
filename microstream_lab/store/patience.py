"""Waiting a bounded time for whoever is in the way, and saying who it was if that was in vain."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from microstream_lab.errors import StoreLockedError
from microstream_lab.store.gate import Gate, GateBusyError

__all__ = ["BusyError", "alone", "patiently"]

T = TypeVar("T")

_COURTESY_S: Final = 1.0
"""So long a writer lets readers in first; they need a part of it, but on a busy machine."""


class BusyError(Exception):
    """Somebody is in the way; the text says who."""


def patiently(attempt: Callable[[], T], where: str, timeout_s: float, left_s: float) -> T:
    """What `attempt` returns once nobody is in the way.

    Parameters
    ----------
    attempt : callable
        Raises :class:`BusyError` or :class:`GateBusyError` while somebody is.
    where : str
        The store, for the error.
    timeout_s, left_s : float
        How long the caller said it would wait, and what is left of that.

    Raises
    ------
    StoreLockedError
        If somebody was in the way for too long.
    """
    retrying = Retrying(
        retry=retry_if_exception_type((BusyError, GateBusyError)),
        stop=stop_after_delay(left_s),
        wait=wait_random_exponential(multiplier=0.002, max=0.02),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except (BusyError, GateBusyError) as error:
        raise StoreLockedError(where, str(error), timeout_s) from error


@contextlib.contextmanager
def alone(gate: Gate, where: str, timeout_s: float) -> Iterator[None]:
    """The only writer of a store for as long as the block runs.

    A writer who comes to an open gate leaves it open for a moment while readers wait: otherwise
    writers who follow one another closely would keep readers out for good.
    """
    first_open: list[float] = []

    def enter() -> int | None:
        held = gate.enter(exclusive=True)
        first_open.append(time.monotonic())
        if (
            held is not None
            and time.monotonic() < first_open[0] + _COURTESY_S
            and gate.is_awaited()
        ):
            gate.leave(held, exclusive=True)
            raise GateBusyError("readers")
        return held

    held = patiently(enter, where, timeout_s, timeout_s)
    try:
        yield
    finally:
        gate.leave(held, exclusive=True)
