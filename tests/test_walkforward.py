"""Walk-forward: no fit sees its test window, no signal the future, and folds fit the calendar."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microstream_lab.errors import DataError, FitError, LookAheadError, SettingsError
from microstream_lab.outcomes import log_returns
from microstream_lab.research.folds import even_windows, fold_windows, span_us
from microstream_lab.research.walkforward import pinned, walk_forward
from microstream_lab.training import train_bundle

MINUTE = 60_000_000


def make_bars(n_bars, seed=0, interval="1h", drop=()):
    generator = np.random.default_rng(seed)
    freq = {"1m": "1min", "1h": "1h"}[interval]
    index = pd.date_range("2022-01-01", periods=n_bars, freq=freq, tz="UTC", unit="us")
    scale = np.repeat(generator.choice([0.001, 0.004], n_bars // 50 + 1), 50)[:n_bars]
    close = 100 * np.exp(generator.normal(0, scale).cumsum())
    spread = np.abs(generator.normal(0, scale)) * close
    frame = pd.DataFrame(
        {"open": close, "high": close + spread, "low": close - spread, "close": close},
        index=index.rename("open_time"),
    )
    volume = generator.lognormal(0, 0.5, n_bars)
    for name in ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote"):
        frame[name] = volume
    frame["trades"] = 10
    frame["quality"] = "complete"
    for name, value in {"market": "sim", "symbol": "SIMUSDT", "interval": interval}.items():
        frame[name] = pd.Categorical([value] * n_bars)
    return frame.drop(frame.index[list(drop)])


class Threshold:
    """A bundle that splits absolute returns at the training median; EWMA makes it need warm-up."""

    def __init__(self, training):
        self.training = training
        self.seen = None
        self.cut = self._level(training).median()

    @staticmethod
    def _level(bars):
        return log_returns(bars).abs().ewm(halflife=3).mean()

    def signals(self, bars):
        self.seen = bars.index
        level = self._level(bars)
        crisis = (level > self.cut).to_numpy()
        frame = pd.DataFrame({"level": level}, index=bars.index)
        frame["regime"] = np.where(level.isna(), -1, crisis).astype(np.int8)
        return frame.assign(p_0=1.0 - crisis, p_1=1.0 * crisis)


def walk(bars, train="10D", test="5D", embargo="1D", **options):
    return walk_forward(bars, train, test, embargo, trainer=Threshold, **options)


def test_folds_tile_the_time_after_the_first_training_window():
    bars = make_bars(24 * 30)
    folds = fold_windows(bars, "10D", "5D", "1D")
    starts = [fold.test_start.strftime("%m-%d") for fold in folds]
    assert starts == ["01-12", "01-17", "01-22", "01-27"]
    for fold in folds:
        assert fold.train_end - fold.train_start == pd.Timedelta("10D")
        assert fold.test_start - fold.train_end == pd.Timedelta("1D")
    assert folds[-1].test_end == bars.index[-1] + pd.Timedelta("1h")  # a short last window


def test_spans_may_be_bars_strings_or_timedeltas():
    bars = make_bars(24 * 30)
    by_bars = fold_windows(bars, 240, 120, 24)
    assert by_bars == fold_windows(bars, "10D", "5D", "1D")
    assert by_bars == fold_windows(bars, pd.Timedelta("240h"), pd.Timedelta("5D"), "24h")


def test_no_fit_sees_a_bar_at_or_after_its_end_and_no_score_sees_past_its_window():
    bars = make_bars(24 * 40, drop=range(300, 320))
    result = walk(bars, warmup="2D")
    for bundle, fold in zip(result.bundles, result.folds.itertuples(), strict=True):
        assert bundle.training.index[0] == fold.train_start
        assert bundle.training.index[-1] < fold.train_end
        assert fold.train_end + pd.Timedelta("1D") == fold.test_start
        assert bundle.seen[0] >= fold.test_start - pd.Timedelta("2D")
        assert bundle.seen[-1] < fold.test_end


def test_signals_cover_every_test_bar_once_and_are_warm_from_the_first():
    bars = make_bars(24 * 40)
    result = walk(bars)
    expected = bars.index[bars.index >= bars.index[0] + pd.Timedelta("11D")]
    pd.testing.assert_index_equal(result.signals.index, expected)
    assert (result.signals["regime"] >= 0).all()
    level = Threshold._level(bars).loc[expected]
    np.testing.assert_allclose(result.signals["level"], level, rtol=1e-9)
    assert result.signals["fold"].tolist() == sorted(result.signals["fold"])
    cold = walk(bars, warmup=0).signals
    assert (cold["regime"] < 0).sum() == len(result.bundles)


def test_an_expanding_window_keeps_the_first_bar():
    result = walk(make_bars(24 * 40), expanding=True)
    assert result.folds["train_start"].nunique() == 1
    assert result.folds["train_bars"].tolist() == [240 + 120 * k for k in range(len(result.folds))]


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(265, 24 * 30 - 1), seed=st.integers(0, 1000), expanding=st.booleans())
def test_changing_later_bars_changes_no_earlier_signal(cut, seed, expanding):
    bars = make_bars(24 * 30)
    changed = bars.copy()
    factor = np.random.default_rng(seed).uniform(0.5, 2, len(bars) - cut)
    changed.loc[changed.index[cut:], "close"] *= factor
    one, two = (walk(b, expanding=expanding).signals for b in (bars, changed))
    before = one.index < bars.index[cut]
    pd.testing.assert_frame_equal(one[before], two[before])


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(270, 24 * 30 - 1))
def test_fewer_bars_give_the_same_signals_as_far_as_they_go(cut):
    bars = make_bars(24 * 30)
    whole, part = walk(bars).signals, walk(bars[:cut]).signals
    pd.testing.assert_frame_equal(whole[: len(part)], part)


def test_real_bundles_walk_forward_with_likelihoods_and_options():
    bars = make_bars(3_000, interval="1m")
    result = walk_forward(bars, "1D", "6h", "1h", n_regimes=2, n_starts=1, seed=3)
    assert [bundle.n_regimes for bundle in result.bundles] == [2] * len(result.folds)
    assert np.isfinite(result.folds["train_log_likelihood"]).all()
    assert np.isfinite(result.folds["test_log_likelihood"]).all()
    assert result.folds["bundle_id"].is_unique
    assert (result.folds["known"] == 1).all()
    for bundle, fold in zip(result.bundles, result.folds.itertuples(), strict=True):
        assert pd.Timestamp(bundle.end, unit="us", tz="UTC") == fold.train_end
    whole = result.bundles[0].signals(bars)
    first = result.signals.query("fold == 0")
    # The filter has forgotten where it was started long before the test window begins.
    np.testing.assert_allclose(first["p_0"], whole.loc[first.index, "p_0"], atol=1e-9)


def test_missing_bars_lower_the_coverage_and_move_no_boundary():
    bars = make_bars(24 * 30)
    holey = bars.drop(bars.index[100:148])
    whole, part = walk(bars).folds, walk(holey).folds
    assert (whole[["train_start", "test_end"]] == part[["train_start", "test_end"]]).all(axis=None)
    assert part["train_coverage"].iloc[0] == pytest.approx(0.8)
    assert part["test_coverage"].tolist() == [1.0] * len(part)


def test_a_test_window_without_a_bar_is_left_out():
    bars = make_bars(24 * 40)
    gap = (bars.index >= "2022-01-17") & (bars.index < "2022-01-22")
    starts = walk(bars[~gap]).folds["test_start"].dt.day.tolist()
    assert starts == [12, 22, 27, 1, 6]


def test_progress_is_told_before_each_fit():
    numbers = []
    result = walk(make_bars(24 * 30), progress=lambda fold: numbers.append(fold.number))
    assert numbers == list(range(len(result.bundles)))


def test_summary_has_one_row_a_fold():
    result = walk(make_bars(24 * 30))
    assert result.summary().index.tolist() == [0, 1, 2, 3]


def test_too_few_bars_are_refused_with_what_is_needed():
    with pytest.raises(DataError, match="at least 11 days 01:00:00"):
        walk(make_bars(24 * 11))
    assert len(walk(make_bars(24 * 11 + 1)).signals) == 1


def test_a_training_window_without_a_bar_is_refused():
    bars = make_bars(24 * 40)
    gap = (bars.index >= "2022-01-05") & (bars.index < "2022-01-18")
    with pytest.raises(DataError, match="fold 0: found no bar from 2022-01-13"):
        walk(bars[~gap], train="5D", test="2D", embargo=0)


def test_a_failing_fit_says_which_fold_it_was():
    def refuse(bars):
        raise FitError("no luck")

    with pytest.raises(FitError) as caught:
        walk_forward(make_bars(24 * 30), "10D", "5D", trainer=refuse)
    assert "in fold 0, 2022-01-01" in caught.value.__notes__[0]


def test_a_bundle_with_hindsight_is_refused():
    class Hindsight(Threshold):
        def signals(self, bars):
            return super().signals(bars).assign(p_1_smoothed=0.0)

    with pytest.raises(LookAheadError, match="signals of fold 0"):
        walk_forward(make_bars(24 * 30), "10D", "5D", trainer=Hindsight)


@pytest.mark.parametrize("span", ["ten days", "90s", -1, 0, "0D", True, 2.5])
def test_a_window_that_cannot_be_cut_is_refused(span):
    with pytest.raises(SettingsError, match="train: found"):
        fold_windows(make_bars(100, interval="1m"), span, 10)


def test_a_duration_is_measured_in_bars():
    assert span_us("1h", MINUTE, "test") == span_us(60, MINUTE, "test") == 60 * MINUTE


def test_even_windows_train_up_to_the_start_and_share_out_the_rest():
    bars = make_bars(1000)
    train, test = even_windows(bars, bars.index[600], n_folds=4, embargo="12h")
    assert (train, test) == (588, 100)
    folds = fold_windows(bars, train, test, "12h", expanding=True)
    assert [fold.test_start for fold in folds] == [bars.index[n] for n in (600, 700, 800, 900)]
    assert {fold.train_start for fold in folds} == {bars.index[0]}


def test_even_windows_begin_in_the_middle_unless_told():
    assert even_windows(make_bars(1001), n_folds=3) == (500, 167)


@pytest.mark.parametrize("start", ["2021-12-31", "2022-01-01", "2024-01-01"])
def test_even_windows_need_bars_on_either_side(start):
    with pytest.raises(DataError, match="to train on before"):
        even_windows(make_bars(100), start)
    with pytest.raises(SettingsError, match="found 0"):
        even_windows(make_bars(100), n_folds=0)


@pytest.fixture(scope="module")
def bundle():
    return train_bundle(make_bars(600), n_starts=1)


def test_a_pinned_bundle_scores_every_fold(bundle):
    bars = make_bars(1200)
    result = walk_forward(bars, 600, 200, trainer=pinned(bundle), n_starts=1)
    assert set(result.folds["bundle_id"]) == {bundle.bundle_id}
    assert len(result.signals) == 600


def test_a_pinned_bundle_that_knows_the_test_window_is_refused(bundle):
    with pytest.raises(LookAheadError, match="expected none after"):
        walk_forward(make_bars(1200), 599, 200, trainer=pinned(bundle))


def test_a_bundle_that_needs_a_long_past_gets_it_and_another_gets_the_usual():
    class Slow(Threshold):
        warmup_bars = 100

    bars = make_bars(24 * 120, interval="1m")
    for kind, warmup in ((Slow, 100), (Threshold, 2000)):
        result = walk_forward(bars, 2400, 240, trainer=kind)
        for bundle, start in zip(result.bundles, result.folds["test_start"], strict=True):
            assert bundle.seen[0] == start - pd.Timedelta(minutes=warmup)
