"""Workers on a real broker while everything is killed, and what must be true afterwards.

Used in small by tests/test_bus_chaos.py and in full by benchmarks/kafka_chaos.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from uuid import uuid4

from broker import Broker
from bus import TopicReader, bus_settings, interleaved, market_of, put_bundles, single_process
from cut import Proxy

from microstream_lab.bus.messages import decode_signal
from microstream_lab.bus.topics import ensure_topics
from microstream_lab.live.postman import Postman
from microstream_lab.schema import Bar
from microstream_lab.settings import Settings
from microstream_lab.store import Store

# What a killed worker leaves is taken over at once, so that minutes are not spent on waiting.
_IMPATIENT = {
    "session.timeout.ms": 3_000,
    "heartbeat.interval.ms": 500,
    "transaction.timeout.ms": 3_000,
}


class Workers:
    """Worker processes of one group."""

    def __init__(self, settings: Settings) -> None:
        self._home = settings.microstream_home
        group = f"chaos-{uuid4().hex[:8]}"
        self._command = [sys.executable, "-m", "microstream_lab", "--debug", "worker"]
        self._command += ["--group", group]
        self._environment = {
            **os.environ,
            "MICROSTREAM_HOME": str(self._home),
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "KAFKA_RAW_BARS_TOPIC": settings.kafka_raw_bars_topic,
            "KAFKA_REGIME_SIGNALS_TOPIC": settings.kafka_regime_signals_topic,
            "KAFKA_DEAD_LETTERS_TOPIC": settings.kafka_dead_letters_topic,
            "KAFKA_PARTITIONS": str(settings.kafka_partitions),
            "KAFKA_OPTIONS": json.dumps({**_IMPATIENT, **settings.kafka_options}),
            "OMP_NUM_THREADS": "1",
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def add(self) -> None:
        with (self._home / "workers.log").open("ab") as log:
            self.running.append(
                subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
            )

    def kill(self) -> None:
        """End the one that has run longest, without any warning."""
        self._end(self.running.pop(0), signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.running:
            each.send_signal(signal.SIGTERM)
        for each in self.running:
            self._end(each, signal.SIGTERM)

    def _end(self, process: subprocess.Popen[bytes], how: int) -> None:
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def said(self) -> str:
        return (self._home / "workers.log").read_text("utf-8", "replace")[-3_000:]


class Listener:
    """Reads committed signals in a thread, and counts each."""

    def __init__(self, settings: Settings) -> None:
        self._reader = TopicReader(settings, settings.kafka_regime_signals_topic)
        self.found: dict[tuple[str, int], str] = {}
        self.times: Counter[tuple[str, int]] = Counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)
        self._reader.close()

    def _listen(self) -> None:
        while not self._ended.is_set():
            for message in self._reader.read():
                found = decode_signal(message.value())
                self.found[key := (found.symbol, found.open_time)] = repr(found)
                self.times[key] += 1


@dataclass
class Event:
    """What happens once a share of the signals is there."""

    share: float
    name: str
    happen: Callable[[], object]


@dataclass
class Outcome:
    """What was found in the end."""

    n_bars: int
    missing: int
    twice: int
    different: int
    took_s: float
    happened: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        return not (self.missing or self.twice or self.different)


@dataclass
class Plan:
    """How large, and what happens: shares of the signals at which things go wrong."""

    n_symbols: int
    n_partitions: int
    n_workers: int
    n_bars: int
    bars_per_s: float
    kills: Sequence[float]
    additions: Sequence[float]
    restarts: Sequence[float]
    cut_at: float
    cut_s: float
    limit_s: float


def run(broker: Broker, home: Path, plan: Plan, tell: Callable[[str], object]) -> Outcome:
    """Publish bars from a store's outbox, let things happen, and compare with one process."""
    settings = bus_settings(broker, home, kafka_partitions=plan.n_partitions)
    symbols = [f"S{number:02d}USDT" for number in range(plan.n_symbols)]
    bundle = put_bundles(settings, symbols)
    bars = interleaved(market_of(symbols, plan.n_bars // plan.n_symbols))
    wanted = {key: repr(each) for key, each in single_process(bundle, bars).items()}
    ensure_topics(settings)
    started, happened = time.monotonic(), list[str]()
    with (
        Proxy(broker.ports["proxy"], broker.ports["cut"]) as network,
        Workers(settings) as workers,
        Listener(settings) as listener,
    ):
        for _ in range(plan.n_workers):
            workers.add()
        postman = _postman(settings, broker, symbols)
        producing = threading.Thread(
            target=_produce, args=(postman, bars, plan.bars_per_s), daemon=True
        )
        producing.start()
        for event in _events(plan, workers, broker, network):
            _await(lambda e=event: len(listener.found) >= e.share * len(wanted), plan, workers)
            tell(f"{len(listener.found):,} of {len(wanted):,} signals: {event.name}")
            event.happen()
            happened.append(event.name)
        _await(lambda: len(listener.found) >= len(wanted), plan, workers)
        _await(lambda: not producing.is_alive(), plan, workers)
        postman[0].stop()
    return Outcome(
        n_bars=len(bars),
        missing=len(wanted.keys() - listener.found.keys()),
        twice=sum(n > 1 for n in listener.times.values()),
        different=sum(listener.found[key] != wanted[key] for key in listener.found),
        took_s=time.monotonic() - started,
        happened=happened,
    )


def _events(plan: Plan, workers: Workers, broker: Broker, network: Proxy) -> list[Event]:
    def cut() -> None:
        network.cut()
        threading.Timer(plan.cut_s, network.mend).start()

    found = [
        *(Event(share, "a worker is killed", workers.kill) for share in plan.kills),
        *(Event(share, "a worker is added", workers.add) for share in plan.additions),
        *(Event(share, "the broker is restarted", broker.restart) for share in plan.restarts),
        Event(plan.cut_at, f"the producer is cut off for {plan.cut_s:g} s", cut),
    ]
    return sorted(found, key=lambda event: event.share)


def _await(condition: Callable[[], bool], plan: Plan, workers: Workers) -> None:
    deadline = time.monotonic() + plan.limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain; workers said: {workers.said}"
        time.sleep(0.02)


def _postman(settings: Settings, broker: Broker, symbols: list[str]) -> tuple[Postman, Store]:
    store = Store(settings.store_path)
    through_the_proxy = settings.model_copy(update={"kafka_bootstrap_servers": broker.cut_address})
    return Postman(store, through_the_proxy, symbols, "1m", "spot"), store


def _produce(parts: tuple[Postman, Store], bars: list[Bar], bars_per_s: float) -> None:
    """Store bars as a recorder does, twice a second, for the postman to publish."""
    postman, store = parts
    postman.start()
    size = max(1, int(bars_per_s / 2))
    due = time.monotonic()
    for begin in range(0, len(bars), size):
        store.write_live(bars[begin : begin + size], [], [], publish=True)
        postman.wake()
        due += 0.5
        time.sleep(max(0.0, due - time.monotonic()))
    series = (sorted({bar.symbol for bar in bars}), "1m", "spot")
    while store.n_in_outbox(*series):
        time.sleep(0.1)
