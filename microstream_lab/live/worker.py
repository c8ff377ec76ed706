"""A worker: one process of a group that makes signals of the bars on the bus.

Invariant: whatever becomes of a worker, each bar's signal is there once for readers of committed
messages.
"""

from __future__ import annotations

import time

import msgspec

from microstream_lab.bus.topics import ensure_topics
from microstream_lab.bus.transform import Transform, TransformOptions
from microstream_lab.live.scoring import SignalProcessor
from microstream_lab.live.sink import StoreSink
from microstream_lab.settings import Settings

__all__ = ["Worker", "WorkerStatus"]


class WorkerStatus(msgspec.Struct, frozen=True):
    """How a worker is doing; the rate is since the last status, the rest since the start."""

    name: str
    partitions: int
    bars: int
    bars_per_s: float
    signals: int
    dead_letters: int
    stored: int | None = None
    problem: str = ""

    def __str__(self) -> str:
        store = "" if self.stored is None else f", stored {self.stored:,}"
        if self.problem:
            store += f" (waiting: {self.problem})"
        return (
            f"worker {self.name}: {self.partitions} partitions, {self.bars_per_s:,.0f} bars/s, "
            f"{self.bars:,} bars, {self.signals:,} signals, {self.dead_letters:,} dead letters"
            f"{store}"
        )


class Worker:
    """Consumes bars, runs engines, and produces signals, each transaction whole or not at all.

    Parameters
    ----------
    settings : Settings
        Where broker and registry are.
    options : TransformOptions, optional
        How to run.
    sink : StoreSink, optional
        Stores what is on the bus meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        options: TransformOptions | None = None,
        sink: StoreSink | None = None,
    ) -> None:
        self._settings, self._sink = settings, sink
        self._processor = SignalProcessor(settings)
        self._transform = Transform(
            settings, settings.kafka_raw_bars_topic, self._processor, options
        )
        self._looked = (time.monotonic(), 0)

    def stop(self) -> None:
        """Let :meth:`run` commit what it has and return."""
        self._transform.stop()

    def run(self) -> None:
        """Work until :meth:`stop`.

        Raises
        ------
        BusError
            If the broker cannot be used.
        """
        ensure_topics(self._settings)
        if self._sink is not None:
            self._sink.start()
        try:
            self._transform.run()
        finally:
            if self._sink is not None:
                self._sink.stop()

    def status(self) -> WorkerStatus:
        """How it is doing."""
        now, (since, n_before) = time.monotonic(), self._looked
        n_bars = self._processor.n_bars
        self._looked = (now, n_bars)
        return WorkerStatus(
            name=self._transform.name,
            partitions=len(self._transform.partitions),
            bars=n_bars,
            bars_per_s=(n_bars - n_before) / max(now - since, 1e-9),
            signals=self._processor.n_signals,
            dead_letters=self._processor.n_dead,
            stored=None if self._sink is None else self._sink.n_stored,
            problem="" if self._sink is None else self._sink.problem,
        )
