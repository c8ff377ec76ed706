"""A level cut at training quantiles: hysteresis, bands and baselines that learn from the past."""

import numpy as np
import pandas as pd
import pytest
from factories import make_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.errors import FitError, SettingsError
from microstream_lab.research.baselines import EwmaThresholds
from microstream_lab.research.har import HarRegression, har_terms
from microstream_lab.research.thresholds import hysteresis, narrowest_band, switches_per_hour

MINUTE = 60_000_000
KINDS = (EwmaThresholds, HarRegression)


@pytest.fixture(scope="module")
def bars():
    return make_bars(8 * 1440, seed=3)


def hysteresis_loop(values, cuts, band):
    classes, state = [], None
    for value in values:
        if np.isnan(value):
            classes.append(-1)
            continue
        if state is None:
            state = sum(value > cut for cut in cuts)
        while state < len(cuts) and value > cuts[state] + band:
            state += 1
        while state > 0 and value < cuts[state - 1] - band:
            state -= 1
        classes.append(state)
    return classes


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(-3, 3), st.just(np.nan)), max_size=60),
    cuts=st.lists(st.floats(-2, 2), min_size=1, max_size=4, unique=True).map(sorted),
    band=st.sampled_from([0.0, 0.1, 0.5, 1.5]),
)
def test_hysteresis_equals_the_state_machine_step_by_step(values, cuts, band):
    found = hysteresis(np.array(values, float), cuts, band).tolist()
    assert found == hysteresis_loop(values, cuts, band)


def test_a_wider_band_switches_less_and_no_band_is_a_plain_cut():
    values = np.random.default_rng(0).normal(size=5000)
    switches = [np.count_nonzero(np.diff(hysteresis(values, [0.0], b))) for b in (0, 0.5, 1)]
    assert switches == sorted(switches, reverse=True)
    assert (hysteresis(values, [0.0], 0) == (values > 0)).all()


def test_switches_are_counted_between_known_regimes_by_hour_of_them():
    regime = np.array([0, 1, -1, 1, 0, 0])
    assert switches_per_hour(regime, MINUTE) == pytest.approx(2 / (5 / 60))
    assert np.isnan(switches_per_hour(np.array([-1, -1]), MINUTE))


def test_narrowest_band_keeps_the_rate_and_a_narrower_one_does_not():
    generator = np.random.default_rng(1)
    values = np.sin(np.arange(20_000) / 300) + generator.normal(0, 0.2, 20_000)
    band = narrowest_band(values, [0.0], 0.2, MINUTE)
    assert band > 0
    assert switches_per_hour(hysteresis(values, [0.0], band), MINUTE) <= 0.2
    assert switches_per_hour(hysteresis(values, [0.0], band - 0.005), MINUTE) > 0.2
    assert narrowest_band(values, [0.0], 1e6, MINUTE) == 0
    with pytest.raises(SettingsError, match="max_switches"):
        narrowest_band(values, [0.0], 0, MINUTE)


@pytest.mark.parametrize("kind", KINDS)
def test_baseline_learns_its_cuts_from_training_bars_only(bars, kind):
    model = kind(shares=(0.5, 0.4, 0.1)).fit(bars[:5000])
    shares = model.signals(bars[:5000])["regime"].value_counts(normalize=True)
    assert shares[[0, 1, 2]].tolist() == pytest.approx([0.5, 0.4, 0.1], abs=1e-3)
    later = model.signals(bars)
    pd.testing.assert_frame_equal(later[:5000], model.signals(bars[:5000]))
    assert model.end == bars.index.as_unit("us").asi8[5000]


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_on_switches_holds_on_the_training_bars(bars, kind):
    plain, steady = (kind(max_switches=limit).fit(bars) for limit in (None, 1.0))
    rates = [
        switches_per_hour(m.signals(bars)["regime"].to_numpy(), MINUTE) for m in (plain, steady)
    ]
    assert rates[1] <= 1.0 < rates[0]
    assert plain.band_ == 0 < steady.band_


def test_an_ewma_counts_its_half_life_in_minutes_whatever_the_bars():
    five = make_bars(600, interval="5m")
    level = EwmaThresholds(30).level(five)
    squares = np.log(five["close"]).diff() ** 2
    expected = 0.5 * np.log(squares.ewm(halflife=6, adjust=False, ignore_na=True).mean())
    np.testing.assert_allclose(level[1:], expected[1:])


def test_baseline_stays_finite_in_a_halt(bars):
    halted = bars[:3000].assign(open=100.0, high=100.0, low=100.0, close=100.0)
    for kind in KINDS:
        signals = kind().fit(bars).signals(halted)
        assert np.isfinite(signals["expected_stress"][1:]).all()
        assert (signals["regime"][1:] == 0).all()


def test_har_recovers_the_coefficients_that_made_the_outcome(bars, monkeypatch):
    from microstream_lab.research import har

    terms = har_terms(bars)
    truth = np.random.default_rng(0).normal(size=terms.shape[1])
    made = pd.Series(0.3 + terms @ truth, index=bars.index)
    monkeypatch.setattr(har, "forward_log_volatility", lambda *_: made)
    model = HarRegression().fit(bars)
    np.testing.assert_allclose(model.level(bars), made, atol=1e-8)


def test_har_terms_of_a_constant_range_are_that_range(bars):
    constant = bars.assign(high=bars["close"] * np.exp(0.002), low=bars["close"])
    terms = har_terms(constant)
    expected = 0.5 * np.log(0.002**2 / (4 * np.log(2)))
    np.testing.assert_allclose(terms[:, :6], expected, atol=1e-12)
    weekend = terms[:, -1]
    assert set(bars.index.day_of_week[weekend == 1]) == {5, 6}


def test_baselines_refuse_what_they_cannot_learn_from(bars):
    with pytest.raises(FitError, match="1 bars without a level"):
        EwmaThresholds().fit(bars[:1])
    with pytest.raises(FitError, match="known coming hour"):
        HarRegression().fit(bars[:50])
    for shares in ((0.5, 0.4), (1.0,), (1.5, -0.5)):
        with pytest.raises(SettingsError, match="shares"):
            EwmaThresholds(shares=shares).fit(bars)
