"""Message to bar, one at a time, beside ``json.loads`` on the same bytes.

Every path runs over the same short chunks in turn, and each figure is the median of the chunks' own
ratios, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from turns import Figure, publish

from microstream_lab import BarBuilder
from microstream_lab.live.assembler import Assembler
from microstream_lab.market.feed import Feed
from microstream_lab.market.feed.messages import decode
from microstream_lab.schema import AggTrade, Watermark

GOAL = 0.35
START, MINUTE = 1_700_000_000_000_000, 60_000_000
FIRST_ID, FIRST_SINGLE_ID = 3_000_000_000, 3_735_683_259
CHUNK = 512
"""Messages in one go, as the recorder takes them; none waits for more than have come."""
N_CHUNKS = 400


def make_messages(n: int, seed: int = 0) -> list[bytes]:
    """Combined-stream aggTrade messages as the exchange writes them, in microseconds."""
    rng = random.Random(seed)
    messages, when, single, price = [], START, FIRST_SINGLE_ID, 61_837.63
    for agg_id in range(FIRST_ID, FIRST_ID + n):
        when += int(rng.expovariate(1 / 20_000))
        price = round(price + rng.choice((-0.01, 0.0, 0.01)), 2)
        last = single + rng.choice((0, 0, 0, 1, 3))
        maker = rng.choice(("true", "false"))
        data = (
            f'{{"e":"aggTrade","E":{when + 900},"s":"BTCUSDT","a":{agg_id},"p":"{price:.8f}",'
            f'"q":"{rng.expovariate(20):.8f}","f":{single},"l":{last},"T":{when},"m":{maker},'
            '"M":true}'
        )
        messages.append(f'{{"stream":"btcusdt@aggTrade","data":{data}}}'.encode())
        single = last + 1
    return messages


Run = Callable[[list[Any]], object]


def each(run: Callable[[Any], object]) -> Run:
    """One call per item."""

    def over(items: list[Any]) -> None:
        for item in items:
            run(item)

    return over


def contiguity() -> Run:
    """Decode and check; the consumer drains what came in one wake-up."""
    feed = Feed(["BTCUSDT"])
    return feed.drain


def bar() -> Run:
    """Trades into bars, those of one wake-up after each other."""
    builder = BarBuilder("BTCUSDT", "1m")

    def over(trades: list[AggTrade]) -> None:
        place = 0
        while (place := builder.absorb(trades, place)) < len(trades):
            builder.update(trades[place])
            place += 1

    return over


def whole_path() -> Run:
    """What the recorder does: decode, check contiguity, fold into a bar."""
    feed, assembler = Feed(["BTCUSDT"]), Assembler(["BTCUSDT"], "1m")
    first, single = FIRST_ID - 1, FIRST_SINGLE_ID - 1
    assembler.resume(Watermark("BTCUSDT", "1m", first, single, START // MINUTE * MINUTE, 1.0))

    def over(frames: list[tuple[bytes, int]]) -> None:
        assembler.update(feed.drain(frames), 0)

    return over


def seconds(run: Run, items: list[Any]) -> float:
    """CPU time of one chunk."""
    start = time.process_time()
    run(items)
    return time.process_time() - start


def measure() -> dict[str, tuple[float, float]]:
    """Microseconds per message, and ratio to json.loads, of each path."""
    messages = make_messages(CHUNK * N_CHUNKS)
    trades = [decode(message) for message in messages]
    frames = [(message, 0) for message in messages]  # as the reader leaves them in the queue
    paths: dict[str, tuple[Run, list[Any]]] = {
        "json.loads": (each(json.loads), messages),
        "decode": (each(decode), messages),
        "decode, contiguity": (contiguity(), frames),
        "bar": (bar(), trades),
        "message -> bar": (whole_path(), frames),
    }
    taken: dict[str, list[float]] = {name: [] for name in paths}
    for start in range(0, len(messages), CHUNK):
        for name, (run, items) in paths.items():
            taken[name].append(seconds(run, items[start : start + CHUNK]) / CHUNK)
    anchor = taken["json.loads"]
    return {
        name: (
            statistics.median(times) * 1e6,
            statistics.median(one / base for one, base in zip(times, anchor, strict=True)),
        )
        for name, times in taken.items()
    }


def main() -> None:
    """Print the table."""
    figures = measure()
    print("| path | us/message | of json.loads |\n|---|---|---|")
    for name, (micros, ratio) in figures.items():
        print(f"| {name} | {micros:.2f} | {ratio:.2f} |")
    micros, ratio = figures["message -> bar"]
    publish(
        Figure(
            "message to bar, one at a time, contiguity checked",
            "`json.loads` on the same bytes",
            GOAL,
            ratio,
            f"{micros:.2f} us a message",
            f"{figures['json.loads'][0]:.2f} us a message",
            f"{CHUNK * N_CHUNKS:,} combined aggTrade messages in chunks of {CHUNK}, CPU time; the "
            "median of the chunks' own ratios.",
            at_most=True,
        )
    )


if __name__ == "__main__":
    main()
