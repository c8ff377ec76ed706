"""One table for every estimate: exact figures, honest baselines, and no judging in sample."""

import numpy as np
import pandas as pd
import pytest
from factories import make_bars
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from microstream_lab.errors import DataError, LookAheadError
from microstream_lab.outcomes import forward_log_amihud, forward_log_volatility
from microstream_lab.research.baselines import EwmaThresholds
from microstream_lab.research.clusters import NaiveHmm
from microstream_lab.research.evaluate import evaluate, judged_outcomes
from microstream_lab.research.har import HarRegression
from microstream_lab.research.lineup import lineup
from microstream_lab.research.scoring import area_under_curve, reliability, score

N_BARS = 12 * 1440


@pytest.fixture(scope="module")
def bars():
    return make_bars(N_BARS, seed=3)


@pytest.fixture(scope="module")
def signals(bars):
    generator = np.random.default_rng(4)
    regime = np.repeat(generator.integers(-1, 3, N_BARS // 20), 20).astype(np.int8)
    probs = generator.dirichlet([1, 1, 1], N_BARS)
    frame = pd.DataFrame(probs, index=bars.index, columns=["p_0", "p_1", "p_2"])
    return frame.assign(regime=regime, expected_stress=generator.normal(size=N_BARS).round(2))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 80), st.integers(0, 2))
def test_area_under_the_curve_equals_that_of_sklearn_ties_included(seed, n, digits):
    generator = np.random.default_rng(seed)
    scores, events = generator.normal(size=n).round(digits), generator.random(n) < 0.3
    if events.any() and not events.all():
        assert area_under_curve(scores, events) == pytest.approx(roc_auc_score(events, scores))
    else:
        assert np.isnan(area_under_curve(scores, events))


def test_every_figure_equals_its_definition(bars, signals):
    table = score(signals, judged_outcomes(bars), 3, 0.9, 50, 0)["value"]
    volatility, amihud = forward_log_volatility(bars), forward_log_amihud(bars)
    regime = signals["regime"]
    known = (regime >= 0) & volatility.notna()
    frame = pd.DataFrame({"y": volatility, "a": amihud, "regime": regime})[known]
    for name, column in (("eta_squared", "y"), ("eta_amihud", "a")):
        fitted = frame.groupby("regime")[column].transform("mean")
        assert table[name] == pytest.approx(fitted.var() / frame[column].var(), rel=1e-9)
    wild, rough = (volatility > volatility.quantile(q) for q in (0.95, 0.9))
    illiquid = amihud > amihud.quantile(0.95)
    stress, crisis = signals["expected_stress"][known], signals["p_2"][known]
    assert table["auc_stress"] == pytest.approx(roc_auc_score(wild[known], stress))
    assert table["auc_crisis"] == pytest.approx(roc_auc_score(wild[known], crisis))
    assert table["auc_amihud"] == pytest.approx(roc_auc_score(illiquid[known], stress))
    assert table["auc_amihud_crisis"] == pytest.approx(roc_auc_score(illiquid[known], crisis))
    assert table["brier"] == pytest.approx(((crisis - rough[known]) ** 2).mean())
    changed = (regime != regime.shift()) & (regime >= 0)
    both_known = changed & (regime.shift() >= 0)
    assert table["switches_per_hour"] == pytest.approx(both_known.sum() / (regime >= 0).sum() * 60)
    assert table["known"] == pytest.approx((regime >= 0).mean())
    for k in range(3):
        inside = (regime == k).sum()
        assert table[f"share_{k}"] == pytest.approx(inside / (regime >= 0).sum())
        entries = ((regime == k) & changed).sum()
        assert table[f"minutes_{k}"] == pytest.approx(inside / entries)


def test_intervals_hold_the_values_and_are_those_of_days(bars, signals):
    table = score(signals, judged_outcomes(bars), 3, 0.9, 400, 0)
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert (table["high"] - table["low"] > 0).all()


