"""The course of a live session: history, bundle, then bar after bar, with what goes on beside.

Invariant: bars are scored in order of time, a new bundle only between two of them; everything that
is seen is told, in batches; nothing that may hang is waited for without a bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import pandas as pd

from microstream_lab.errors import MicrostreamError
from microstream_lab.live.background import in_thread, together
from microstream_lab.live.bundles import Chosen, Shelf, suited, train_provisional
from microstream_lab.live.drift_desk import DriftDesk, told
from microstream_lab.live.following import Following
from microstream_lab.live.history import fetch_since, usable
from microstream_lab.live.keeper import Keeper
from microstream_lab.live.links import Listener, watch_links
from microstream_lab.live.mending import Mending
from microstream_lab.live.options import CourseOptions
from microstream_lab.live.pipeline import Pipeline, PipelineOptions
from microstream_lab.live.quotes import QuoteWatch
from microstream_lab.live.records import Batch
from microstream_lab.live.scorer import Scorer
from microstream_lab.live.sources import Place, open_exchange
from microstream_lab.live.stored import follow, recent, replay
from microstream_lab.live.tidings import Link, Note, NoteKind, Scored, Ticks, Tiding
from microstream_lab.schema import Bar, Gap, interval_us, iter_bars
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["Course"]

_WARM_UP, _TRAINING_BARS = 100, 2_000
_EVERY_S: Final = 1.0
_READ_S, _FETCH_S = 3.0, 20.0
_SILENT_BARS: Final = 2


class Course:
    """Runs a session once, in whatever event loop it is awaited in.

    Parameters
    ----------
    options : CourseOptions
        What to do.
    settings, store
        Where things are.
    tell : callable
        Takes the tidings of each batch.

    Attributes
    ----------
    series : tuple of str
        Market, symbol and interval; the simulated market's if that had to do.
    n_bars, n_trades : int
        Bars closed and trades taken since the beginning.
    is_live : bool
        Whether history is there and bars are coming.
    keeper : Keeper
        What is on its way into the store.
    """

    def __init__(
        self,
        options: CourseOptions,
        settings: Settings,
        store: Store,
        tell: Callable[[list[Tiding]], None],
    ) -> None:
        self._options, self._settings = options, settings
        self._store, self._tell = store, tell
        keeps = options.stores and options.source != "replay"
        self.keeper = Keeper(store if keeps else None)
        self._scorer = Scorer(options.window + _WARM_UP)
        self._step = interval_us(options.interval)
        self.series = options.series
        self._shelf = Shelf(settings, self.series)
        self._drift = DriftDesk(options.on_drift)
        self._quotes = QuoteWatch()
        self._problems: dict[str, str] = {}
        self._is_at_hand = False
        self.n_bars, self.n_trades, self.is_live = 0, 0, False

    async def run(self) -> None:
        """Run until cancelled, or until a replay is over."""
        stored = self._run_from_store
        ways = {"replay": stored, "store": stored, "bus": self._run_from_bus}
        work = ways.get(self._options.source, self._run_from_exchange)
        await together(work(), self._beside(), last=self.keeper.flush)

    async def _run_from_store(self) -> None:
        options = self._options
        if options.source == "store":
            await self._follow_recorder()
            return
        if options.start is not None:
            self._show(await self._stored(pd.Timestamp(options.start)))  # type: ignore[arg-type]
        await self._begin(None)
        span = (options.start, options.end)
        async for bars in replay(self._store, self.series, *span, options.speed):
            await self._swap_if_due()
            await self._close(bars)

    async def _follow_recorder(self) -> None:
        """Bars as another program stores them; if it stops that is told."""
        while (before := await self._stored()).empty:
            self._say_once("recorder", f"waiting for bars of {self._name} in the store")
            await asyncio.sleep(_EVERY_S)
        self._show(before)
        await self._begin(None)
        listener = Listener(self.series[1], (_SILENT_BARS + 1) * self._step, _now())
        async for bars in follow(self._store, self.series, self._scorer.last_open_time):
            await self._swap_if_due()
            await self._close([bar for bar in bars if not self._scorer.knows(bar)])
            if tidings := listener.look(bool(bars), _now()):
                self._tell(tidings)

    async def _run_from_bus(self) -> None:
        """Bars with the signals of whoever makes them; nothing is scored here."""
        bus = Following(self._settings, self.series, self._n_kept)
        async for tidings, scored in bus:
            self.n_bars, self.is_live = bus.n_new, True
            self.keeper.add(scored)
            self._tell(tidings)

    async def _run_from_exchange(self) -> None:
        options = self._options
        wanted = (options.source, options.symbol, options.market)
        async with open_exchange(*wanted, self._settings, options.speed, options.seed) as place:
            self.series = (place.market, place.symbol, options.interval)
            self._shelf = Shelf(self._settings, self.series)
            self._tell([Link(0, 0, _now())])
            if place.banner:
                self._say(place.banner, "banner")
            # A simulated market at hand knows all its bars, and for certain.
            self._is_at_hand = place.market == "sim" and options.source != "binance"
            stored = pd.DataFrame() if self._is_at_hand else await self._stored()
            self._show(usable(stored, self._n_kept, _now()))
            self._show(await self._fetched(place, stored))
            await self._begin(place)
            pipeline = Pipeline(
                [place.symbol],
                options.interval,
                place.market,
                place.settings,
                options=PipelineOptions(keep_trades=True),
            )
            async with pipeline:
                links = watch_links(pipeline, place.symbol, self._tell)
                quotes = self._quotes.watch(pipeline.client, place.symbol)
                await together(self._follow(pipeline, place), together(links, quotes))

    @property
    def _n_kept(self) -> int:
        return self._options.window + _WARM_UP

    @property
    def _name(self) -> str:
        return " ".join(self.series[1:])

    async def _stored(self, before: object = None, n_bars: int = 0) -> pd.DataFrame:
        """The latest stored bars; none if somebody holds the store for too long."""
        wanted = (self._store, self.series, n_bars or self._n_kept, before)
        try:
            async with asyncio.timeout(_READ_S):
                return await in_thread("reading the store", recent, *wanted)
        except (MicrostreamError, TimeoutError) as error:
            why = str(error) or f"no answer within {_READ_S:g} s"
            self._say_once("store", f"the store cannot be read now: {why}", "error")
            return pd.DataFrame()

    async def _fetched(self, place: Place, stored: pd.DataFrame) -> pd.DataFrame:
        """The stored bars and the exchange's; the stored alone if it does not answer."""
        try:
            async with asyncio.timeout(_FETCH_S):
                return await fetch_since(place, self.series, stored, self._n_kept)
        except (MicrostreamError, TimeoutError) as error:
            why = str(error) or f"no answer within {_FETCH_S:g} s"
            self._say(f"no history from the exchange: {why}", "error")
            return stored

    def _show(self, bars: pd.DataFrame) -> None:
        """Bars of the past, before anything is known about them."""
        past = list(iter_bars(bars)) if len(bars) else []
        self._scorer.fill(past)
        self._tell([Scored(bar) for bar in past])

    async def _begin(self, place: Place | None) -> None:
        """Choose or train the bundle and show the past with its signals."""
        wanted, word = suited(self._options.bundle, self._options.series, self.series)
        if word:
            self._say(word)
        chosen = await in_thread("loading the bundle", self._shelf.choose, wanted)
        if chosen is None:
            chosen = await self._makeshift(place)
        if chosen is not None:
            await self._swap(chosen)
        self.is_live = True
        self._tell([])

    async def _makeshift(self, place: Place | None) -> Chosen | None:
        """A bundle trained on the spot; None, and a word about it, if history does not suffice."""
        self._say(f"no bundle for {self._name}: training a provisional one on history")
        try:
            bars = await self._history(place)
            return await in_thread("training a bundle", train_provisional, bars, self._settings)
        except (MicrostreamError, TimeoutError) as error:
            why = str(error) or f"no history within {_FETCH_S:g} s"
            self._say(f"no regimes until there is a bundle (microstream train): {why}", "error")
            return None

    async def _history(self, place: Place | None) -> pd.DataFrame:
        """What a bundle is trained on, none of it later than what is shown."""
        if place is None:
            end = self._scorer.last_open_time + self._step
            wanted = (self._store, self.series, _TRAINING_BARS, end)
            return await in_thread("reading the store", recent, *wanted)
        async with asyncio.timeout(_FETCH_S):
            return await fetch_since(place, self.series, pd.DataFrame(), _TRAINING_BARS)

    async def _follow(self, pipeline: Pipeline, place: Place) -> None:
        """Bars as the pipeline closes them, and every trade that came."""
        mending = Mending(place, self.series)
        async for batch in pipeline:
            await self._swap_if_due()
            await self._close(await mending.before(batch.bars, self._scorer.last_open_time))
            await self._take(batch, pipeline, place.ahead_us)

    async def _take(self, batch: Batch, pipeline: Pipeline, ahead_us: int | None) -> None:
        await self._close(batch.bars, batch.gaps)
        if batch.trades:
            self.n_trades += len(batch.trades)
            last, symbol = batch.trades[-1], self.series[1]
            forming = pipeline.assembler.forming(symbol)
            at, now = last.trade_time, _now()
            sent_at = now if ahead_us is None else at + ahead_us
            times, spread = (at, sent_at, now), self._quotes.spread
            self._tell([Ticks(len(batch.trades), last.price, *times, forming, spread)])

    async def _close(self, bars: Sequence[Bar], gaps: Sequence[Gap] = ()) -> None:
        if not (bars or gaps):
            return
        newest, scorer = self._scorer.last_open_time, self._scorer
        if scorer.is_quick(bars):
            scored = scorer.take(bars)
        else:
            scored = await in_thread("scoring repaired bars", scorer.take, bars)
        self.n_bars += sum(bar.open_time > newest for bar in bars)
        drift = self._drift.take(scored)
        self.keeper.add([*gaps, *scored, *drift])
        # How a first bar finds its beginning is no gap of anybody's making.
        seen = (gap for gap in gaps if gap.cause != "start")
        self._tell([*seen, *scored, *map(told, drift)])

    async def _beside(self) -> None:
        """Once a second: store what there is, and look for a new bundle."""
        while True:
            await asyncio.sleep(_EVERY_S)
            problem = await self.keeper.flush()
            self._say_once("keeper", problem and f"not stored yet: {problem}", "error")
            if n := self.keeper.n_dropped:
                self._say_once(
                    "dropped", f"{n:,} bars will never be stored: too many wait", "error"
                )
            if self.is_live and self._options.source != "bus":
                await self._try("loading the bundle", self._shelf.look)
                await self._try("answering drift", self._drift.speak)

    async def _try(self, what: str, function: Callable[[], None]) -> None:
        try:
            await in_thread(what, function)
        except MicrostreamError as error:
            self._say_once(what, str(error), "error")

    async def _swap_if_due(self) -> None:
        """Change bundles between two bars; one that cannot score them is refused."""
        if (chosen := self._shelf.take()) is None:
            return
        try:
            await self._swap(chosen)
        except MicrostreamError as error:
            self._shelf.refuse(chosen.version)
            self._say(f"the new bundle cannot be used: {error}", "error")

    async def _swap(self, chosen: Chosen) -> None:
        """Score with this bundle; the past is shown anew only if it has to be."""
        scored = await in_thread("changing bundles", self._scorer.swap, chosen.bundle)
        alike = chosen.looks_like(self._shelf.in_use)
        self._shelf.in_use = chosen
        since = self._scorer.last_open_time + self._step
        self._tell([chosen.told(since), *([] if alike else scored)])
        past, bundle = pd.DataFrame(), chosen.bundle
        if scored and bundle.drift is not None and not self._is_at_hand:
            n_bars = bundle.drift.window + bundle.warmup_bars
            past = await self._stored(scored[0].bar.open_time, n_bars)
        await in_thread("looking back for drift", self._drift.begin, bundle, past, scored)

    def _say(self, text: str, kind: NoteKind = "note") -> None:
        self._tell([Note(_now(), text, kind)])

    def _say_once(self, about: str, text: str, kind: NoteKind = "note") -> None:
        """Say it unless it is what was said last about the same."""
        if text and text != self._problems.get(about):
            self._say(text, kind)
        self._problems[about] = text


def _now() -> int:
    return time.time_ns() // 1_000
