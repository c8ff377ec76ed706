"""The monitor's state: what it knows after what was told, and that it never grows."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from live_tidings import MINUTE, START, make_bar, make_model, make_scored, make_signal
from msgspec.structs import replace

from microstream_lab.live.state import MonitorState, Picture
from microstream_lab.live.tidings import Drift, Heard, Link, Note, Scored, Stale, Ticks, Tiding
from microstream_lab.live.window import Window
from microstream_lab.schema import Gap

S = 1_000_000


def told(*tidings: Tiding, window: int = 5, now: int = START) -> Picture:
    state = MonitorState("1m", window)
    for tiding in tidings:
        state.update(tiding)
    return state.picture(now)


def texts(picture: Picture, kind: str) -> list[str]:
    return [entry.text for entry in picture.log if entry.kind == kind]


def ticks(n: int, at: int, price: float = 1.0, place: int = 0, delay: int = 2_000) -> Ticks:
    return Ticks(n, price, at - delay, at - delay, at, make_bar(place, price))


def make_gap(from_id: int, n: int = 3, repaired_at: int | None = None) -> Gap:
    times = (START, START + 1)
    return Gap("BTCUSDT", from_id, from_id + n - 1, *times, "lost", START, repaired_at)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=60),
    st.integers(2, 8),
)
def test_window_holds_the_newest_bars_each_once_in_order(
    puts: list[tuple[int, int]], length: int
) -> None:
    window, known = Window(length), {}
    for place, close in puts:
        bar = make_bar(place, 100.0 + close)
        oldest = min(known) if len(known) == length else -1
        assert window.put(bar, None) == (place >= oldest)
        if place >= oldest:
            known[place] = bar.close
            known = dict(sorted(known.items())[-length:])
    assert window.times.tolist() == [START + place * MINUTE for place in known]
    assert window.columns()["close"].tolist() == list(known.values())


def test_picture_does_not_change_when_more_is_told() -> None:
    state = MonitorState("1m", 3)
    state.update(make_scored(0))
    picture = state.picture(START)
    state.update(Scored(make_bar(0, 555.0)))
    assert picture.columns["close"].tolist() == [100.0]


def test_regime_lasts_since_the_first_bar_that_showed_it() -> None:
    picture = told(
        make_model(), make_scored(0, 0), make_scored(1, 2), make_scored(2, 2), make_scored(3, 2)
    )
    assert (picture.regime, picture.regime_since) == (2, START + MINUTE)
    assert picture.probability == 0.9
    assert [entry.regime for entry in picture.log if entry.kind == "regime"] == [0, 2]


def test_unknown_regime_in_between_does_not_end_a_regime() -> None:
    unknown = make_scored(1, -1, filtered_probs=(np.nan,) * 3, anomaly_score=np.nan)
    picture = told(make_model(), make_scored(0, 1), unknown, make_scored(2, 1))
    assert (picture.regime, picture.regime_since) == (1, START)


def test_repaired_bar_takes_the_place_of_the_one_shown_and_is_logged() -> None:
    repaired = make_bar(0, 107.0, quality="repaired", revision=1)
    picture = told(Scored(make_bar(0, quality="partial")), Scored(make_bar(1)), Scored(repaired))
    assert picture.columns["close"].tolist() == [107.0, 100.0]
    assert picture.columns["quality"].tolist() == [1, 0]
    assert texts(picture, "gap") == ["bar closed with trades missing"]
    assert texts(picture, "repair") == ["bar made anew, repaired"]


def test_gap_is_open_until_it_is_repaired() -> None:
    assert told(make_gap(7)).health.gaps_open == 1
    health = told(make_gap(7), make_gap(7), make_gap(7, repaired_at=START + S)).health
    assert (health.gaps_open, health.gaps_repaired) == (0, 1)


def test_repair_of_a_gap_nobody_told_of_is_not_counted() -> None:
    assert told(make_gap(7, repaired_at=START)).health.gaps_repaired == 0


def test_closed_bar_ends_the_forming_one_and_trades_bring_the_next() -> None:
    state = MonitorState("1m", 5)
    state.update(ticks(3, START + S, price=101.0))
    assert state.picture(START).forming == make_bar(0, 101.0)
    state.update(Scored(make_bar(0)))
    assert state.picture(START).forming is None
    state.update(ticks(1, START + MINUTE, place=1))
    assert state.picture(START).forming == make_bar(1, 1.0)


def test_rate_counts_the_last_five_seconds_and_lag_is_that_of_the_last_trade() -> None:
    picture = told(
        ticks(100, START), ticks(10, START + 6 * S), ticks(5, START + 7 * S), now=START + 8 * S
    )
    assert picture.health.trades_per_s == 3.0
    assert picture.health.lag_us == 2_000


def test_stale_feed_is_stale_until_the_next_trade() -> None:
    stale = Stale("BTCUSDT", START, START + 4 * S)
    assert told(stale).health.stale_since == START
    picture = told(stale, ticks(1, START + 9 * S))
    assert picture.health.stale_since is None
    assert texts(picture, "stale") == ["no trade for 4.0 s", "trades are coming again"]


def test_trades_and_bars_that_waited_when_the_connection_was_cut_do_not_make_it_live() -> None:
    cut = [Stale("BTCUSDT", START, START + S), Link(1, 1, START + S, is_cut=True)]
    late = [ticks(1, START + 2 * S), Scored(make_bar(0))]
    assert told(*cut, *late).health.stale_since == START
    again = [Link(1, 2, START + 3 * S), ticks(1, START + 4 * S)]
    assert told(*cut, *late, *again).health.stale_since is None


def test_bars_that_come_again_without_trades_are_told_as_heard() -> None:
    stale = Stale("BTCUSDT", START, START + 4 * S)
    assert told(stale, Scored(make_bar(0))).health.stale_since == START
    assert told(stale, Heard(START + 5 * S)).health.stale_since is None


def test_feed_is_awaited_from_its_connection_until_its_first_trade() -> None:
    assert not told().health.is_awaited
    assert told(Link(0, 0, START)).health.is_awaited
    assert not told(Link(0, 0, START), ticks(1, START + S)).health.is_awaited


def test_lost_connections_are_counted_and_logged_once() -> None:
    picture = told(Link(0, 1, START), Link(1, 1, START), Link(1, 2, START), Link(1, 2, START))
    assert picture.health.reconnects == 1
    assert texts(picture, "link") == ["connection lost", "connecting again"]


def test_new_bundle_is_marked_where_it_begins_and_history_stays() -> None:
    later = make_model(version="v0002", since=START + 2 * MINUTE)
    picture = told(make_model(), make_scored(0, 1), make_scored(1, 1), later, make_scored(2, 1))
    assert picture.swaps == (START + 2 * MINUTE,)
    assert picture.columns["regime"].tolist() == [1, 1, 1]
    assert picture.regime_since == START
    assert texts(picture, "model") == ["bundle v0001", "bundle v0002"]


def test_bundle_with_other_regimes_leaves_bars_and_forgets_their_signals() -> None:
    picture = told(make_model(), make_scored(0, 2), make_model(4), make_scored(1, 3, 4))
    assert picture.columns["close"].tolist() == [100.0, 100.0]
    assert picture.columns["regime"].tolist() == [-1, 3]
    assert np.isnan(picture.columns["p_3"][0])
    assert picture.columns["p_3"][1] == 0.9


def test_banner_stays_until_the_next_and_notes_are_only_logged() -> None:
    picture = told(Note(START, "simulated", "banner"), Note(START, "training"))
    assert picture.banner == "simulated"
    assert texts(picture, "note") == ["simulated", "training"]


def test_latency_of_drawn_frames_is_told_as_median_and_99th_percentile() -> None:
    state = MonitorState("1m", 5)
    assert state.picture(0).health.latency_us is None
    for latency in range(1, 102):
        state.drawn(latency * 1_000)
    assert state.picture(0).health.latency_us == (51_000.0, 100_000.0)


def test_state_does_not_grow_however_long_it_runs() -> None:
    def size_after(n: int) -> int:
        state = MonitorState("1m", 20)
        for k in range(n):
            at = START + k * MINUTE
            state.update(ticks(1, at, place=k))
            state.update(make_gap(k * 10))
            state.update(replace(make_model(version=f"v{k:06}"), since=at))
            state.update(Stale("BTCUSDT", at, at))
            bar = make_bar(k)
            state.update(Scored(bar, make_signal(bar, k % 3)))
            state.drawn(k)
        return len(pickle.dumps(state.__dict__))

    assert size_after(4_000) <= size_after(2_000) * 1.02


def drift(alarms: tuple[str, ...] = (), at: int = START) -> Drift:
    return Drift(at, 0.5, 100, 100, alarms, "beyond" if alarms else "like the training")


def test_drift_is_logged_when_alarms_begin_and_end_and_forgotten_with_the_bundle() -> None:
    state = MonitorState("1m", 10)
    state.update(make_model())
    for alarms in ((), ("range",), ("range", "regimes"), ()):
        state.update(drift(alarms))
    picture = state.picture(START)
    told = [entry.text for entry in picture.log if entry.kind == "drift"]
    assert told == ["drift: beyond", "drift: like the training"]
    assert picture.health.drift == drift()
    state.update(make_model(version="v0002"))
    assert state.picture(START).health.drift is None
