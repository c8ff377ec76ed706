"""Bars, gaps and, if wanted, trades of a market, recorded for as long as it runs.

Invariant: what is stored is whole batches, each with the watermark it reaches to, so that after a
kill at any moment the next recorder goes on with the trade after it; trades are on disk before the
watermark that counts them. What is owed can be read off the store: gaps on record, and bars that
are partial without one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pandas as pd

from microstream_lab.errors import MicrostreamError, StoreError
from microstream_lab.live.debts import debts_of
from microstream_lab.live.pipeline import Pipeline, PipelineOptions, Start
from microstream_lab.live.records import Batch, Debt
from microstream_lab.live.segments import Segments
from microstream_lab.schema import Watermark
from microstream_lab.settings import Settings
from microstream_lab.store import Store

if TYPE_CHECKING:
    from microstream_lab.live.postman import Postman

__all__ = ["Recorder", "RecorderStatus"]

log = logging.getLogger(__name__)

_FLUSH_S: Final = 1.0
_MOST_BARS: Final = 50_000
"""If the store cannot be written, so many bars and gaps are held before that is an error."""
_OWED_FOR_US: Final = 7 * 86_400_000_000
_PARTIAL: Final = """
SELECT epoch_us(open_time) AS time FROM bars
WHERE market = $market AND symbol = $symbol AND interval = $interval AND quality = 'partial'
    AND open_time >= make_timestamptz($since) AND open_time < make_timestamptz($until)
