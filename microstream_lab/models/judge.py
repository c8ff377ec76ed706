"""Anomaly scores and filtered probabilities of raw features, all rows at once.

Invariant: the figures are those of scaler, detector and filter one after another; a row with a NaN
has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from microstream_lab.models.anomaly import AnomalyDetector
from microstream_lab.models.scaler import FeatureScaler
from microstream_lab.models.tracking import Regimes, Tracker, expectation
from microstream_lab.threads import in_order

__all__ = ["Judged", "judge_rows"]

FloatArray = npt.NDArray[np.float64]


class Judged(NamedTuple):
    """What the models say of a series.

    Attributes
    ----------
    scores, quantiles : ndarray of shape (n_rows,)
        Anomaly scores, and the share of the training rows that scored no higher.
    filtered_probs : ndarray of shape (n_rows, K)
    regimes : ndarray of shape (n_rows,)
    stress : ndarray of shape (n_rows,)
        What is to be expected under the filtered probabilities of the states.
    """

    scores: FloatArray
    quantiles: FloatArray
    filtered_probs: FloatArray
    regimes: Regimes
    stress: FloatArray


def judge_rows(
    scaler: FeatureScaler,
    detector: AnomalyDetector,
    tracker: Tracker,
    stress: FloatArray,
    columns: Sequence[FloatArray],
    steps: npt.NDArray[np.int64],
) -> Judged:
    """The judgement of a whole series, which lies column by column.

    Parameters
    ----------
    scaler, detector, tracker
        The models; the tracker's state goes on with every row.
    stress : array of shape (n_states,)
        What is to be expected in each of the tracker's states.
    columns : sequence of n_features arrays of shape (n_rows,)
        Features in their own units.
    steps : array of shape (n_rows,)
        Grid steps since the row before.
    """
    scores, quantiles = np.full((2, len(steps)), np.nan)
    forest, tracked = detector.forest_for(len(steps)), []

    def scored(part: slice) -> FloatArray:
        rows = scaler.scaled_columns([column[part] for column in columns]).T
        known = ~np.isnan(rows).any(axis=1)
        inside = slice(None) if known.all() else known  # without a copy, as almost always
        if known.any():
            scores[part][inside] = detector.scores_of(rows[inside], forest)
            quantiles[part][inside] = detector.reference_.quantiles(scores[part][inside])
        return tracker.prepare(rows)

    for part, prepared in in_order(len(steps), scored):
        probs, regimes, states = tracker.follow(prepared, steps[part])
        tracked.append((probs, regimes, expectation(states.T, stress)))
    probs, regimes, expected = (np.concatenate(parts) for parts in zip(*tracked, strict=True))
    return Judged(scores, quantiles, probs, regimes, expected)
