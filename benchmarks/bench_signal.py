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

WINDOW, HELD, TURNS, NAIVE_BARS, BARS, COLD_BARS = 20, 500, 40, 5, 50, 5
HOW = (
    "Bars come one at a time; the median of {n:,} single calls, in turns of {ours} with {naive} of "
    "the usual way, which keeps a window of {held} bars in a DataFrame and computes the same "
    "{features} features, `score_samples` of 100 trees and `predict_proba` of a 3-state Gaussian "
    "HMM. {tail} The first {cold} bars of a turn, for which the processor's caches hold the usual "
    "way's data, are not among them: the first takes {first:.0f} us."
)
SHORT = {"log_return", "range", "relative_volume", "span_60", "time_of_week"}
"""Features that a window of this length knows as well as who has seen all bars."""


def seed_features(window: pd.DataFrame) -> dict[str, pd.Series]:
    """The seed set as a script has it."""
    return {
        "log_return": np.log(window["close"] / window["close"].shift()),
        "range": (window["high"] - window["low"]) / window["open"],
        "relative_volume": window["volume"] / window["volume"].rolling(WINDOW).mean(),
    }


def liquidity_features(window: pd.DataFrame) -> dict[str, pd.Series]:
    """The liquidity set, which looks back as far as the window goes."""

    def mean(values: pd.Series, half_life: int) -> pd.Series:
        return values.ewm(halflife=half_life).mean()

    quote, trades, time_ = window["quote_volume"] / 1e6, window["trades"], window.index
    log_range = np.log(window["high"] / window["low"])
    body, root = np.log(window["close"] / window["open"]), np.sqrt(trades)
    change = np.log(window["close"] / window["close"].shift())
    usual = mean(log_range / root, 60).shift()
    span = window["high"].rolling(60).max() / window["low"].rolling(60).min()
    monday = time_.day_of_week * 86_400 + time_.hour * 3_600 + time_.minute * 60
    return {
        **{f"mean_range_{h}": mean(log_range, h) for h in (5, 15, 60, 240, 1440)},
        **{f"activity_{h}": mean(quote, h) / mean(quote, 1440) for h in (15, 60)},
        "span_60": np.log(span),
        "time_of_week": pd.Series(monday / (7 * 86_400), time_),
        "log_return": change,
        "range": (window["high"] - window["low"]) / window["open"],
        "relative_amihud": mean(change.abs() / quote, 60) / mean(change.abs() / quote, 1440),
        "range_surprise": log_range / mean(log_range, 60).shift(),
        "trades_surprise": trades / mean(trades, 60).shift(),
        "impact_surprise": log_range / root / usual,
        "wick_surprise": (log_range - body.abs()) / root / usual,
        "body_surprise": body / root / usual,
    }


USUAL = {"seed": seed_features, "liquidity": liquidity_features}


def usual_way(history: pd.DataFrame, bundle: ModelBundle) -> Callable[[int], float]:
    """What a script would do at each bar, with features and models of the same size."""
    names, compute = list(bundle.features), USUAL[bundle.feature_set]
    known = bundle.signals(history)[names].dropna()
    features, scale = known.to_numpy(), known.to_numpy().std(axis=0)
    forest = IsolationForest(contamination=0.05, random_state=0).fit(features)
    chain = GaussianHMM(3, "full", n_iter=5, random_state=0).fit(features / scale)

    def rows_to(row: int) -> np.ndarray:
        return pd.DataFrame(compute(history.iloc[row - HELD : row])).dropna().to_numpy()

    def signal(row: int) -> float:
        rows = rows_to(row)
        score = -forest.score_samples(rows[-1:])[0]
        return float(score + chain.predict_proba(rows / scale)[-1].max())

    same = [place for place, name in enumerate(names) if name in SHORT]
    ours = bundle.signals(history)[names].to_numpy()[1999]
    np.testing.assert_allclose(rows_to(2000)[-1, same], ours[same], rtol=1e-9, atol=1e-12)
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
    naive = usual_way(history, bundle)
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
        features=len(bundle.features),
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
    """Both sets."""
    for feature_set in USUAL:
        publish(*measure(feature_set, 1000.0))


if __name__ == "__main__":
    main()
