"""Five hundred symbols of one-second bars through one process: message to stored signal.

Ten minutes of market are played as fast as they go. Each message is decoded and its ids checked,
trades become bars, every bar a signal, and bars and signals are stored every minute.
"""

from __future__ import annotations

import gc
import pickle
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from made_up import START, bars
from turns import Figure, publish

from microstream_lab import AggTrade, BarBuilder, Engine, Store, train_bundle
from microstream_lab.market.feed import Feed
from microstream_lab.schema import Bar, Signal

SYMBOLS, SECONDS, TRADES_A_SECOND, BATCH = 500, 600, 2, 60
PATH = f"{SYMBOLS} symbols of 1s bars, {SECONDS // 60} minutes, cores used"
HOW = (
    "{trades:,} aggTrade messages of {symbols} symbols ({rate} a second and symbol) through one "
    "process: decode, contiguity, bars, {bars:,} signals, bars and signals stored in DuckDB every "
    "{batch} s; the figure is CPU seconds of all threads by second of market. Without the store "
    "{bare:.3f}. Memory: {memory:.0f} kB a symbol, a minute of unstored bars and "
    "signals included; {state:.1f} kB are what an engine has to remember."
)


def frames(symbols: list[str], second: int, ids: np.ndarray) -> list[tuple[bytes, int]]:
    """One second of messages of all symbols, in order of time."""
    rng = np.random.default_rng(second)
    found = []
    for part in range(TRADES_A_SECOND):
        when = START + second * 1_000_000 + part * 1_000_000 // TRADES_A_SECOND
        prices = 100 + np.round(rng.normal(0, 0.05, len(symbols)), 2)
        for number, symbol in enumerate(symbols):
            agg_id = ids[number]
            ids[number] += 1
            data = (
                f'{{"e":"aggTrade","E":{when + 900},"s":"{symbol}","a":{agg_id},'
                f'"p":"{prices[number]:.8f}","q":"0.25000000","f":{agg_id},"l":{agg_id},'
                f'"T":{when},"m":{"true" if agg_id % 2 else "false"},"M":true}}'
            )
            message = f'{{"stream":"{symbol.lower()}@aggTrade","data":{data}}}'
            found.append((message.encode(), when))
    return found


class Line:
    """All symbols' feed, builders and engines."""

    def __init__(self, symbols: list[str]) -> None:
        bundle = train_bundle(bars(20_000, interval="1s"), "seed", n_starts=1)
        self.feed = Feed(symbols)
        self.builders = {symbol: BarBuilder(symbol, "1s", "sim") for symbol in symbols}
        self.engines = {symbol: Engine(bundle) for symbol in symbols}

    def take(self, messages: list[tuple[bytes, int]]) -> list[tuple[Bar, Signal]]:
        """Bars and signals that the messages close."""
        closed: list[tuple[Bar, Signal]] = []
        for event in self.feed.drain(messages):
            if isinstance(event, AggTrade):
                engine = self.engines[event.symbol]
                bars_closed = self.builders[event.symbol].update(event)
                closed += [(bar, engine.update(bar)) for bar in bars_closed]
        return closed


def rss_kb() -> float:
    """Resident memory now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


def main() -> None:
    """CPU used, and memory by symbol."""
    symbols = [f"S{number:03d}USDT" for number in range(SYMBOLS)]
    Line(symbols[:1])
    before = rss_kb()
    line, ids = Line(symbols), np.full(SYMBOLS, 1_000)
    bare = stored = memory = 0.0
    pending: list[tuple[Bar, Signal]] = []
    n_bars = 0
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "bench.duckdb")
        for second in range(SECONDS):
            messages = frames(symbols, second, ids)
            start = time.process_time()
            pending += line.take(messages)
            bare += time.process_time() - start
            if second == BATCH - 2:
                memory = (rss_kb() - before) / SYMBOLS
            if second % BATCH == BATCH - 1:
                start = time.process_time()
                store.write_bars([bar for bar, _ in pending])
                store.write_signals([signal for _, signal in pending])
                stored += time.process_time() - start
                n_bars += len(pending)
                pending.clear()
    state = len(pickle.dumps(line.engines[symbols[0]].snapshot())) / 1024
    how = HOW.format(
        trades=SYMBOLS * SECONDS * TRADES_A_SECOND,
        symbols=SYMBOLS,
        rate=TRADES_A_SECOND,
        bars=n_bars,
        batch=BATCH,
        bare=bare / SECONDS,
        memory=memory,
        state=state,
    )
    used = (bare + stored) / SECONDS
    told = f"{used:.2f} CPU s by s of market", "1 s"
    publish(Figure(PATH, "one core", 0.5, used, *told, how, at_most=True))


if __name__ == "__main__":
    main()
