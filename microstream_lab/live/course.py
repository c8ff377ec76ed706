"""The course of a live session: history, bundle, then bar after bar, with what goes on beside.

Invariant: bars are scored in order of time, a new bundle only between two of them; everything that
is seen is told, in batches.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import DataError, ExchangeError, MicrostreamError
from microstream_lab.live.bundles import Chosen, choose, newer, train_provisional
from microstream_lab.live.history import fetch_since, fetch_span, recent
from microstream_lab.live.keeper import Keeper
from microstream_lab.live.pipeline import Pipeline, PipelineOptions
from microstream_lab.live.records import Batch
from microstream_lab.live.scorer import Scorer
from microstream_lab.live.sources import Place, SourceName, follow, open_exchange, replay
from microstream_lab.live.tidings import Link, Note, Scored, Stale, Ticks, Tiding
from microstream_lab.registry import Registry
from microstream_lab.schema import Bar, Gap, interval_us, iter_bars
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["Course", "CourseOptions"]

log = logging.getLogger(__name__)

_WARM_UP: Final = 100
_TRAINING_BARS: Final = 2_000
_BESIDE_S: Final = 0.25
_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class CourseOptions:
    """What a session was asked for; see :class:`~microstream_lab.live.session.LiveSession`."""

    symbol: str
    interval: str
    source: SourceName
    bundle: ModelBundle | str | None
    market: str
    window: int
    speed: float
    start: object
    end: object
    seed: int
    stores: bool = True


class Course:
    """Runs a session once, in whatever event loop it is awaited in.

    Parameters
    ----------
    options : CourseOptions
        What to do.
    settings, store, registry
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
    """

    def __init__(
        self,
        options: CourseOptions,
        settings: Settings,
        store: Store,
        registry: Registry,
        tell: Callable[[list[Tiding]], None],
    ) -> None:
        self._options, self._settings, self._registry = options, settings, registry
        self._store, self._tell = store, tell
        self._keeper = Keeper(store if options.stores else None)
        self._scorer = Scorer(options.window + _WARM_UP)
        self._step = interval_us(options.interval)
        self._chosen: Chosen | None = None
        self._next: Chosen | None = None
        self.series = (options.market, options.symbol, options.interval)
        self.n_bars = self.n_trades = 0
        self.is_live = False

    async def run(self) -> None:
        """Run until cancelled, or until a replay is over."""
        beside = asyncio.create_task(self._beside())
        try:
            if self._options.source in ("replay", "store"):
                await self._run_from_store()
            else:
                await self._run_from_exchange()
        finally:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
            await self._keeper.flush()

    async def _run_from_store(self) -> None:
        options = self._options
        self._keeper = Keeper(self._store if options.source == "store" and options.stores else None)
        start = None if options.start is None else pd.Timestamp(options.start)  # type: ignore[arg-type]
        before = await asyncio.to_thread(
            recent, self._store, self.series, options.window + _WARM_UP, start
        )
        if options.source == "replay" and options.start is None:
            before = before.iloc[:0]
        await self._begin(before, None)
        if options.source == "replay":
            parts = replay(self._store, self.series, options.start, options.end, options.speed)
        else:
            parts = follow(self._store, self.series, self._scorer.last_open_time + self._step)
        async for bars in parts:
            await self._swap_if_due()
            self._close(bars, [])

    async def _run_from_exchange(self) -> None:
        options = self._options
        opened = open_exchange(
            options.source,
            options.symbol,
            options.market,
            self._settings,
            options.speed,
            options.seed,
        )
        async with opened as place:
            self.series = (place.market, place.symbol, options.interval)
            if place.banner:
                self._tell([Note(_now(), place.banner, "banner")])
            n_bars = options.window + _WARM_UP
            stored = await asyncio.to_thread(recent, self._store, self.series, n_bars)
            if place.market == "sim" and options.source != "binance":
                stored = stored.iloc[:0]  # the exchange at hand knows them all, and for certain
            bars = await self._fetched(place, stored, n_bars)
            await self._begin(bars, place)
            pipeline = Pipeline(
                [place.symbol],
                options.interval,
                place.market,
                place.settings,
                options=PipelineOptions(keep_trades=True),
            )
            async with pipeline:
                await self._follow(pipeline, place)

    async def _fetched(self, place: Place, stored: pd.DataFrame, n_bars: int) -> pd.DataFrame:
        """The stored bars and the exchange's; the stored alone if it does not answer."""
        try:
            return await fetch_since(place, self.series, stored, n_bars)
        except ExchangeError as error:
            self._tell([Note(_now(), f"no history from the exchange: {error}", "error")])
            return stored

    async def _begin(self, bars: pd.DataFrame, place: Place | None) -> None:
        """Show the history, then choose or train the bundle and show it with its signals."""
        past = [Scored(bar) for bar in iter_bars(bars)] if len(bars) else []
        self._scorer.fill([each.bar for each in past])
        self._tell([*past])
        chosen = await asyncio.to_thread(choose, self._registry, self.series, self._options.bundle)
        if chosen is None:
            chosen = await self._makeshift(bars, place)
        if chosen is not None:
            self._next = chosen
            await self._swap_if_due()
        self.is_live = True
        self._tell([])

    async def _makeshift(self, bars: pd.DataFrame, place: Place | None) -> Chosen | None:
        """A bundle trained on the spot; None, and a word about it, if history does not suffice."""
        name = " ".join(self.series[1:])
        self._tell([Note(_now(), f"no bundle for {name}: training a provisional one on history")])
        try:
            if place is not None:
                bars = await fetch_since(place, self.series, bars.iloc[:0], _TRAINING_BARS)
            return await asyncio.to_thread(train_provisional, bars, self._settings)
        except (MicrostreamError, DataError) as error:
            self._tell([Note(_now(), f"no regimes: {error}", "error")])
            return None

    async def _follow(self, pipeline: Pipeline, place: Place) -> None:
        """Bars as the pipeline closes them, and every trade that came."""
        links = asyncio.create_task(self._watch(pipeline))
        try:
            async for batch in pipeline:
                await self._swap_if_due()
                await self._mend(batch, place)
                self._take(batch, pipeline, place.ahead_us)
        finally:
            links.cancel()
            await asyncio.gather(links, return_exceptions=True)

    def _take(self, batch: Batch, pipeline: Pipeline, ahead_us: int | None) -> None:
        self._close(batch.bars, batch.gaps)
        if batch.trades:
            self.n_trades += len(batch.trades)
            last, symbol = batch.trades[-1], self.series[1]
            forming = pipeline.assembler.forming(symbol)
            at, now = last.trade_time, _now()
            sent_at = now if ahead_us is None else at + ahead_us
            self._tell([Ticks(len(batch.trades), last.price, at, sent_at, now, forming)])

    def _close(self, bars: Sequence[Bar], gaps: Sequence[Gap]) -> None:
        if not (bars or gaps):
            return
        newest = self._scorer.last_open_time
        scored = [each for bar in bars for each in self._scorer.update(bar)]
        self.n_bars += sum(bar.open_time > newest for bar in bars)
        told: list[Scored | Gap] = [*gaps, *scored]
        self._keeper.add(told)
        # How a first bar finds its beginning is no gap of anybody's making.
        self._tell([each for each in told if not _is_start(each)])

    async def _mend(self, batch: Batch, place: Place) -> None:
        """Fetch bars that closed between the history and the stream's first."""
        last = self._scorer.last_open_time
        first = min((bar.open_time for bar in batch.bars), default=0)
        if not last or first <= last + self._step:
            return
        span = (last + self._step, first)
        try:
            bars = await fetch_span(place, self.series, *span)
        except ExchangeError as error:
            log.warning("bars before the first are missing: %s", error)
            return
        self._close(list(iter_bars(bars)), [])

    async def _watch(self, pipeline: Pipeline) -> None:
        """Tell lost connections and silences as soon as they are known."""
        status, counters = pipeline.stream.status, pipeline.feed.counters
        losses, silences, dials = 0, 0, 0
        while True:
            if status.losses > losses or counters.stale > silences:
                last = pipeline.assembler.last_trade(self.series[1])
                since = _now() if last is None else min(_now(), last.trade_time)
                self._tell([Stale(self.series[1], since, _now())])
            if (status.losses, status.dials) != (losses, dials):
                self._tell([Link(status.losses, status.dials, _now())])
            losses, silences, dials = status.losses, counters.stale, status.dials
            await asyncio.sleep(_BESIDE_S)

    async def _beside(self) -> None:
        """Once a second: store what there is, and look for a new bundle."""
        problem = ""
        while True:
            await asyncio.sleep(_EVERY_S)
            if (found := await self._keeper.flush()) != problem:
                problem = found
                if problem:
                    self._tell([Note(_now(), f"not stored yet: {problem}", "error")])
            if self._chosen is not None and self._next is None:
                await self._look_for_a_newer_bundle(self._chosen)

    async def _look_for_a_newer_bundle(self, chosen: Chosen) -> None:
        try:
            self._next = await asyncio.to_thread(newer, self._registry, self.series, chosen)
        except MicrostreamError as error:
            self._chosen = None  # not asked again every second: the user has to look at it
            self._tell([Note(_now(), f"the new bundle cannot be used: {error}", "error")])

    async def _swap_if_due(self) -> None:
        """Change bundles between two bars; the history is shown anew only if it has to be."""
        chosen, self._next = self._next, None
        if chosen is None:
            return
        before, self._chosen = self._chosen, chosen
        scored = await asyncio.to_thread(self._scorer.swap, chosen.bundle)
        looks_alike = before is not None and (
            before.bundle.features,
            before.bundle.n_regimes,
        ) == (chosen.bundle.features, chosen.bundle.n_regimes)
        since = self._scorer.last_open_time + self._step
        self._tell([chosen.told(since), *([] if looks_alike else scored)])


def _is_start(told: Scored | Gap) -> bool:
    return isinstance(told, Gap) and told.cause == "start"


def _now() -> int:
    return time.time_ns() // 1_000
