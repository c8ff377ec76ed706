"""Drift of a live session: measured with every signal, told and stored now and then.

Invariant: an alarm is told with the bar that raises it, and whoever asked to hear of alarms hears
of each once; what is kept is bounded, and nothing of it holds up a bar.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import pandas as pd

from microstream_lab.errors import MicrostreamError
from microstream_lab.live.tidings import Drift, Scored
from microstream_lab.models.drift_report import DriftReport
from microstream_lab.schema import interval_us

if TYPE_CHECKING:  # models load after the first bars are on the screen
    from microstream_lab.bundle import ModelBundle
    from microstream_lab.drift import DriftWatch

__all__ = ["DriftDesk", "OnDrift", "told"]

OnDrift: TypeAlias = Callable[[DriftReport], object]

_EVERY: Final = 15
"""Bars between two reports while nothing changes."""
_REMEMBERED: Final = 8


class DriftDesk:
    """Watches the signals of a session.

    Parameters
    ----------
    on_drift : callable, optional
        Wants to hear of each alarm when it begins.
    """

    def __init__(self, on_drift: OnDrift | None = None) -> None:
        self._on_drift = on_drift
        self._watch: DriftWatch | None = None
        self._alarmed = False
        self._since = 0
        self._unheard: deque[DriftReport] = deque(maxlen=_REMEMBERED)

    def begin(self, bundle: ModelBundle, past: pd.DataFrame, scored: Sequence[Scored]) -> None:
        """Compare with this bundle's training from now on.

        Parameters
        ----------
        bundle : ModelBundle
            One without a reference is not watched.
        past : DataFrame
            Bars before the kept ones, perhaps none, for the window to be full sooner.
        scored : sequence of Scored
            The kept bars with the bundle's signals.
        """
        self._watch, self._alarmed, self._since = None, False, _EVERY
        if bundle.drift is None:
            return
        from microstream_lab.drift import DriftWatch

        watch = DriftWatch(bundle)
        if len(past):
            watch.fill(bundle.signals(past))
        watch.extend([each.signal for each in scored if each.signal is not None])
        self._watch = watch

    def take(self, scored: Sequence[Scored]) -> list[DriftReport]:
        """What is to be told after these bars; bars made anew change nothing."""
        return [
            report
            for each in scored
            if each.signal is not None
            and self._watch is not None
            and (report := self._watch.update(each.signal)) is not None
            and self._is_news(report)
        ]

    def speak(self) -> None:
        """Let whoever wants to hear of alarms have those there were; it may take its time.

        Raises
        ------
        MicrostreamError
            If that fails, in whatever way: bars go on without it.
        """
        while self._unheard:
            report = self._unheard.popleft()
            try:
                if self._on_drift is not None:
                    self._on_drift(report)
            except Exception as error:
                raise MicrostreamError(f"drift could not be answered: {error}") from error

    def _is_news(self, report: DriftReport) -> bool:
        self._since += 1
        alarmed = bool(report.alarms)
        if alarmed and not self._alarmed:
            self._unheard.append(report)
        if alarmed == self._alarmed and self._since < _EVERY:
            return False
        self._alarmed, self._since = alarmed, 0
        return True


def told(report: DriftReport) -> Drift:
    """A report as a tiding."""
    return Drift(
        report.open_time + interval_us(report.interval),
        max(report.features.values(), default=0.0),
        report.n_bars,
        report.window,
        report.alarms,
        str(report),
    )
