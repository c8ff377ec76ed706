"""Signals of five years of minutes, beside scikit-learn's and hmmlearn's own batch calls."""

from __future__ import annotations

import numpy as np
from hmmlearn import _hmmc
from hmmlearn.stats import log_multivariate_normal_density
from made_up import FIVE_YEARS, bars
from sklearn.ensemble import IsolationForest
from turns import Figure, publish, ratio, take_turns, told

from microstream_lab import ModelBundle, train_bundle
from microstream_lab.training import DEFAULT_FEATURE_SET

HOW = (
    "`ModelBundle.signals` of {n:,} made-up bars, {features} features and checks included, on all "
    "cores, against `IsolationForest.score_samples` and hmmlearn's densities and forward pass on "
    "the finished rows, one core. Scores agree to {error:.1e}, {flagged:,} of the same bars are "
    "flagged, filtered probabilities agree to {probs:.1e}."
)


def watched(bundle: ModelBundle, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the chain watches of standardised rows, and how its states make up the regimes."""
    model = bundle.regime_model
    if not hasattr(model, "forecast_"):
        return rows, np.eye(len(model.means_))
    forecasts = model.forecast_.predict(rows)
    return model.without_drift(forecasts, np.array([model.mean_]))[:, None], model.weights_


def reference(
    bundle: ModelBundle, rows: np.ndarray, observed: np.ndarray, merged: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and filtered probabilities by the libraries."""
    scores = -IsolationForest.score_samples(bundle.detector, rows)
    chain = bundle.regime_model
    densities = log_multivariate_normal_density(observed, chain.means_, chain.covars_, "full")
    _, lattice = _hmmc.forward_log(chain.startprob_, chain.transmat_, densities)
    filtered = np.exp(lattice - lattice.max(axis=1, keepdims=True))
    return scores, filtered / filtered.sum(axis=1, keepdims=True) @ merged


def measure(feature_set: str, goal: float) -> Figure:
    """One feature set."""
    bundle, frame = train_bundle(bars(20_000), feature_set, n_starts=1), bars(FIVE_YEARS, seed=1)
    signals = bundle.signals(frame)
    known = signals["regime"].to_numpy() >= 0
    rows = bundle.scaler.transform(signals[list(bundle.features)].to_numpy()[known])
    given = (bundle, rows, *watched(bundle, rows))
    scores, filtered = reference(*given)
    ours = signals["anomaly_score"].to_numpy()[known]
    error = float(np.abs(ours - scores).max())
    flagged = signals["is_anomaly"].to_numpy()[known]
    probs = np.abs(signals[["p_0", "p_1", "p_2"]].to_numpy()[known] - filtered).max()
    assert error < 1e-8
    assert probs < 1e-8
    assert np.array_equal(flagged, scores > bundle.detector.threshold_)
    ways = {"ours": lambda: bundle.signals(frame), "theirs": lambda: reference(*given)}
    taken = take_turns(ways, 2)
    return Figure(
        f"batch signals, {FIVE_YEARS:,} bars, {feature_set} set",
        "score_samples + forward pass, one core",
        goal,
        ratio(taken["theirs"], taken["ours"]),
        told(taken["ours"], FIVE_YEARS, " a bar"),
        told(taken["theirs"], FIVE_YEARS, " a bar"),
        HOW.format(
            n=FIVE_YEARS,
            features=len(bundle.features),
            error=error,
            flagged=int(flagged.sum()),
            probs=float(probs),
        ),
    )


def main() -> None:
    """The seed set and a large one: the default, or that of all that tells of liquidity."""
    large = DEFAULT_FEATURE_SET if DEFAULT_FEATURE_SET != "seed" else "liquidity"
    publish(measure("seed", 8.0))
    publish(measure(large, 3.0))


if __name__ == "__main__":
    main()
