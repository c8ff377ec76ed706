"""What a monitor knows: the window, the regime and since when, the health and what happened.

Invariant: pure and bounded. Tidings go in, pictures come out; no clock is read, and what is kept
does not grow, however long a session runs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from microstream_lab.live.tidings import (
    Drift,
    Heard,
    Link,
    Model,
    Note,
    Scored,
    Stale,
    Ticks,
    Tiding,
)
from microstream_lab.live.window import Columns, Window
from microstream_lab.schema import PARTIAL, Bar, Gap, Signal, interval_us

__all__ = ["Health", "LogEntry", "LogKind", "MonitorState", "Picture"]

LogKind = Literal[
    "regime", "anomaly", "gap", "repair", "link", "model", "stale", "drift", "note", "error"
]

_S: Final = 1_000_000
_RATE_OVER: Final = 5 * _S
_LOGGED: Final = 200
_DRAWN: Final = 512
_REMEMBERED: Final = 1_000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Something that happened at `at` (us), of what kind, in words."""

    at: int
    kind: LogKind
    text: str
    regime: int = -1


@dataclass(frozen=True, slots=True)
class Health:
    """How well the session keeps up.

    ``trades_per_s`` over the last five seconds; ``lag_us`` from the last trade to its receipt;
    ``latency_us`` from trade to drawn, median and 99th percentile; gaps that are open and that
    were repaired; connections lost; ``is_awaited`` as long as no trade has come over a connection
    that brings them; ``drift`` from the training, None if it is not told.
    """

    trades_per_s: float
    lag_us: int
    latency_us: tuple[float, float] | None
    gaps_open: int
    gaps_repaired: int
    reconnects: int
    stale_since: int | None
    is_awaited: bool = False
    drift: Drift | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything a view draws, apart from the state it was taken of.

    ``times`` (us) and ``columns`` are those of the closed bars; ``revision`` counts what changed
    them, ``n_events`` what was logged. ``regime_since`` is the open time of the first bar of the
    regime that lasts; ``sent_at`` is when the last trade happened by this machine's clock.
    """

    times: npt.NDArray[np.int64]
    columns: Columns
    forming: Bar | None
    model: Model | None
    swaps: tuple[int, ...]
    regime: int
    regime_since: int
    probability: float
    anomaly_score: float
    is_anomaly: bool
    price: float
    spread: float
    trade_time: int
    sent_at: int
    health: Health
    log: tuple[LogEntry, ...]
    banner: str
    revision: int
    n_events: int


class MonitorState:
    """What has been told so far, as far as it matters on a screen.

    Parameters
    ----------
    interval : str
        Of the bars.
    window : int
        How many bars are shown.
    """

    def __init__(self, interval: str, window: int = 500) -> None:
        self._step = interval_us(interval)
        self._window = Window(window)
        self._forming: Bar | None = None
        self._model: Model | None = None
        self._swaps: deque[int] = deque(maxlen=32)
        self._regime, self._regime_since = -1, 0
        self._last: Scored | None = None
        self._price, self._spread, self._trade_time = float("nan"), float("nan"), 0
        self._sent_at = self._lag = 0
        self._rates: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._latencies: deque[int] = deque(maxlen=_DRAWN)
        self._gaps: dict[int, Gap] = {}
        self._repaired = 0
        self._link = Link(0, 0, 0)
        self._stale_since: int | None = None
        self._log: deque[LogEntry] = deque(maxlen=_LOGGED)
        self._banner = ""
        self._drift: Drift | None = None
        self._revision = self._n_events = 0

    @property
    def n_bars(self) -> int:
        """Bars in the window."""
        return len(self._window)

    @property
    def latencies_us(self) -> tuple[int, ...]:
        """From last trade to painted, of the last frames that were, oldest first."""
        return tuple(self._latencies)

    def update(self, tiding: Tiding) -> None:
        """Take the next tiding."""
        match tiding:
            case Ticks():
                self._tick(tiding)
            case Scored():
                self._close(tiding)
            case Model():
                self._swap(tiding)
            case Gap():
                self._note_gap(tiding)
            case Link():
                self._note_link(tiding)
            case Stale():
                self._stale_since = tiding.since
                silent_s = (tiding.detected_at - tiding.since) / _S
                self._write(tiding.detected_at, "stale", f"no trade for {silent_s:.1f} s")
            case Heard():
                self._hear(tiding.at)
            case Drift():
                self._drift_to(tiding)
            case Note():
                self._note(tiding)

    def drawn(self, latency_us: int) -> None:
        """A frame was painted so long after the last trade in it."""
        self._latencies.append(latency_us)

    def picture(self, now: int) -> Picture:
        """What is to be seen at `now` (us)."""
        signal = self._last.signal if self._last else None
        known = signal is not None and signal.regime >= 0
        return Picture(
            times=self._window.times,
            columns=self._window.columns(),
            forming=self._forming,
            model=self._model,
            swaps=tuple(self._swaps),
            regime=self._regime,
            regime_since=self._regime_since,
            probability=max(signal.filtered_probs) if known and signal else float("nan"),
            anomaly_score=signal.anomaly_score if signal else float("nan"),
            is_anomaly=bool(signal and signal.is_anomaly),
            price=self._price,
            spread=self._spread,
            trade_time=self._trade_time,
            sent_at=self._sent_at,
            health=self._health(now),
            log=tuple(self._log),
            banner=self._banner,
            revision=self._revision,
            n_events=self._n_events,
        )

    def _tick(self, ticks: Ticks) -> None:
        self._price, self._spread, self._trade_time = ticks.price, ticks.spread, ticks.trade_time
        self._sent_at, self._lag = ticks.sent_at, ticks.received_at - ticks.sent_at
        self._rates.append((ticks.received_at, ticks.n))
        self._forming = ticks.forming
        self._hear(ticks.received_at)

    def _hear(self, at: int) -> None:
        # Over a connection that is cut nothing comes: those are trades that waited to be told.
        if self._stale_since is not None and not self._link.is_cut:
            self._stale_since = None
            self._write(at, "stale", "trades are coming again")

    def _close(self, scored: Scored) -> None:
        bar, signal = scored.bar, scored.signal
        if not self._window.put(bar, signal):
            return
        self._revision += 1
        if bar.revision:
            self._write(bar.open_time + self._step, "repair", f"bar made anew, {bar.quality}")
        if self._last is not None and bar.open_time <= self._last.bar.open_time:
            if bar.open_time == self._last.bar.open_time:
                self._last = scored
            return
        self._last = scored
        if self._forming is not None and self._forming.open_time <= bar.open_time:
            self._forming = None
        if self._trade_time < bar.open_time + self._step:
            self._price = bar.close
        if bar.quality == PARTIAL:
            self._write(bar.open_time + self._step, "gap", "bar closed with trades missing")
        if signal is not None:
            self._judge(bar, signal)

    def _judge(self, bar: Bar, signal: Signal) -> None:
        """Tell what is new about the market with this bar."""
        closed_at = bar.open_time + self._step
        if signal.is_anomaly:
            self._write(closed_at, "anomaly", f"anomaly, score {signal.anomaly_score:.3f}")
        if signal.regime >= 0 and signal.regime != self._regime:
            self._regime, self._regime_since = signal.regime, bar.open_time
            text = f"probability {max(signal.filtered_probs):.0%}"
            self._write(closed_at, "regime", text, signal.regime)

    def _swap(self, model: Model) -> None:
        before, self._model = self._model, model
        self._drift = None
        self._revision += 1
        if before is None or (before.features, before.n_regimes) != (
            model.features,
            model.n_regimes,
        ):
            self._window = self._window.relabel(model.features, model.n_regimes)
            self._regime, self._last = -1, None
        if before is not None:
            self._swaps.append(model.since)
        name = model.version or model.bundle_id
        kind = "provisional bundle" if model.provisional else "bundle"
        self._write(model.since, "model", f"{kind} {name}")

    def _note_gap(self, gap: Gap) -> None:
        n_ids = gap.to_id - gap.from_id + 1
        if gap.repaired_at is not None:
            self._repaired += self._gaps.pop(gap.from_id, None) is not None
            self._write(gap.repaired_at, "repair", f"{n_ids:,} missing trades found")
            return
        if gap.from_id not in self._gaps:
            self._write(gap.detected_at, "gap", f"{n_ids:,} trades missing: {gap.cause}")
        self._gaps[gap.from_id] = gap
        while len(self._gaps) > _REMEMBERED:
            del self._gaps[next(iter(self._gaps))]

    def _note_link(self, link: Link) -> None:
        if link.losses > self._link.losses:
            self._write(link.at, "link", "connection lost")
        if link.dials > max(self._link.dials, 1):
            self._write(link.at, "link", "connecting again")
        self._link = link

    def _drift_to(self, drift: Drift) -> None:
        before = self._drift.alarms if self._drift is not None else ()
        self._drift = drift
        if bool(before) != bool(drift.alarms):
            self._write(drift.at, "drift", f"drift: {drift.text}")

    def _note(self, note: Note) -> None:
        if note.kind == "banner":
            self._banner = note.text
        if note.text:
            self._write(note.at, "error" if note.kind == "error" else "note", note.text)

    def _write(self, at: int, kind: LogKind, text: str, regime: int = -1) -> None:
        self._n_events += 1
        self._log.append(LogEntry(at, kind, text, regime))

    def _health(self, now: int) -> Health:
        recent = [n for at, n in self._rates if at > now - _RATE_OVER]
        drawn = np.percentile(self._latencies, [50, 99]) if self._latencies else None
        return Health(
            trades_per_s=sum(recent) * _S / _RATE_OVER,
            lag_us=self._lag,
            latency_us=None if drawn is None else (float(drawn[0]), float(drawn[1])),
            gaps_open=len(self._gaps),
            gaps_repaired=self._repaired,
            reconnects=self._link.losses,
            stale_since=self._stale_since,
            is_awaited=self._link.at > 0 and not self._rates,
            drift=self._drift,
        )
