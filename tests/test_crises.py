"""Known crises: delays, shares and false alarms counted by hand, and no fit that saw the event."""

import numpy as np
import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.errors import DataError
from microstream_lab.research.baselines import EwmaThresholds
from microstream_lab.research.crises import (
    episodes,
    judge_crises,
    read_events,
    walk_through_crises,
)
from microstream_lab.research.ohlc import read_ohlc

MINUTE = 60_000_000
DAY = 288


def at(text):
    return pd.Timestamp(text, tz="UTC")


@pytest.fixture(scope="module")
def bars():
    """Twelve days of five minutes; the tenth ranges less than 1 % all day."""
    bars = make_bars(12 * DAY, interval="5m", start="2024-01-01")
    calm = slice(9 * DAY - 12, 10 * DAY)
    for name in ("open", "high", "low", "close"):
        bars.iloc[calm, bars.columns.get_loc(name)] = 100.0
    return bars


@pytest.fixture
def events():
    rows = {
        "first": ("2024-01-03", "2024-01-04", "2024-01-03 12:00"),
        "second": ("2024-01-06", "2024-01-08", "2024-01-06 06:00"),
        "later": ("2024-02-06", "2024-02-08", "2024-02-06 06:00"),
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["start", "end", "onset"])
    return table.apply(pd.to_datetime, utc=True).rename_axis("name")


def signals_with(bars, *spans):
    crisis = np.zeros(len(bars), bool)
    for first, last in spans:
        crisis |= (bars.index >= at(first)) & (bars.index <= at(last))
    regime = np.where(crisis, 1, 0).astype(np.int8)
    return pd.DataFrame({"regime": regime, "p_0": 1.0 - regime, "p_1": 1.0 * regime}, bars.index)


def test_a_timely_alarm_is_found_with_its_delay_and_share(bars, events):
    signals = signals_with(
        bars, ("2024-01-03 12:10", "2024-01-03 18:05"), ("2024-01-06 03:00", "2024-01-06 07:00")
    )
    found = judge_crises(signals, bars, events).events
    assert found.index.tolist() == ["first", "second"]
    assert found.loc["first", "delay_min"] == 10
    assert found.loc["first", "share"] == pytest.approx(72 / DAY)
    assert np.isnan(found.loc["second", "delay_min"])  # it began three hours before the onset
    assert found.loc["second", "covered"]
    assert found.loc["second", "share"] == pytest.approx(49 / (2 * DAY))


@pytest.mark.parametrize(("begin", "delay"), [("11:00", -60), ("12:15", 15), ("12:20", None)])
def test_an_alarm_counts_from_an_hour_before_to_a_quarter_after(bars, events, begin, delay):
    signals = signals_with(bars, (f"2024-01-03 {begin}", "2024-01-03 13:00"))
    found = judge_crises(signals, bars, events).events.at["first", "delay_min"]
    assert found == delay or (delay is None and np.isnan(found))


def test_false_episodes_are_merged_within_an_hour_and_counted_off_event_days(bars, events):
    signals = signals_with(
        bars,
        ("2024-01-02 10:00", "2024-01-02 10:30"),
        ("2024-01-02 11:35", "2024-01-02 11:35"),  # 60 minutes of pause: the same episode
        ("2024-01-02 12:45", "2024-01-02 12:50"),  # 65 minutes: another one
        ("2024-01-07 10:00", "2024-01-07 10:30"),  # inside the second event
        ("2024-01-10 05:00", "2024-01-10 05:30"),  # on the quiet day
    )
    crises = judge_crises(signals, bars, events)
    assert crises.table.at["false_episodes", "value"] == 3
    assert crises.table.at["false_quiet", "value"] == 1
    assert crises.table.at["false_per_month", "value"] == pytest.approx(3 / 9 * 30)
    assert (crises.n_days, crises.n_quiet) == (9, 1)


