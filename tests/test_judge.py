"""The judge of many rows against the parts it stands for, one after another."""

from __future__ import annotations

import numpy as np
import pytest
from factories import make_bars

from microstream_lab.bundle import ModelBundle
from microstream_lab.features import features_from_bars
from microstream_lab.models.forecast import clock_terms
from microstream_lab.models.judge import judge_rows
from microstream_lab.models.kernels.forecasting import forecast_rows
from microstream_lab.training import DEFAULT_FEATURE_SET, train_bundle


@pytest.fixture(scope="module", params=sorted({"seed", DEFAULT_FEATURE_SET}))
def bundle(request: pytest.FixtureRequest) -> ModelBundle:
    return train_bundle(make_bars(3000, seed=1), request.param, n_starts=1)


def raw_rows(bundle: ModelBundle, n: int = 400) -> np.ndarray:
    """Features in their own units, some rows with a NaN."""
    rows = features_from_bars(make_bars(n + 200, seed=4), bundle.features, bundle.window)
    raw = rows.to_numpy()[-n:].copy()
    raw[50:53, 0] = np.nan
    raw[100, -1] = np.nan
    return raw


def steps_of(n: int) -> np.ndarray:
    """Mostly one step a row, a short hole and one after which all starts anew."""
    steps = np.ones(n, np.int64)
    steps[120], steps[200] = 4, 5000
    return steps


def test_many_rows_in_parts_equal_one_after_another(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microstream_lab.threads.PART_ROWS", 64)
    monkeypatch.setattr("microstream_lab.threads.cpu_count", lambda: 3)
    raw = raw_rows(bundle)
    steps = steps_of(len(raw))
    tracker, twin = (bundle.regime_model.tracker(40) for _ in range(2))
    stress, detector = bundle.stress_by_state, bundle.detector
    judged = judge_rows(bundle.scaler, detector, tracker, stress, list(raw.T), steps)
    for place, (row, step) in enumerate(zip(raw, steps, strict=True)):
        scaled = bundle.scaler.transform(row[None])
        known = twin.track(scaled, np.array([step]))
        probs = judged.filtered_probs[place]
        np.testing.assert_allclose(probs, known.probs[0], rtol=1e-9, atol=1e-12)
        assert judged.regimes[place] == known.regimes[0]
        np.testing.assert_allclose(judged.stress[place], known.states[0] @ stress, rtol=1e-12)
        is_known = not np.isnan(scaled).any()
        score = detector.anomaly_score(scaled)[0] if is_known else np.nan
        np.testing.assert_equal(judged.scores[place], score)
        np.testing.assert_equal(judged.quantiles[place], detector.reference_.quantile(score))


def test_forecasts_equal_the_weighted_terms_of_rows_and_clock() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 5))
    rows[:, 3] = np.linspace(0, 1, 500, endpoint=False)
    columns, coef, profile = np.array([4, 0, 2]), rng.normal(size=3), rng.normal(size=25)
    known = 0.7 + rows[:, columns] @ coef
    forecasts = forecast_rows(rows, columns, coef, 0.7, 3, profile)
    np.testing.assert_allclose(forecasts, known + clock_terms(rows[:, 3]) @ profile, atol=1e-12)
    np.testing.assert_allclose(
        forecast_rows(rows, columns, coef, 0.7, -1, profile[:0]), known, atol=1e-12
    )


def test_a_row_with_a_missing_feature_has_no_forecast() -> None:
    rows = np.ones((3, 2))
    rows[1, 1] = np.nan
    forecasts = forecast_rows(rows, np.array([0]), np.ones(1), 0.0, -1, np.empty(0))
    np.testing.assert_array_equal(np.isnan(forecasts), [False, True, False])