def test_a_hole_ends_a_stay_and_is_no_switch(bars):
    signals = pd.DataFrame(
        {"regime": np.int8(0), "p_0": 1.0, "p_1": 0.0, "expected_stress": 0.0}, index=bars.index
    )
    signals.loc[signals.index[2000:], "regime"] = 1
    cut = np.r_[0:1990, 2010:4000]
    table = score(signals.iloc[cut], judged_outcomes(bars.iloc[cut]), 2, 0.9, 20, 0)["value"]
    assert table["switches_per_hour"] == 0
    assert table[["minutes_0", "minutes_1"]].tolist() == [1990, 1990]


def test_knowing_the_outcome_explains_it_and_noise_does_not(bars, signals):
    outcome = forward_log_volatility(bars).fillna(0)
    top = (outcome.rank(pct=True) * 3 * 0.9999).astype(np.int8)
    oracle = signals.assign(regime=top, expected_stress=outcome, p_2=(top == 2) * 1.0)
    result = evaluate({"oracle": oracle, "noise": signals}, bars, baselines=False)
    summary = result.summary()
    assert summary.at["oracle", "auc_stress"] == 1
    assert summary.at["oracle", "eta_squared"] > 0.8
    assert summary.at["noise", "auc_stress"] == pytest.approx(0.5, abs=0.05)
    assert summary.at["noise", "eta_squared"] < 0.02


def test_reliability_sets_forecast_beside_frequency():
    table = reliability(np.array([0.05, 0.07, 0.95, 1.0]), np.array([False, True, True, True]))
    assert table.index.tolist() == [0.0, 0.9]
    assert table["forecast"].tolist() == pytest.approx([0.06, 0.975])
    assert table["observed"].tolist() == [0.5, 1.0]
    assert table["bars"].tolist() == [2, 2]


def test_baselines_stand_beside_the_bundle_on_the_same_bars(bars):
    model = EwmaThresholds(60).fit(bars[: 4 * 1440])
    result = evaluate(model, bars, n_resamples=50)
    assert result.summary().index.tolist() == ["estimate 0", *lineup()]
    assert result.start == bars.index[4 * 1440]
    assert result.end == bars.index[-1]
    assert result.n_bars == N_BARS - 4 * 1440
    low, value = (result.summary(column).loc["estimate 0"].dropna() for column in ("low", "value"))
    assert (low <= value).all()
    assert result.reliability.index.unique("estimate").tolist() == list(result.summary().index)
    assert (result.summary()["known"] == 1).all()  # warm from the first judged bar
    first = result.tables()["The coming hour's volatility (AUC: ranking of its worst 5 %)"]
    assert first.loc["estimate 0"].iloc[0].startswith(f"{value['eta_squared']:.3f} (")


def test_a_model_that_expects_stays_has_them_beside_those_found(bars):
    model = NaiveHmm(2).fit(bars[: 3 * 1440])
    table = evaluate({"hmm": model}, bars, baselines=False, n_resamples=20).table.loc["hmm"]
    expected = model.expected_durations()
    assert table.loc[["model_minutes_0", "model_minutes_1"], "value"].tolist() == list(expected)
    assert table.loc[["model_minutes_0"], ["low", "high"]].isna().all(axis=None)


def test_an_estimate_that_needs_a_long_past_gets_it(bars):
    seen = []

    class Slow(EwmaThresholds):
        warmup_bars = 5000

        def signals(self, bars):
            seen.append(len(bars))
            return super().signals(bars)

    slow = Slow().fit(bars[: 4 * 1440])
    evaluate({"slow": slow}, bars, baselines=False, warmup=100, n_resamples=5)
    assert seen == [N_BARS - 4 * 1440 + 5000]


