"""A live session on the bus: bars and the signals that workers have made of them.

Invariant: nothing is scored here; a signal is told with the bar it belongs to, and which bundle
made it before the first one of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from math import nan
from typing import Final

from microstream_lab.bus.subscription import Subscription
from microstream_lab.errors import MicrostreamError
from microstream_lab.live.background import in_thread
from microstream_lab.live.bundles import Shelf
from microstream_lab.live.tidings import Model, Scored, Tiding
from microstream_lab.schema import Bar, Signal
from microstream_lab.settings import Settings

__all__ = ["Following"]

Series = tuple[str, str, str]

_UNKNOWN: Final = nan
"""The threshold of a bundle that this registry does not have."""


class Following:
    """Joins bars and signals of one series.

    Parameters
    ----------
    settings : Settings
        Where broker and registry are.
    series : tuple of str
        Market, symbol and interval.
    n_kept : int
        How many bars to begin with, and to remember.

    Attributes
    ----------
    n_new : int
        Bars that are newer than those of the first look.
    """

    def __init__(self, settings: Settings, series: Series, n_kept: int) -> None:
        self._settings, self._series, self._n_kept = settings, series, n_kept
        self._bars: dict[int, Bar] = {}
        self._early: dict[int, Signal] = {}
        self._bundle_id = ""
        self._newest = -1
        self.n_new = 0

    async def __aiter__(self) -> AsyncIterator[tuple[list[Tiding], list[Scored]]]:
        """What has come since the last look, for ever, and which of it is to be stored."""
        wanted = (self._settings, self._series, self._n_kept)
        subscription = await in_thread("reaching the bus", Subscription, *wanted)
        try:
            is_first = True
            while True:
                records = await in_thread("reading the bus", subscription.read)
                tidings = await in_thread("joining bars and signals", self._join, records)
                if is_first:
                    self.n_new, is_first = 0, not records
                yield tidings, [each for each in tidings if isinstance(each, Scored)]
        finally:
            subscription.close()

    def _join(self, records: Sequence[Bar | Signal]) -> list[Tiding]:
        found: list[Tiding] = []
        for record in records:
            if isinstance(record, Bar):
                self._bars[record.open_time] = record
                self.n_new += record.open_time > self._newest
                self._newest = max(self._newest, record.open_time)
                # A signal may overtake its bar, for it is on another topic.
                found += self._scored(record, self._early.pop(record.open_time, None))
            elif (bar := self._bars.get(record.open_time)) is None:
                self._early[record.open_time] = record
            else:
                found += self._scored(bar, record)
        for each in (self._bars, self._early):
            while len(each) > self._n_kept:
                del each[min(each)]
        return found

    def _scored(self, bar: Bar, signal: Signal | None) -> list[Tiding]:
        if signal is None or signal.bundle_id == self._bundle_id:
            return [Scored(bar, signal)]
        self._bundle_id = signal.bundle_id
        return [self._model(signal), Scored(bar, signal)]

    def _model(self, signal: Signal) -> Model:
        """The bundle of a signal: the registry's word about it, or what the signal itself tells."""
        shelf = Shelf(self._settings, self._series)
        try:
            chosen = shelf.choose(None)
        except MicrostreamError:
            chosen = None
        if chosen is not None and chosen.bundle.bundle_id == signal.bundle_id:
            return chosen.told(signal.open_time)
        features, n_regimes = tuple(signal.features), len(signal.filtered_probs)
        return Model(signal.bundle_id, "", n_regimes, features, _UNKNOWN, signal.open_time)
