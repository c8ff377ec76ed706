"""Polite HTTP: guarded, bounded in time, retried with back-off, and quiet when told to be.

Invariant: what can pass by itself (a cut connection, a timeout, 5xx, 429) is retried a bounded
number of times; everything else is raised at once as one clear error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import httpx
import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from microstream_lab.errors import ExchangeError, GeoBlockedError, RateLimitedError, SettingsError
from microstream_lab.market.budget import Gate
from microstream_lab.market.offline import is_loopback, require_allowed
from microstream_lab.settings import Settings

__all__ = ["BusyError", "HttpClient", "require_ok", "retry_after_s"]

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S: Final = 900.0
"""A wait longer than this (bans last up to three days) is for the user to decide on."""
_DEFAULT_RETRY_AFTER_S: Final = 60.0
_UNKNOWN_SYMBOL: Final = -1121
_back_off = wait_exponential(multiplier=0.5, max=30.0) + wait_random(0.0, 0.5)


class BusyError(ExchangeError):
    """The server failed in a way that may pass (5xx)."""


class HttpClient:
    """Requests to one host.

    Parameters
    ----------
    base_url : str
        Address of the host, checked against MICROSTREAM_OFFLINE before anything is opened.
    gate : Gate
        Shared by all who ask this host; shut by a 429 or 418.
    settings : Settings, optional
        Loaded if not given.
    timeout_s : float
        For connecting and for every silence while reading.
    attempts : int
        How often a request is tried in all.
    """

    def __init__(
        self,
        base_url: str,
        gate: Gate | None = None,
        settings: Settings | None = None,
        timeout_s: float = 20.0,
        attempts: int = 6,
    ) -> None:
        self.gate = gate or Gate()
        self._attempts = attempts
        self._client = httpx.AsyncClient(
            base_url=require_allowed(base_url, settings),
            timeout=timeout_s,
            # A proxy must not come between us and this machine.
            trust_env=not is_loopback(base_url),
            headers={"User-Agent": "microstream-lab"},
        )

    async def __aenter__(self) -> HttpClient:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: dict[str, Any] | None = None) -> httpx.Response:
        """One request, not retried, whatever its status."""
        await self.gate.wait()
        return await self._client.get(path, params=params)

    def stream(
        self, path: str, headers: dict[str, str]
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """One request, not retried, whose body is left to be read."""
        return self._client.stream("GET", path, headers=headers)

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call `attempt` until it succeeds, fails for good or has been tried often enough.

        Raises
        ------
        ExchangeError
            The last failure, or the first that will not pass.
        """
        tries = AsyncRetrying(
            sleep=self.gate.sleep,
            stop=stop_after_attempt(self._attempts),
            wait=self._wait_s,
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        try:
            return await tries(attempt)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            host = self._client.base_url
            raise ExchangeError(f"{host}: found {reason}, expected an answer") from error

    def _wait_s(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimitedError):
            self.gate.shut(error.retry_after_s)
            log.warning("%s; waiting %.0f s", error, error.retry_after_s)
            return error.retry_after_s
        wait_s = float(_back_off(state))
        log.info("attempt %d: %r; again in %.1f s", state.attempt_number, error, wait_s)
        return wait_s


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, RateLimitedError):
        return error.retry_after_s <= PATIENCE_S
    return isinstance(error, (httpx.TransportError, BusyError))


def retry_after_s(response: httpx.Response, now: Callable[[], float] = time.time) -> float:
    """Seconds to stay away, from a Retry-After of seconds or of a date; a minute if unreadable."""
    text = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now())
    except ValueError:
        return _DEFAULT_RETRY_AFTER_S


def require_ok(response: httpx.Response) -> None:
    """Raise what the status of `response` means unless it is 2xx.

    Raises
    ------
    RateLimitedError, GeoBlockedError, BusyError, SettingsError, ExchangeError
    """
    status, url = response.status_code, response.request.url
    place = f"{url.host}{url.path}"
    if response.is_success:
        return
    if status in (418, 429):
        wait_s = retry_after_s(response)
        raise RateLimitedError(
            f"{place}: found HTTP {status}, asked to stay away for {wait_s:.0f} s", wait_s
        )
    if status in (403, 451):
        raise GeoBlockedError(
            f"{place}: found HTTP {status}, this place is not served; set BINANCE_REST_URL to "
            "https://data-api.binance.vision (market data only) or https://api.binance.us"
        )
    if status >= 500:
        raise BusyError(f"{place}: found HTTP {status}, expected 200")
    raise _refusal(response, place)


def _refusal(response: httpx.Response, place: str) -> ExchangeError | SettingsError:
    """A 4xx (or a redirect, which this API does not use) in the exchange's own words."""
    try:
        body = msgspec.json.decode(response.content)
        code, message = body["code"], body["msg"]
    except (msgspec.DecodeError, TypeError, KeyError, httpx.ResponseNotRead):
        return ExchangeError(f"{place}: found HTTP {response.status_code}, expected 200")
    if code == _UNKNOWN_SYMBOL:
        symbol = response.request.url.params.get("symbol")
        return SettingsError(f"symbol: found {symbol!r}, which {place} does not know")
    return ExchangeError(f"{place}: found HTTP {response.status_code}, {message} ({code})")
