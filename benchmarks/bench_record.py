"""Socket to stored bars: one recorder on one core, a local exchange on the other.

``python benchmarks/bench_record.py [seconds] [trades a second]``; then a burst of ten times what
the recorder has just shown it can take, which has to be dropped and fetched.
"""

from __future__ import annotations

import argparse

from load import Measured, json_loads_us, measure


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("rate", nargs="?", type=float, default=50_000.0)
    parser.add_argument("--burst", type=float, default=0.0, help="seconds of a burst instead")
    options = parser.parse_args()
    if options.burst:
        calm = (options.seconds / 2, options.rate / 10)
        show_burst(measure([calm, (options.burst, options.rate), calm]), options.burst)
    else:
        show_load(measure([(options.seconds, options.rate)]), options.rate)


def show_load(seen: Measured, rate: float) -> None:
    """Throughput, lag, memory and cost."""
    anchor, cost = json_loads_us(), seen.cpu_s / seen.trades * 1e6
    print(f"{seen.trades:,} aggTrades offered at {rate:,.0f}/s")
    print(f"messages/s {seen.trades / seen.busy_s:,.0f}")
    print(f"lag p50 {seen.lag_ms(0.5):.1f} ms, p99 {seen.lag_ms(0.99):.1f} ms")
    print(f"RSS start {seen.rss[0][1]:.0f} MB, end {seen.rss[-1][1]:.0f} MB")
    print(f"CPU socket to store {cost:.2f} us a message; json.loads alone {anchor:.2f} us")
    show_losses(seen)


def show_burst(seen: Measured, seconds: float) -> None:
    """What became of a burst."""
    print(f"{seen.trades:,} aggTrades, most of them within {seconds:g} s")
    print(f"dropped by the queue {seen.dropped:,}, gaps {seen.gaps}, fetched {seen.fetched:,}")
    print(f"bars partial at first {seen.partial_first}, all repaired after {seen.settled_s:.0f} s")
    print(f"RSS start {seen.rss[0][1]:.0f} MB, most {max(mb for _, mb in seen.rss):.0f} MB")
    show_losses(seen)


def show_losses(seen: Measured) -> None:
    """Whether the store has what the exchange has."""
    print(
        f"dropped {seen.dropped:,}, gaps {seen.gaps}, bars that differ {seen.differing or 'none'}"
    )


if __name__ == "__main__":
    main()
