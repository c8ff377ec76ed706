"""One symbol watched live: feed, bars and signals in a thread of their own.

Invariant: nothing a notebook does stalls it, neither a busy cell nor a slow widget nor a closed
tab; and what it tells is always whole: a picture is never taken in the middle of a batch.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self, cast

from microstream_lab.errors import MicrostreamError, SettingsError
from microstream_lab.live.background import Background
from microstream_lab.live.bulletin import Bulletin, Phase
from microstream_lab.live.course import Course
from microstream_lab.live.drift_desk import OnDrift
from microstream_lab.live.options import CourseOptions
from microstream_lab.live.session_status import SessionStatus, told_of
from microstream_lab.live.sources import SOURCES, SourceName
from microstream_lab.live.state import MonitorState, Picture
from microstream_lab.live.tidings import Tiding
from microstream_lab.schedule.requests import request_training
from microstream_lab.schema import MARKETS, interval_us
from microstream_lab.settings import Settings
from microstream_lab.store import Store

if TYPE_CHECKING:  # models load after the first bars are on the screen
    from microstream_lab.bundle import ModelBundle

__all__ = ["LiveSession"]

log = logging.getLogger(__name__)


class LiveSession:
    """A feed, its bars and their signals, in a thread of their own; a context manager.

    Parameters
    ----------
    symbol : str
        Such as ``BTCUSDT``.
    interval : str
        Of the bars.
    source : {"auto", "binance", "local", "replay", "store", "bus"}
        ``auto`` is LIVE_SOURCE's, by default Binance if it can be reached within three seconds and
        the simulated market otherwise, and says so; ``local`` is the simulated market; ``replay``
        plays stored bars, ``store`` follows a recorder and ``bus`` the workers on Kafka.
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
    seed, settings : int, Settings, optional
        Of the simulated market; the user's own.
    on_drift : callable, optional
        Called with a :class:`DriftReport` when a drift alarm begins, in a thread of its own; by
        default asks for a training if ``DRIFT_REQUESTS_TRAINING`` is set, but never in a replay.

    Notes
    -----
    Starting a session stops an earlier one of the same series in this process, so that a cell can
    be run again.
    """

    _running: ClassVar[dict[tuple[str, str, str], LiveSession]] = {}
    _turn: ClassVar[threading.Lock] = threading.Lock()

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
        on_drift: OnDrift | None = None,
    ) -> None:
        self.settings = settings = settings or Settings.load()
        market = market or settings.market
        source = cast(SourceName, settings.live_source) if source == "auto" else source
        _require(source in SOURCES, f"source: found {source!r}", " ".join(SOURCES))
        _require(market in MARKETS, f"market: found {market!r}", " ".join(MARKETS))
        _require(speed > 0, f"speed: found {speed}", "a factor above zero")
        _require(window >= 2, f"window: found {window}", "two bars or more")
        interval_us(interval)
        self._store = store if isinstance(store, Store) else Store(settings.store_path)
        self._options = CourseOptions(
            *(symbol.upper(), interval, source, bundle, market, window, speed, start, end, seed),
            stores=store is not False,
            on_drift=on_drift or _usual_answer(settings, source),
        )
        self._course = Course(self._options, settings, self._store, self._take)
        self._background = Background(f"live {symbol.upper()}", self._course.run, self._ended_with)
        self._bulletin = Bulletin(MonitorState(interval, window))

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
            on_drift=options.on_drift,
        )

    def start(self) -> Self:
        """Begin in the background; a session that runs goes on."""
        series, found = self._options.series, self._bulletin.phase
        with self._turn:
            if self._bulletin.runs:
                return self
            _require(found == "new", f"session: found it {found}", "a new one to start")
            earlier, self._running[series] = self._running.get(series), self
            self._bulletin.begin()
        if earlier is not None:
            earlier.stop()
        self._background.start()
        return self

    def stop(self) -> None:
        """End it within about two seconds, with everything stored; no error if it has ended.

        What could not be ended in that time (a bundle in training, a store that somebody else
        holds) is left to itself; :meth:`status` names it.
        """
        if self._bulletin.runs:
            self._background.stop()
            self._enter("stopped")  # in its place, should its thread be too busy to say so

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.stop()

    def wait(
        self, bars: int | None = None, timeout_s: float | None = None, stored: bool = False
    ) -> int:
        """Wait until `bars` bars have closed since the start, or until the session has ended.

        Parameters
        ----------
        bars : int, optional
            How many; None waits for the end.
        timeout_s : float, optional
            How long at most, and for the store as long again.
        stored : bool
            Whether to wait as well until those bars are in the store, where they are to be.

        Returns
        -------
        int
            Bars closed since the start, which are fewer if the time was up or the session ended.

        Raises
        ------
        MicrostreamError
            What the session failed with.
        """
        course, bulletin = self._course, self._bulletin
        bulletin.wait(lambda: bars is not None and course.n_bars >= bars, timeout_s)
        if stored:
            due = course.keeper.n_taken
            bulletin.wait(lambda: course.keeper.n_settled >= due, timeout_s)
        if bulletin.failure is not None:
            raise bulletin.failure
        return course.n_bars

    def status(self) -> SessionStatus:
        """How it is doing."""
        return told_of(self._course, self._bulletin, self.picture())

    def picture(self) -> Picture:
        """What is to be seen at this moment; a copy that nothing changes."""
        return self._bulletin.picture(_now())

    def drawn(self, latency_us: int) -> None:
        """Take note that a frame was painted so long after its last trade."""
        self._bulletin.drawn(latency_us)

    def latencies_us(self) -> tuple[int, ...]:
        """From last trade to painted, of the last 512 frames that were, oldest first."""
        return self._bulletin.latencies_us()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener`, from the session's thread, after each change; returns how to end it."""
        return self._bulletin.listen(listener)

    def _ended_with(self, outcome: BaseException | None) -> None:
        """The course is over, in the thread it ran in."""
        if outcome is None or isinstance(outcome, asyncio.CancelledError):
            self._enter("ended" if outcome is None else "stopped")
            return
        log.error("live session of %s failed", self._options.symbol, exc_info=outcome)
        failure = outcome if isinstance(outcome, MicrostreamError) else _wrapped(outcome)
        self._enter("failed", failure)

    def _take(self, tidings: list[Tiding]) -> None:
        self._bulletin.take(tidings, self._course.is_live)

    def _enter(self, phase: Phase, failure: MicrostreamError | None = None) -> None:
        """The end, whoever is the first to say so."""
        n = self._course.keeper.n_waiting
        left = [f"{n:,} bars that are not stored"] if n else []
        if self._bulletin.end(phase, failure, (*self._background.under_way, *left)):
            with self._turn:
                if self._running.get(self._options.series) is self:
                    del self._running[self._options.series]

    @classmethod
    def _stop_all(cls) -> None:
        """End every session, all at once; so that what has closed is stored when Python exits."""
        running = list(cls._running.values())
        for session in running:
            session._background.ask()
        for session in running:
            session.stop()


atexit.register(LiveSession._stop_all)


def _usual_answer(settings: Settings, source: SourceName) -> OnDrift | None:
    """What the past was like, as a replay shows it, is no reason to train now."""
    wanted = settings.drift_requests_training and source != "replay"
    return partial(request_training, settings) if wanted else None


def _require(holds: bool, found: str, expected: str) -> None:
    if not holds:
        raise SettingsError(f"{found}, expected {expected}")


def _wrapped(error: BaseException) -> MicrostreamError:
    wrapped = MicrostreamError(f"unexpected {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _now() -> int:
    return time.time_ns() // 1_000