def test_estimates_of_different_numbers_of_regimes_share_a_table(bars):
    train = bars[: 4 * 1440]
    two, four = (EwmaThresholds(30, cuts).fit(train) for cuts in ([0.5, 0.5], [0.2, 0.3, 0.4, 0.1]))
    result = evaluate({"two": two, "four": four}, bars, baselines=False, n_resamples=20)
    summary = result.summary()
    assert summary.index.tolist() == ["two", "four"]
    assert summary.columns[:2].tolist() == ["eta_squared", "auc_stress"]
    assert np.isnan(summary.at["two", "share_3"])
    assert summary.loc["four", ["share_0", "share_1", "share_2", "share_3"]].sum() == pytest.approx(
        1
    )


def test_a_run_is_repeated_exactly_by_its_seed(bars):
    model = EwmaThresholds(60).fit(bars[: 4 * 1440])
    one, two = (evaluate(model, bars, n_resamples=50, seed=7).table for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_judging_inside_a_training_window_is_refused(bars):
    model = EwmaThresholds().fit(bars[:8000])
    with pytest.raises(LookAheadError, match=r"'mine' trained until 2024-01-06 13:20"):
        evaluate({"mine": model}, bars, start=bars.index[7000])


def test_hindsight_is_refused(bars, signals):
    with pytest.raises(LookAheadError, match="p_2_smoothed"):
        evaluate(signals.assign(p_2_smoothed=0.0), bars, baselines=False)


def test_signals_that_cannot_rank_bars_are_refused(bars, signals):
    with pytest.raises(DataError, match="no column expected_stress"):
        evaluate(signals.drop(columns="expected_stress"), bars, baselines=False)


def test_a_market_without_volume_has_no_illiquidity_to_judge(bars, signals):
    silent = bars.assign(quote_volume=0.0)
    summary = evaluate(signals, silent, baselines=False, n_resamples=20).summary().iloc[0]
    assert np.isnan(summary["auc_amihud"])
    assert np.isnan(summary["eta_amihud"])
    assert np.isfinite(summary["eta_squared"])


def test_bars_that_leave_nothing_to_judge_or_to_train_on_are_refused(bars, signals):
    with pytest.raises(DataError, match="bars from 2025-01-01"):
        evaluate(signals, bars, start="2025-01-01")
    with pytest.raises(DataError, match="30 bars to judge"):
        evaluate(signals, bars, start=bars.index[-30])
    with pytest.raises(DataError, match="training bars, or baselines=False"):
        evaluate(signals, bars)


@pytest.mark.realdata
def test_published_ewma_figures_come_out_again_on_real_minutes(real_data):
    from microstream_lab import read_klines

    files = sorted((real_data / "klines_1m").glob("*.zip"))
    bars = pd.concat([read_klines(path, market="um") for path in files])
    train = bars[bars.index < "2022-05-01"]
    estimates = {
        "plain": EwmaThresholds(30, (0.6, 0.3, 0.1)),
        "wide": EwmaThresholds(30, (0.25, 0.5, 0.25), band=0.3),
        "rare": EwmaThresholds(30, (0.5, 0.4, 0.1), band=0.2),
        "slow": EwmaThresholds(120, (0.25, 0.5, 0.25)),
        "har": HarRegression((0.25, 0.5, 0.25)),
    }
    fitted = {name: model.fit(train) for name, model in estimates.items()}
    table = evaluate(fitted, bars, baselines=False, n_resamples=20).summary()
    published = {
        "plain": (0.41, 0.73),
        "wide": (0.500, 0.11),
        "rare": (0.447, 0.15),
        "slow": (0.49, 0.23),
        "har": (0.54, 1.2),
    }
    for name, (explained, switches) in published.items():
        assert table.at[name, "eta_squared"] == pytest.approx(explained, abs=0.005), name
        assert table.at[name, "switches_per_hour"] == pytest.approx(switches, rel=0.05), name
    assert table.at["plain", "auc_stress"] == pytest.approx(0.9045, abs=5e-5)
    assert table.at["har", "auc_stress"] == pytest.approx(0.911, abs=5e-4)
