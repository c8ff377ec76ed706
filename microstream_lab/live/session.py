"""One symbol watched live: feed, bars and signals in a thread of their own.

Invariant: nothing a notebook does stalls it, neither a busy cell nor a slow widget nor a closed
tab; and what it tells is always whole: a picture is never taken in the middle of a batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Self

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import MicrostreamError, SettingsError
from microstream_lab.live.course import Course, CourseOptions
from microstream_lab.live.session_status import SessionStatus
from microstream_lab.live.sources import SOURCES, SourceName
from microstream_lab.live.state import MonitorState, Picture
from microstream_lab.live.tidings import Note, Tiding
from microstream_lab.registry import Registry
from microstream_lab.schema import MARKETS, interval_us
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["LiveSession"]

log = logging.getLogger(__name__)

_STOPPED_WITHIN_S = 10.0


class LiveSession:
    """A feed, its bars and their signals, in a thread of their own; a context manager.

    Parameters
    ----------
    symbol : str
        Such as ``BTCUSDT``.
    interval : str
        Of the bars.
    source : {"auto", "binance", "local", "replay", "store"}
        ``auto`` is Binance if it can be reached within three seconds and the simulated market
        otherwise, and says so; ``local`` is the simulated market; ``replay`` plays stored bars and
        ``store`` follows a recorder.
    bundle : ModelBundle or str, optional
        A bundle, or a version in the registry. By default the current one of the series, replaced
        between two bars when another becomes current; if there is none, one is trained on recent
        history and called provisional.
    store : Store or False, optional
        Where bars, signals and gaps go; the user's store by default, nowhere if False.
    window : int
        Bars to show, and to begin with.
    market : str, optional
        ``spot``, ``um`` or ``sim``; that of the settings by default.
    speed : float
        Of replays and of the simulated market, as a factor of real time.
    start, end : time, optional
        Of a replay.
    seed : int
        Of the simulated market.
    settings : Settings, optional
        Loaded if not given.

    Notes
    -----
    Starting a session stops an earlier one of the same series in this process, so that a cell can
    be run again.
    """

    _running: ClassVar[dict[tuple[str, str, str], LiveSession]] = {}

    def __init__(
        self,
        symbol: str,
        interval: str = "1m",
        source: SourceName = "auto",
        bundle: ModelBundle | str | None = None,
        store: Store | bool | None = None,
        window: int = 500,
        *,
        market: str | None = None,
        speed: float = 1.0,
        start: object = None,
        end: object = None,
        seed: int = 0,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings = settings or Settings.load()
        market = market or settings.market
        _require(source in SOURCES, f"source: found {source!r}", " ".join(SOURCES))
        _require(market in MARKETS, f"market: found {market!r}", " ".join(MARKETS))
        _require(speed > 0, f"speed: found {speed}", "a factor above zero")
        _require(window >= 2, f"window: found {window}", "two bars or more")
        interval_us(interval)
        self._store = store if isinstance(store, Store) else Store(settings.store_path)
        self._options = CourseOptions(
            *(symbol.upper(), interval, source, bundle, market, window, speed, start, end, seed),
            stores=store is not False,
        )
        self._course = Course(
            self._options, settings, self._store, Registry(settings.models_path), self._take
        )
        self._lock, self._changed = threading.Lock(), threading.Condition()
        self._state = MonitorState(interval, window)
        self._listeners: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._phase = "new"
        self._failure: MicrostreamError | None = None

    @property
    def interval(self) -> str:
        """Interval of the bars."""
        return self._options.interval

    @property
    def source(self) -> SourceName:
        """Where its bars come from."""
        return self._options.source

    @property
    def series(self) -> tuple[str, str, str]:
        """Market, symbol and interval as they turned out."""
        return self._course.series

    @property
    def window(self) -> int:
        """How many bars are shown."""
        return self._options.window

    @property
    def title(self) -> str:
        """Market, symbol and interval as they turned out."""
        market, symbol, interval = self.series
        return f"{symbol} {interval} ({MARKETS[market]})"

    @property
    def speed(self) -> float:
        """Of a replay or the simulated market, as a factor of real time."""
        return self._options.speed

    def another(
        self, symbol: str, interval: str, source: SourceName, speed: float | None = None
    ) -> LiveSession:
        """A new session like this one, of another series, source or speed; it is not started."""
        wants_same = symbol.upper() == self.series[1]
        options = self._options
        return LiveSession(
            options.symbol if wants_same else symbol,
            interval,
            source,
            options.bundle if wants_same and interval == self.interval else None,
            self._store if options.stores else False,
            options.window,
            market=options.market,
            speed=speed or options.speed,
            seed=options.seed,
            settings=self.settings,
        )

    def start(self) -> Self:
        """Begin in the background; a session that runs goes on."""
        if self._thread is not None and self._thread.is_alive():
            return self
        _require(self._phase == "new", f"session: found it {self._phase}", "a new one to start")
        key = (self._options.market, self._options.symbol, self._options.interval)
        if (earlier := self._running.pop(key, None)) is not None:
            earlier.stop()
        self._running[key] = self
        self._phase = "starting"
        self._thread = threading.Thread(target=self._main, name=f"live {key[1]}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End it, with everything stored; no error if it has ended."""
        thread, loop, task = self._thread, self._loop, self._task
        if thread is None or not thread.is_alive():
            return
        if loop is not None and task is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
        if thread is not threading.current_thread():
            thread.join(_STOPPED_WITHIN_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.stop()

    def wait(self, bars: int | None = None, timeout_s: float | None = None) -> int:
        """Wait until `bars` bars have closed since the start, or until the session has ended.

        Parameters
        ----------
        bars : int, optional
            How many; None waits for the end.
        timeout_s : float, optional
            How long at most.

        Returns
        -------
        int
            Bars closed since the start, which are fewer if the time was up or the session ended.

        Raises
        ------
        MicrostreamError
            What the session failed with.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while self._phase in ("starting", "live"):
                if bars is not None and self._course.n_bars >= bars:
                    break
                left = 1.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, 1.0))  # a signal such as Ctrl-C gets its turn
        if self._failure is not None:
            raise self._failure
        return self._course.n_bars

    def status(self) -> SessionStatus:
        """How it is doing."""
        picture = self.picture()
        model, health = picture.model, picture.health
        return SessionStatus(
            self._phase,
            *self._course.series,
            bars=self._course.n_bars,
            trades=self._course.n_trades,
            gaps_open=health.gaps_open,
            gaps_repaired=health.gaps_repaired,
            reconnects=health.reconnects,
            version=(model.version or model.bundle_id) if model else "",
            provisional=bool(model and model.provisional),
            error=str(self._failure or ""),
        )

    def picture(self) -> Picture:
        """What is to be seen at this moment; a copy that nothing changes."""
        with self._lock:
            return self._state.picture(_now())

    def drawn(self, latency_us: int) -> None:
        """Take note that a frame was painted so long after its last trade."""
        with self._lock:
            self._state.drawn(latency_us)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener`, from the session's thread, after each change; returns how to end it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _main(self) -> None:
        """The thread: run the course to its end, whatever that is."""
        try:
            asyncio.run(self._run())
            phase = "ended"
        except asyncio.CancelledError:
            phase = "stopped"
        except Exception as error:
            phase = "failed"
            self._failure = error if isinstance(error, MicrostreamError) else _wrapped(error)
            log.error("live session of %s failed", self._options.symbol, exc_info=error)
            self._take([Note(_now(), f"the session has ended: {self._failure}", "error")])
        self._enter(phase)

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        await self._course.run()

    def _take(self, tidings: list[Tiding]) -> None:
        with self._lock:
            for tiding in tidings:
                self._state.update(tiding)
        if self._phase == "starting" and self._course.is_live:
            self._phase = "live"
        self._tell()

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for listener in tuple(self._listeners):
            listener()


def _require(holds: bool, found: str, expected: str) -> None:
    if not holds:
        raise SettingsError(f"{found}, expected {expected}")


def _wrapped(error: Exception) -> MicrostreamError:
    wrapped = MicrostreamError(f"unexpected {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _now() -> int:
    return time.time_ns() // 1_000
