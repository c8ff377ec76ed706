"""Features of five years of minutes, beside pandas' rolling windows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from made_up import FIVE_YEARS, bars
from turns import Figure, publish, ratio, take_turns, told

from microstream_lab import features_from_bars

WINDOW = 20
HOW = (
    "{n:,} made-up bars, `features_from_bars` whole, its checks of the frame included, against "
    "three columns in plain pandas and numpy without any check; relative error {error:.1e}."
)


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The seed set as one would write it with pandas."""
    return pd.DataFrame(
        {
            "log_return": np.log(frame["close"] / frame["close"].shift()),
            "range": (frame["high"] - frame["low"]) / frame["open"],
            "relative_volume": frame["volume"] / frame["volume"].rolling(WINDOW).mean(),
        }
    )


def main() -> None:
    """The seed set."""
    frame = bars(FIVE_YEARS)
    ours, theirs = features_from_bars(frame, "seed", WINDOW), plain(frame)
    difference = np.abs(ours.to_numpy() - theirs.to_numpy())
    error = float(np.nanmax(difference / np.maximum(np.abs(theirs.to_numpy()), 1e-3)))
    assert error < 1e-12, f"features differ by {error}"
    ways = {
        "ours": lambda: features_from_bars(frame, "seed", WINDOW),
        "theirs": lambda: plain(frame),
    }
    taken = take_turns(ways, 9)
    publish(
        Figure(
            f"features, {FIVE_YEARS:,} bars, seed set",
            "pandas rolling",
            3.0,
            ratio(taken["theirs"], taken["ours"]),
            told(taken["ours"], FIVE_YEARS, " a bar"),
            told(taken["theirs"], FIVE_YEARS, " a bar"),
            HOW.format(n=FIVE_YEARS, error=error),
        )
    )


if __name__ == "__main__":
    main()