ORDER BY open_time
"""


class RecorderStatus(msgspec.Struct, frozen=True):
    """How a recorder is doing.

    ``trades_per_s`` and ``lag_s`` (worst delay from receiving to having assembled) are since the
    last status; the rest is since the start, ``last_bars`` the open time (us) by symbol.
    ``published`` counts bars on the bus, None without one, and ``problem`` is what keeps them off.
    """

    trades: int
    trades_per_s: float
    lag_s: float
    bars: int
    gaps_open: int
    gaps_repaired: int
    gaps_given_up: int
    dropped: int
    losses: int
    mismatches: int
    unstored: int
    last_bars: dict[str, int]
    published: int | None = None
    problem: str = ""

    def __str__(self) -> str:
        last = " ".join(
            f"{symbol} {pd.Timestamp(time, unit='us'):%m-%d %H:%M:%S}"
            for symbol, time in list(self.last_bars.items())[:4]
        )
        more = " ..." if len(self.last_bars) > 4 else ""
        bus = "" if self.published is None else f", published {self.published:,}"
        if self.problem:
            bus += f" (bars wait in the outbox: {self.problem})"
        return (
            f"{self.trades_per_s:,.0f} trades/s, lag {self.lag_s * 1e3:,.0f} ms, {self.bars:,} "
            f"bars, gaps {self.gaps_open} open {self.gaps_repaired} repaired "
            f"{self.gaps_given_up} given up, last bar {last or 'none'}{more}{bus}"
        )


class Recorder:
    """Records symbols into a store, going on where an earlier one stopped or was stopped.

    Parameters
    ----------
    symbols : sequence of str
        Whose bars.
    interval, market : str
        Of the bars.
    store : Store
        Where to.
    segments_folder : Path, optional
        Where to keep the trades; by default they are not kept.
    settings : Settings, optional
        For the addresses; loaded if not given.
    options : PipelineOptions, optional
        How to run.
    segments : callable, optional
        Makes the :class:`Segments` of a folder and a market.
    postman : Postman, optional
        Publishes what is stored; by default nothing is published.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        interval: str,
        market: str,
        store: Store,
        segments_folder: Path | None = None,
        settings: Settings | None = None,
        options: PipelineOptions | None = None,
        segments: Callable[[Path, str], Segments] = Segments,
        postman: Postman | None = None,
    ) -> None:
        self._symbols, self._interval, self._market = list(symbols), interval, market
        self._store, self._settings = store, settings
        self._segments = None if segments_folder is None else segments(segments_folder, market)
        self._postman = postman
        options = options or PipelineOptions()
        self._options = msgspec.structs.replace(options, keep_trades=self._segments is not None)
        self._pending = Batch()
        self._last_bars: dict[str, int] = {}
        self._looked = (time.monotonic(), 0)
        self.pipeline: Pipeline | None = None
        self.ended = asyncio.Event()

    def stop(self) -> None:
        """Let :meth:`run` store what it has and return."""
        self.ended.set()

    @property
    def watermarks(self) -> dict[str, int]:
        """Open time (us) up to which each symbol's bars are stored."""
        return dict(self._last_bars)

    async def run(self) -> None:
        """Record until :meth:`stop`.

        Raises
        ------
        MicrostreamError
            If the exchange refuses us for good, or the store cannot be written for too long.
        """
        starts, debts = await asyncio.to_thread(self._look_back)
        pipeline = self.pipeline = Pipeline(
            self._symbols,
            self._interval,
            self._market,
            self._settings,
            starts,
            debts,
            self._options,
        )
        if self._postman is not None:
            self._postman.start()
        async with pipeline:
            collecting = asyncio.create_task(self._collect(pipeline))
            stopping = asyncio.create_task(self.ended.wait())
            try:
                while not (collecting.done() or stopping.done()):
                    await asyncio.wait(
                        [collecting, stopping], timeout=_FLUSH_S, return_when="FIRST_COMPLETED"
                    )
                    await self._flush()
            finally:
                collecting.cancel()
                stopping.cancel()
                await asyncio.gather(collecting, stopping, return_exceptions=True)
                await self._flush(everything=True)
                if self._postman is not None:
                    await asyncio.to_thread(self._postman.stop)
        if not collecting.cancelled() and (failure := collecting.exception()):
            raise failure

    async def _collect(self, pipeline: Pipeline) -> None:
        async for batch in pipeline:
            self._pending.extend(batch)
            while len(self._pending.trades) > 2 * _MOST_BARS:
                await asyncio.sleep(0.01)

    def _look_back(self) -> tuple[dict[str, Start], list[Debt]]:
        """What an earlier recorder left, and what it owes."""
        marks = self._store.watermarks(self._interval, self._market)
        starts = {}
        for symbol in self._symbols:
            if symbol in marks:
                trade = self._segments.last_trade(symbol) if self._segments else None
                starts[symbol] = Start(marks[symbol], trade)
        if not starts:
            return {}, []
        gaps = [gap for gap in self._store.open_gaps(self._market) if gap.symbol in starts]
        partial = {symbol: self._partial(marks[symbol]) for symbol in starts}
        return starts, debts_of(gaps, self._interval, partial)

    def _partial(self, mark: Watermark) -> list[int]:
        """Opening times (us) of the partial bars of the days before a watermark."""
        since = mark.open_time - _OWED_FOR_US
        asked = {"market": mark.market, "symbol": mark.symbol, "interval": mark.interval}
        found = self._store.sql(_PARTIAL, {**asked, "since": since, "until": mark.open_time})
        return [int(time) for time in found["time"]]

    async def _flush(self, everything: bool = False) -> None:
        """Store what is there; what cannot be stored now waits for the next time."""
        batch, self._pending = self._pending, Batch()
        if not batch and not everything:
            return
        try:
            await asyncio.to_thread(self._write, batch, everything)
        except StoreError as error:
            batch.trades = []
            batch.extend(self._pending)
            self._pending = batch
            if everything or len(batch.bars) + len(batch.gaps) > _MOST_BARS:
                raise
            log.warning("not stored yet: %s", error)

    def _write(self, batch: Batch, everything: bool) -> None:
        if self._segments is not None:
            self._segments.add(batch.trades)
            # Once the record says that a gap is repaired nobody will ask for its trades again.
            is_repair = any(gap.repaired_at is not None for gap in batch.gaps)
            self._segments.write(everything or is_repair)
        if batch.bars or batch.gaps or batch.watermarks:
            marks, publish = batch.watermarks.values(), self._postman is not None
            self._store.write_live(batch.bars, batch.gaps, marks, publish=publish)
        if self._postman is not None and batch.bars:
            self._postman.wake()
        for symbol, mark in batch.watermarks.items():
            self._last_bars[symbol] = mark.open_time

    def status(self) -> RecorderStatus:
        """How it is doing."""
        if self.pipeline is None:
            raise MicrostreamError("recorder: found none running, expected run() before status()")
        pipeline, counts = self.pipeline, self.pipeline.assembler.counts
        now, (since, n_before) = time.monotonic(), self._looked
        self._looked = (now, counts.trades)
        lag_s = max(pipeline.lags_s, default=0.0)
        pipeline.lags_s.clear()
        return RecorderStatus(
            trades=counts.trades,
            trades_per_s=(counts.trades - n_before) / max(now - since, 1e-9),
            lag_s=lag_s,
            bars=counts.bars,
            gaps_open=counts.gaps_open,
            gaps_repaired=counts.gaps_repaired,
            gaps_given_up=counts.gaps_given_up,
            dropped=pipeline.stream.inbox.dropped,
            losses=pipeline.stream.status.losses,
            mismatches=pipeline.check.mismatches,
            unstored=len(self._pending.bars),
            last_bars=self.watermarks,
            published=None if self._postman is None else self._postman.n_published,
            problem="" if self._postman is None else self._postman.problem,
        )