def test_shares_of_events_and_mean_delay_are_over_those_found(bars, events):
    signals = signals_with(bars, ("2024-01-03 12:10", "2024-01-03 13:00"))
    table = judge_crises(signals, bars, events).table["value"]
    assert table["found"] == 0.5
    assert table["covered"] == 0.5
    assert table["delay_min"] == 10
    nothing = judge_crises(signals_with(bars), bars, events).table["value"]
    assert nothing["found"] == nothing["false_episodes"] == 0
    assert np.isnan(nothing["delay_min"])


def test_an_unknown_regime_is_no_crisis(bars, events):
    signals = signals_with(bars, ("2024-01-03 12:10", "2024-01-03 13:00"))
    unknown = signals.assign(regime=np.int8(-1))
    assert judge_crises(unknown, bars, events).table.at["found", "value"] == 0


def test_episodes_begin_after_pauses_longer_than_merged():
    index = pd.date_range("2024-01-01", periods=8, freq="1min", tz="UTC", unit="us")
    crisis = np.array([1, 0, 1, 1, 0, 0, 0, 1], bool)
    begins = [episodes(crisis, index, MINUTE, pause).minute.tolist() for pause in (0, 1, 3)]
    assert begins == [[0, 2, 7], [0, 7], [0]]
    assert len(episodes(np.zeros(8, bool), index, MINUTE)) == 0


def test_no_fit_of_the_walk_sees_the_bars_it_labels(bars, events):
    seen = []

    def trainer(training, **_):
        seen.append(training.index[-1])
        return EwmaThresholds(shares=(0.5, 0.5)).fit(training)

    found = walk_through_crises(
        bars, events, {"mine": trainer}, train="2D", refit="2D", since="2024-01-03"
    )
    assert len(found["mine"].events) == 2
    assert seen[0] == at("2024-01-02 23:55")
    assert np.all(np.diff(seen) == pd.Timedelta("2D"))


def test_events_outside_of_the_signals_are_refused(bars, events):
    with pytest.raises(DataError, match="expected at least one"):
        judge_crises(signals_with(bars), bars, events.loc[["later"]])


def test_events_are_read_by_name_and_anything_else_is_refused(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        "name,date_from_utc,date_to_utc,onset_utc,why\n"
        "x,2020-03-12T00:00:00Z,2020-03-14T00:00:00Z,2020-03-12T01:55:00Z,because\n"
    )
    events = read_events(path)
    assert events.loc["x", "onset"] == at("2020-03-12 01:55")
    assert events.columns.tolist() == ["start", "end", "onset"]
    path.write_text("name,when\nx,2020-03-12\n")
    with pytest.raises(DataError, match="expected columns name date_from_utc"):
        read_events(path)


HEAD = "timestamp,open,high,low,close,volume,quote_volume\n"


def test_text_bars_keep_holes_drop_what_is_off_the_grid_and_invent_nothing(tmp_path):
    rows = ["2018-02-09 09:55:00", "2018-02-09 09:58:14.789", "2018-02-09 10:10:00.000"]
    text = HEAD + "".join(f"{time},1.5,2.0,1.0,1.75,3.5,6.0\n" for time in rows)
    (tmp_path / "a.csv").write_text(text)
    bars = read_ohlc(tmp_path, "BTCUSDT")
    assert bars.index.tolist() == [at("2018-02-09 09:55"), at("2018-02-09 10:10")]
    assert bars["close"].tolist() == [1.75, 1.75]
    assert bars[["trades", "taker_buy_base", "taker_buy_quote"]].isna().all(axis=None)
    assert bars["symbol"].tolist() == ["BTCUSDT"] * 2


def test_text_that_holds_no_bars_is_refused(tmp_path):
    with pytest.raises(DataError, match="found no file"):
        read_ohlc(tmp_path, "BTCUSDT")
    path = tmp_path / "a.csv"
    path.write_text("time,open\n2020-01-01,1\n")
    with pytest.raises(DataError, match="no column timestamp"):
        read_ohlc(path, "BTCUSDT")
    path.write_text(HEAD + "soon,1,1,1,1,1,1\n")
    with pytest.raises(DataError, match="expected times and numbers"):
        read_ohlc(path, "BTCUSDT")
