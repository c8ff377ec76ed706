"""Minutes of recording, to see memory stay where it is: ``python benchmarks/soak.py [minutes]``.

Ends with 1 if memory at the end is more than a tenth above its value after the first minute, or if
a stored bar is not the exchange's.
"""

from __future__ import annotations

import argparse
import sys

from load import measure


def main() -> None:
    """Record, and compare memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=2_000.0, help="trades a second")
    options = parser.parse_args()
    seen = measure([(options.minutes * 60, options.rate)])
    first = seen.rss_after(min(60.0, options.minutes * 20))
    last = seen.rss[-1][1]
    print(f"{seen.trades:,} trades; RSS {first:.0f} MB after a minute, {last:.0f} MB at the end")
    print(f"bars that differ {seen.differing or 'none'}")
    sys.exit(1 if last > 1.1 * first or seen.differing else 0)


if __name__ == "__main__":
    main()
