"""One bar to its signal, beside the usual way: a pandas window, scikit-learn and hmmlearn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from hmmlearn.hmm import GaussianHMM
from made_up import bars
from sklearn.ensemble import IsolationForest
from turns import Figure, publish

from microstream_lab import Engine, ModelBundle, iter_bars, train_bundle
from microstream_lab.training import DEFAULT_FEATURE_SET

WINDOW, HELD, TURNS, NAIVE_BARS, BARS, COLD_BARS = 20, 500, 40, 5, 50, 5
HOW = (
    "Bars come one at a time; the median of {n:,} single calls, in turns of {ours} with {naive} of "
    "the usual way, which keeps a window of {held} bars in a DataFrame and computes the seed set, "
    "`score_samples` of 100 trees and `predict_proba` of a 3-state Gaussian HMM. {tail} "
    "The first {cold} bars of a turn, for which the processor's caches hold the usual way's data, "
    "are not among them: the first takes {first:.0f} us."
)


def usual_way(history: pd.DataFrame, bundle: ModelBundle) -> Callable[[int], float]:
    """What a script would do at each bar, with models of the same size."""
    features = bundle.signals(history)[list(bundle.features)].dropna().to_numpy()
    forest = IsolationForest(contamination=0.05, random_state=0).fit(features)
    scale = features.std(axis=0)
    chain = GaussianHMM(3, "full", n_iter=5, random_state=0).fit(features / scale)

    def signal(row: int) -> float:
        window = history.iloc[row - HELD : row]
        table = pd.DataFrame(
            {
                "log_return": np.log(window["close"] / window["close"].shift()),
                "range": (window["high"] - window["low"]) / window["open"],
                "relative_volume": window["volume"] / window["volume"].rolling(WINDOW).mean(),
            }
        ).dropna()
        rows = table.to_numpy()
        score = -forest.score_samples(rows[-1:])[0]
        return float(score + chain.predict_proba(rows / scale)[-1].max())

    return signal


def nanoseconds(call: Callable[[object], object], items: list[object]) -> list[int]:
    """Time of each call alone."""
    taken = []
    for item in items:
        start = time.perf_counter_ns()
        call(item)
        taken.append(time.perf_counter_ns() - start)
    return taken


def measure(feature_set: str, goal: float) -> list[Figure]:
    """Median and tail for a bundle of a feature set."""
    history = bars(20_000)
    bundle = train_bundle(history, feature_set, n_starts=1)
    engine, coming = Engine(bundle), list(iter_bars(bars(HELD + TURNS * BARS, seed=1)))
    seed_bundle = bundle if feature_set == "seed" else train_bundle(history, "seed", n_starts=1)
    naive = usual_way(history, seed_bundle)
    for bar in coming[:HELD]:
        engine.update(bar)
    ours: list[int] = []
    first: list[int] = []
    theirs: list[int] = []
    for turn in range(TURNS):
        begin = HELD + turn * BARS
        theirs += nanoseconds(naive, list(range(1000 + turn * 50, 1000 + turn * 50 + NAIVE_BARS)))
        taken = nanoseconds(engine.update, coming[begin : begin + BARS])
        ours += taken[COLD_BARS:]
        first.append(taken[0])
    median, tail = statistics.median(ours), float(np.percentile(ours, 99))
    how = HOW.format(
        n=len(ours),
        ours=BARS,
        naive=NAIVE_BARS,
        held=HELD,
        tail=f"p99 {tail / 1e3:.1f} us.",
        cold=COLD_BARS,
        first=statistics.median(first) / 1e3,
    )
    path = f"one bar to its signal, {feature_set} set"
    speed = statistics.median(theirs) / median
    told = f"{median / 1e3:.1f} us", f"{statistics.median(theirs) / 1e3:,.0f} us"
    return [
        Figure(path, "pandas + scikit-learn + hmmlearn", goal, speed, *told, how),
        Figure(
            f"{path}: p99",
            "its own median",
            5.0,
            tail / median,
            f"{tail / 1e3:.1f} us",
            told[0],
            how,
            at_most=True,
        ),
    ]


def main() -> None:
    """The seed set, and a large one beside the same usual way."""
    large = DEFAULT_FEATURE_SET if DEFAULT_FEATURE_SET != "seed" else "liquidity"
    publish(*measure("seed", 1000.0))
    publish(*measure(large, 1000.0))


if __name__ == "__main__":
    main()
