"""Figures: small, rounded, honest about what they leave out, and the same on every machine."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from factories import make_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.errors import DataError
from microstream_lab.models.levels import LevelModel
from microstream_lab.research import plots, thinning
from microstream_lab.research.backtest import backtest
from microstream_lab.training import train_bundle

N_BARS = 2000
HOLE = slice(700, 1100)


def make_signals(bars, n_regimes=3, seed=0):
    generator = np.random.default_rng(seed)
    n = len(bars)
    probs = generator.dirichlet(np.ones(n_regimes), -(-n // 50)).repeat(50, axis=0)[:n]
    frame = pd.DataFrame(probs, index=bars.index, columns=[f"p_{k}" for k in range(n_regimes)])
    frame["regime"] = probs.argmax(axis=1).astype(np.int8)
    frame.iloc[:19, frame.columns.get_loc("regime")] = -1
    frame["anomaly_score"] = generator.beta(8, 10, n)
    frame["is_anomaly"] = frame["anomaly_score"] > 0.6
    frame["log_return"] = generator.normal(0, 1e-4, n)
    frame["range"] = generator.lognormal(-8, 1, n)
    return frame


def draw_all(bars, n_regimes=3):
    signals = make_signals(bars, n_regimes)
    probs = signals[[f"p_{k}" for k in range(n_regimes)]].to_numpy()
    result = backtest(signals, bars, np.linspace(1, 0, n_regimes).tolist(), n_resamples=50)
    durations = np.arange(1.0, n_regimes + 1)
    return {
        "price": plots.price(bars, signals),
        "price_alone": plots.price(bars),
        "probabilities": plots.probabilities(signals),
        "hindsight": plots.hindsight(signals, probs),
        "anomalies": plots.anomalies(signals, 0.6),
        "feature_distributions": plots.feature_distributions(signals, ["log_return", "range"]),
        "equity": plots.equity(result),
        "regime_returns": plots.regime_returns(result),
        "stays": plots.stays(signals, "1m", durations),
        "transitions": plots.transitions(np.full((n_regimes, n_regimes), 1 / n_regimes)),
    }


@pytest.fixture(scope="module")
def bars():
    frame = make_bars(N_BARS, seed=1)
    return frame.drop(frame.index[HOLE])


@pytest.fixture(scope="module")
def figures(bars):
    return {name: json.loads(figure.to_json()) for name, figure in draw_all(bars).items()}


def leaves(node):
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from leaves(item)
    else:
        yield node


def traces(figures):
    return [trace for figure in figures.values() for trace in figure["data"]]


def test_no_trace_has_more_than_five_hundred_points_and_no_figure_is_large(figures):
    for trace in traces(figures):
        for value in trace.values():
            assert not isinstance(value, list) or len(value) <= thinning.MAX_POINTS + 1
    sizes = {name: len(json.dumps(figure)) for name, figure in figures.items()}
    assert max(sizes.values()) < 60_000, sizes


def test_no_number_has_more_than_six_significant_digits(figures):
    drawn = [
        trace[key]
        for trace in traces(figures)
        for key in ("x", "y", "z", "open", "close")
        if key in trace
    ]
    numbers = [value for value in leaves(drawn) if isinstance(value, float)]
    assert len(numbers) > 1000
    assert all(value == float(f"{value:.6g}") for value in numbers)


def test_no_array_is_packed_and_times_are_whole_seconds_without_a_zone(figures):
    text = json.dumps(figures)
    assert "bdata" not in text
    stamps = re.findall(r'"(20\d\d-[^"]*)"', text)
    assert len(stamps) > 1000
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", stamp) for stamp in stamps)


def test_the_last_bit_of_the_data_does_not_change_a_figure(bars, figures):
    nudged = bars.copy()
    for name in ("open", "high", "low", "close"):
        nudged[name] = np.nextafter(bars[name], np.inf)
    again = {name: json.loads(figure.to_json()) for name, figure in draw_all(nudged).items()}
    assert again == figures


@pytest.mark.parametrize("n_regimes", [2, 4, 7])
def test_any_number_of_regimes_is_drawn_in_its_own_colours(bars, n_regimes):
    figures = draw_all(bars, n_regimes)
    areas = figures["probabilities"].data
    assert len(areas) == n_regimes
    assert len({area.fillcolor for area in areas}) == n_regimes
    assert len(figures["regime_returns"].data[0].x) == n_regimes


def test_names_and_colours_of_regimes_come_from_the_settings(bars, monkeypatch):
    monkeypatch.setenv("REGIME_NAMES", '["calm", "busy", "wild"]')
    monkeypatch.setenv("REGIME_COLORS", '["#000001", "#000002", "#000003"]')
    areas = plots.probabilities(make_signals(bars)).data
    assert [area.name for area in areas] == ["calm", "busy", "wild"]
    assert areas[2].fillcolor == "rgba(0,0,3,0.75)"


def test_the_background_is_one_trace_and_blank_where_nothing_is_known(bars):
    figure = plots.price(bars, make_signals(bars))
    assert not figure.layout.shapes
    (background,) = [trace for trace in figure.data if trace.type == "heatmap"]
    (cells,) = background.z
    assert len(background.x) == len(cells) + 1
    assert cells[0] is None  # the first bars have no regime
    assert cells[len(cells) // 2 - 20] is None  # nor has the hole
    assert {cell for cell in cells if cell is not None} <= {0, 1, 2}
    assert background.x[-1] == "2024-01-02T09:20:00"  # the close of the last bar


def test_candles_of_many_bars_keep_open_close_and_extremes_and_say_so():
    bars = make_bars(1000, seed=2)
    bars.iloc[333, bars.columns.get_loc("high")] = 99_999.0
    figure = plots.price(bars)
    candles = figure.data[0]
    assert len(candles.x) == 250
    assert candles.open[1] == pytest.approx(bars["open"].iloc[4], rel=1e-5)
    assert candles.close[1] == pytest.approx(bars["close"].iloc[7], rel=1e-5)
    assert candles.high[83] == 99_999.0
    assert candles.low[2] == pytest.approx(bars["low"].iloc[8:12].min(), rel=1e-5)
    assert "1,000 bars, drawn as 250 of 4 each" in figure.layout.title.text


def test_few_bars_are_drawn_as_they_are_and_nothing_is_said():
    figure = plots.price(make_bars(100))
    assert len(figure.data[0].x) == 100
    assert "drawn as" not in figure.layout.title.text
    assert figure.layout.xaxis.rangeslider.visible is False


def test_smoothed_probabilities_are_drawn_below_and_labelled_hindsight(bars):
    signals = make_signals(bars)
    figure = plots.hindsight(signals, np.tile([1.0, 0.0, 0.0], (len(signals), 1)))
    assert figure.layout.yaxis.title.text == "filtered"
    assert figure.layout.yaxis2.title.text == "smoothed (hindsight)"
    lower = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert set(lower[0].y) - {None} == {1.0}
    with pytest.raises(DataError, match=r"smoothed of shape \(3, 3\)"):
        plots.hindsight(signals, np.eye(3))


def test_stacked_probabilities_add_up_to_one_and_leave_holes(bars):
    areas = plots.probabilities(make_signals(bars)).data
    stack = np.array([area.y for area in areas], float)
    total = stack.sum(axis=0)
    assert np.isnan(total).any()
    assert total[~np.isnan(total)] == pytest.approx(1, abs=1e-5)


def test_every_stretch_with_a_flagged_bar_is_marked_and_the_highest_score_drawn(bars):
    signals = make_signals(bars)
    figure = plots.anomalies(signals, 0.6)
    score, marked, threshold = figure.data
    assert max(score.y) == pytest.approx(signals["anomaly_score"].max(), rel=1e-5)
    assert len(marked.y) == sum(y > 0.6 for y in score.y)
    assert set(threshold.y) == {0.6}
    told = f"{signals['is_anomaly'].sum():,} of {len(signals):,} bars flagged"
    assert told in figure.layout.title.text


def test_a_score_that_is_never_known_leaves_an_empty_line(bars):
    signals = make_signals(bars).assign(anomaly_score=np.nan, is_anomaly=False)
    assert plots.anomalies(signals).data[0].y == ()


def test_densities_have_an_area_of_one_by_regime(bars):
    figure = plots.feature_distributions(make_signals(bars), ["log_return", "range"])
    assert len(figure.data) == 6
    for trace in figure.data:
        assert np.sum(trace.y) * (trace.x[1] - trace.x[0]) == pytest.approx(1, rel=1e-3)
    assert figure.layout.xaxis2.title.text == "range"
    with pytest.raises(DataError, match="no features"):
        plots.feature_distributions(make_signals(bars), [])


def test_equity_keeps_its_deepest_loss_when_thinned(bars):
    signals = make_signals(bars)
    result = backtest(signals, bars, [1, 0.5, 0])
    figure = plots.equity(result)
    drawn = min(y for trace in figure.data if trace.yaxis == "y2" for y in trace.y)
    assert drawn == pytest.approx(result.drawdown.min().min(), rel=1e-5)
    assert len(figure.data) == 4


def test_stays_count_minutes_until_the_regime_changes(bars):
    signals = make_signals(bars)[:8].assign(regime=np.int8([0, 0, 1, 1, 1, 1, 0, 2]))
    observed, expected = plots.stays(signals, "5m", [10, 20, 30]).data
    assert observed.y == (7.5, 20.0, 5.0)
    assert expected.y == (50.0, 100.0, 150.0)


def test_nothing_to_draw_is_an_error(bars):
    with pytest.raises(DataError, match="price: found no rows"):
        plots.price(bars[:0])
    with pytest.raises(DataError, match="anomalies: found no rows"):
        plots.anomalies(make_signals(bars)[:0])


def test_importing_plots_does_not_import_plotly():
    code = "import microstream_lab.research.plots, sys; print('plotly' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(np.nan)), min_size=1, max_size=400),
    st.integers(4, 60),
)
def test_thinning_a_line_keeps_its_ends_and_extremes(values, max_points):
    rows = thinning.extremes(values, max_points)
    assert len(rows) <= max_points
    assert (np.diff(rows) > 0).all()
    assert rows[0] == 0
    assert rows[-1] == len(values) - 1
    if not np.isnan(values).all():
        assert np.nanmax(np.array(values)[rows]) == np.nanmax(values)
        assert np.nanmin(np.array(values)[rows]) == np.nanmin(values)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 50))
def test_bins_cover_equal_times_and_every_row_once(seed, n_bars, max_bins):
    generator = np.random.default_rng(seed)
    frame = make_bars(n_bars)
    frame = frame[generator.random(n_bars) < 0.7]
    if frame.empty:
        return
    bins = thinning.Bins.of(frame, max_bins)
    values = generator.normal(size=len(frame))
    assert len(bins) <= max_bins
    assert bins.edges[0] == frame.index[0]
    assert bins.edges[-1] > frame.index[-1]
    cells = pd.cut(frame.index, bins.edges, right=False)
    grouped = pd.Series(values).groupby(cells, observed=False)
    for name, found in {"max": bins.highest, "min": bins.lowest, "mean": bins.mean}.items():
        np.testing.assert_allclose(found(values), grouped.agg(name).to_numpy())
    np.testing.assert_allclose(bins.first(values), grouped.first().to_numpy())
    np.testing.assert_allclose(bins.last(values), grouped.last().to_numpy())


def test_numbers_are_rounded_nested_and_none_where_not_finite():
    found = thinning.numbers([[1 / 3, np.nan], [np.inf, 123456789.0]])
    assert found == [[0.333333, None], [None, 123457000.0]]


def test_expected_volatility_shows_forecast_cuts_and_the_regime_held() -> None:
    bars = make_bars(900)
    bundle = train_bundle(bars)
    signals = bundle.signals(bars).dropna()
    rows = bundle.scaler.transform(signals[list(bundle.features)].to_numpy())
    model = bundle.regime_model
    assert isinstance(model, LevelModel)
    drawn = plots.expected_volatility(signals, model.heights(rows), model.cuts_)
    lines = {trace.name: trace for trace in drawn.data if trace.type == "scatter" and trace.x}
    assert np.max(lines["expected"].y) == pytest.approx(
        1e4 * np.exp(model.heights(rows).max()), rel=1e-5
    )
    cuts = [trace.y[0] for trace in drawn.data if trace.name == "cut"]
    np.testing.assert_allclose(cuts, 1e4 * np.exp(model.cuts_), rtol=1e-5)
