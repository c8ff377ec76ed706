"""One worker on a real broker: bars a second, and from a bar published to its signal readable.

`make bench-kafka`. Broker, publisher and reader are on this machine as well, so bars a second are
counted by the worker's own processor time (all its threads) as well as by the clock.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from broker import Broker, missing

SYMBOLS = [f"S{number:02d}USDT" for number in range(60)]
N_THROUGHPUT, N_WARM = 200_000, 20_000
RATE, SECONDS, WARM_S, EVERY_S = 1_000, 60, 10, 0.01


def throughput(broker: Broker, home: Path, feature_set: str) -> str:
    """A backlog of bars, and one worker process that works it off."""
    from bus import bus_settings, interleaved, market_of, put_bundles
    from bus_chaos import Workers

    from microstream_lab.bus.publisher import BarPublisher
    from microstream_lab.bus.topics import ensure_topics

    settings = bus_settings(broker, home, kafka_partitions=12)
    put_bundles(settings, SYMBOLS, feature_set=feature_set)
    bars = interleaved(market_of(SYMBOLS, N_THROUGHPUT // len(SYMBOLS)))
    ensure_topics(settings)
    publisher = BarPublisher(settings)
    for begin in range(0, len(bars), 10_000):
        publisher.publish(bars[begin : begin + 10_000])
    counted = _Counter(settings)
    with Workers(settings) as workers:
        workers.add()
        process = psutil.Process(workers.running[0].pid)
        counted.wait(N_WARM)
        before, spent, first = time.monotonic(), sum(process.cpu_times()[:2]), counted.n
        counted.wait(int(0.95 * len(bars)))
        took, spent = time.monotonic() - before, sum(process.cpu_times()[:2]) - spent
        n = counted.n - first
    counted.close()
    return (
        f"{feature_set}: {n:,} bars, {n / spent:,.0f} a second of processor time, "
        f"{n / took:,.0f} a second by the clock"
    )


class _Counter:
    """How many committed signals there are, without decoding any."""

    def __init__(self, settings: object) -> None:
        from confluent_kafka import TopicPartition

        from microstream_lab.bus.reader import committed_consumer

        self._topic = settings.kafka_regime_signals_topic
        self._consumer = committed_consumer(settings)
        self._parts = [
            TopicPartition(self._topic, number) for number in range(settings.kafka_partitions)
        ]

    @property
    def n(self) -> int:
        """Ends of the partitions; commit markers count, too, one in thousands."""
        return sum(
            self._consumer.get_watermark_offsets(part, timeout=10)[1] for part in self._parts
        )

    def wait(self, n: int) -> None:
        while self.n < n:
            time.sleep(0.05)

    def close(self) -> None:
        self._consumer.close()


def latency(broker: Broker, home: Path) -> str:
    """Bars at a steady rate, and when their signals can be read."""
    from bus import TopicReader, bus_settings, interleaved, market_of, put_bundles
    from bus_chaos import Workers

    from microstream_lab.bus.messages import decode_signal
    from microstream_lab.bus.publisher import BarPublisher
    from microstream_lab.bus.topics import ensure_topics

    settings = bus_settings(broker, home, kafka_partitions=12)
    put_bundles(settings, SYMBOLS, feature_set="liquidity")
    bars = interleaved(market_of(SYMBOLS, RATE * SECONDS // len(SYMBOLS)))
    ensure_topics(settings)
    sent: dict[tuple[str, int], float] = {}
    seen: dict[tuple[str, int], float] = {}
    ended = threading.Event()

    def read() -> None:
        with TopicReader(settings, settings.kafka_regime_signals_topic) as reader:
            while not ended.is_set():
                for message in reader.read(0.5):
                    now = time.perf_counter()
                    signal = decode_signal(message.value())
                    seen[signal.symbol, signal.open_time] = now

    reading = threading.Thread(target=read, daemon=True)
    with Workers(settings) as workers:
        workers.add()
        reading.start()
        publisher = BarPublisher(settings)
        first, size = len(SYMBOLS), int(RATE * EVERY_S)
        publisher.publish(bars[:first])
        while len(seen) < first:  # the worker has joined, compiled, and loaded every bundle
            time.sleep(0.05)
        due = time.perf_counter()
        for begin in range(first, len(bars), size):
            now = time.perf_counter()
            for bar in bars[begin : begin + size]:
                sent[bar.symbol, bar.open_time] = now
            publisher.publish(bars[begin : begin + size])
            due += EVERY_S
            time.sleep(max(0.0, due - time.perf_counter()))
        until = time.monotonic() + 30
        while len(seen) < len(bars) and time.monotonic() < until:
            time.sleep(0.05)
        ended.set()
        reading.join()
    warm = int(WARM_S * RATE)
    delays = (
        np.array([seen[key] - at for key, at in list(sent.items())[warm:] if key in seen]) * 1e3
    )
    p50, p90, p99 = np.percentile(delays, [50, 90, 99])
    took = max(sent.values()) - min(sent.values())
    return (
        f"{len(delays):,} bars at {len(sent) / took:,.0f} a second, published to readable: "
        f"p50 {p50:.0f} ms, p90 {p90:.0f} ms, p99 {p99:.0f} ms, max {delays.max():.0f} ms"
    )


def main() -> int:
    """Measure, and say what was found."""
    if why := missing():
        print(f"bench-kafka: {why}", file=sys.stderr)
        return 1
    os.environ.setdefault("MICROSTREAM_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder, "broker")) as broker:
        print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        print(latency(broker, Path(folder, "latency")), flush=True)
        for feature_set in ("seed", "liquidity"):
            print(throughput(broker, Path(folder, feature_set), feature_set), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
