"""The monitor without a browser: what is sent to it, when, and what its parts say."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import plotly.graph_objects as go
import pytest
from live_tidings import MINUTE, START, make_bar, make_model, make_scored
from test_session import until

from microstream_lab import theme
from microstream_lab.errors import MicrostreamError
from microstream_lab.live import figure
from microstream_lab.live.alerts import AlertBook, AnomalyStreak, FeedStale, RegimeEntered
from microstream_lab.live.ink import ink_of
from microstream_lab.live.live_figure import LiveFigure, mended
from microstream_lab.live.monitor import RegimeMonitor
from microstream_lab.live.session import LiveSession
from microstream_lab.live.state import MonitorState, Picture
from microstream_lab.live.tidings import Drift, Link, Scored, Stale, Ticks, Tiding
from microstream_lab.live.tiles import event_rows, health_items, tile_data
from microstream_lab.live.view import MonitorView, Scene
from microstream_lab.live.watchlist import watchlist_rows
from microstream_lab.settings import Settings


def market_of(n_bars: int = 40, n_regimes: int = 3) -> list[Tiding]:
    """Bars that go through all regimes, the tenth partial, the twentieth repaired, one flagged."""
    bars = [make_scored(k, k * n_regimes // n_bars, n_regimes) for k in range(n_bars)]
    bars[10] = Scored(make_bar(10, quality="partial"), bars[10].signal)
    bars[20] = Scored(make_bar(20, quality="repaired", revision=1), bars[20].signal)
    bars[30] = make_scored(30, 0, n_regimes, is_anomaly=True, anomaly_score=0.8)
    return [make_model(n_regimes), *bars]


def state_of(*tidings: Tiding) -> MonitorState:
    state = MonitorState("1m", 500)
    for tiding in tidings:
        state.update(tiding)
    return state


def picture_of(*tidings: Tiding) -> Picture:
    return state_of(*tidings).picture(START)


def trade(place: int, price: float, at: int = START) -> Ticks:
    return Ticks(1, price, at, at, at, make_bar(place, price))


def scene_of(picture: Picture, **options: Any) -> Scene:
    options = {"wanted": "range", "n_shown": 500, **options}
    return Scene(picture, START, "BTCUSDT 1m (spot)", MINUTE, **options)


def draw(view: MonitorView, picture: Picture, **options: Any) -> None:
    """Words and ink, and the figure if it is behind, as the monitor does it."""
    scene = scene_of(picture, **options)
    view.draw(scene)
    if view.is_behind(scene):
        view.catch_up(scene)


class FakeSession:
    """A session of which the test is the market."""

    title, interval, window, source, speed = "BTCUSDT 1m (spot)", "1m", 500, "local", 1.0
    series = ("sim", "BTCUSDT", "1m")

    def __init__(self, *tidings: Tiding) -> None:
        self.state, self.latencies = state_of(*tidings), []
        self.listeners: list[Callable[[], None]] = []
        self.phase, self.stopped = "live", False

    def update(self, tiding: Tiding) -> None:
        self.state.update(tiding)
        for listener in self.listeners:
            listener()

    def picture(self) -> Picture:
        return self.state.picture(START)

    def drawn(self, latency_us: int) -> None:
        self.latencies.append(latency_us)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def status(self) -> Any:
        return self

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def watched() -> Iterator[Callable[..., tuple[RegimeMonitor, FakeSession]]]:
    monitors = []

    def watch(
        *tidings: Tiding, more: Sequence[FakeSession] = (), **options: Any
    ) -> tuple[RegimeMonitor, FakeSession]:
        session: Any = FakeSession(*tidings)
        monitors.append(RegimeMonitor([session, *more], **options))
        return monitors[-1], session

    yield watch
    for monitor in monitors:
        monitor.close()
        monitor.view.close()


def paint(monitor: RegimeMonitor, at: int = START) -> None:
    """Do what the browser does after it has painted the last frame."""
    monitor._painter.note_painted(monitor.view.frame, float(at))


def settle(monitor: RegimeMonitor, at: int = START) -> None:
    """Let the browser paint until the figure is there."""

    def is_there() -> bool:
        paint(monitor, at)
        return bool(monitor.view.figure.layout.meta) and not monitor._painter.is_behind

    until(is_there)


@pytest.mark.parametrize("n_regimes", [2, 3, 4, 12])
def test_any_number_of_regimes_is_drawn_in_the_same_figure(n_regimes: int) -> None:
    view = MonitorView()
    before = view.figure
    draw(view, picture_of(*market_of(n_regimes=n_regimes)))
    areas = view.figure.data[figure.FIRST_AREA :]
    assert view.figure is before
    assert len(areas) == n_regimes
    np.testing.assert_allclose(areas[-1].y, 1.0)
    assert max(view.figure.data[figure.BACKGROUND].z[0]) == n_regimes - 1


def test_figure_is_drawn_by_one_message_of_typed_arrays() -> None:
    view, sent = MonitorView(), []
    picture = picture_of(*market_of())
    view.figure.observe(lambda change: sent.append(change["new"]), "_py2js_update")
    draw(view, picture)
    (message,) = [each for each in sent if each is not None]
    place = message["style_traces"].index(figure.BARS)
    arrays = [message["style_data"][name][place] for name in ("x", "open", "high", "low", "close")]
    assert [(type(array), array.dtype, len(array)) for array in arrays] == [
        (np.ndarray, np.dtype(float), 40)
    ] * 5


def test_trade_is_inked_and_leaves_the_figure_alone() -> None:
    state, view, sent = state_of(*market_of(), trade(40, 101.0)), MonitorView(), []
    draw(view, state.picture(START))
    view.figure.observe(lambda change: sent.append(change["new"]), "_py2js_update")
    state.update(trade(40, 100.5, START + 1))
    draw(view, state.picture(START))
    assert sent == []
    assert view.tiles.data["ink"]["forming"][-1] == 100.5
    assert len(view.figure.data[figure.BARS].close) == 40


def test_trade_beyond_the_axes_has_the_figure_drawn_so_that_it_is_seen() -> None:
    state, view = state_of(*market_of(), trade(40, 101.0)), MonitorView()
    draw(view, state.picture(START))
    state.update(trade(40, 250.0, START + 1))
    assert view.is_behind(scene_of(state.picture(START)))
    draw(view, state.picture(START))
    assert view.figure.layout.yaxis.range[1] > 250
    assert not view.is_behind(scene_of(state.picture(START)))


def test_closed_bar_is_inked_before_the_figure_has_caught_up() -> None:
    state, view = state_of(*market_of()), MonitorView()
    draw(view, state.picture(START))
    state.update(make_scored(40, 2))
    scene = scene_of(state.picture(START))
    view.draw(scene)
    ink = view.tiles.data["ink"]
    assert ink["t"][-1] * 1_000 == START + 40 * MINUTE
    assert ink["regimes"][-1] == 2
    assert ink["probs"][-1][-1] == pytest.approx(1.0)
    assert view.is_behind(scene)
    assert view.can_wait(scene)


def test_figure_cannot_wait_for_what_ink_does_not_show() -> None:
    state, view = state_of(*market_of(), trade(40, 101.0)), MonitorView()
    assert not view.can_wait(scene_of(state.picture(START)))
    draw(view, state.picture(START))
    assert view.can_wait(scene_of(state.picture(START)))
    assert not view.can_wait(scene_of(state.picture(START), wanted="price_momentum"))
    assert not view.can_wait(scene_of(state.picture(START), n_shown=20))
    state.update(trade(90, 101.0, START + 1))  # right of the time axis
    assert not view.can_wait(scene_of(state.picture(START)))


def test_figure_waits_for_a_lull_while_trades_come(watched: Any) -> None:
    monitor, session = watched(*market_of())
    monitor.close()
    painter = monitor._painter
    painter._scene = scene_of(session.state.picture(START))
    painter._view.catch_up(painter._scene)
    session.state.update(make_scored(40, 2))
    painter._scene = scene_of(session.state.picture(START))
    now = time.monotonic()
    assert not painter._is_time(now - 1, is_news=True)
    assert painter._is_time(now - 1, is_news=False)
    assert not painter._is_time(now + 1, is_news=False)
    assert painter._is_time(now - 60, is_news=True)


def test_ink_is_plain_json_with_none_for_the_unknown() -> None:
    picture = picture_of(*[Scored(make_bar(k)) for k in range(3)], make_model())
    ink = json.loads(json.dumps(ink_of(picture, "range", 0, MINUTE), allow_nan=False))
    assert ink["scores"] == [None] * 3
    assert ink["regimes"] == [-1] * 3
    assert ink["forming"] is None


def test_ink_begins_where_it_is_told_to_and_is_bounded() -> None:
    picture = picture_of(*market_of(400))
    assert len(ink_of(picture, "range", 0, MINUTE)["t"]) == 64
    since = int(picture.times[-3])
    assert [t * 1_000 for t in ink_of(picture, "range", since, MINUTE)["t"]] == [
        since,
        since + MINUTE,
        since + 2 * MINUTE,
    ]


def test_nothing_new_sends_no_figure() -> None:
    view, sent = MonitorView(), []
    picture = picture_of(*market_of())
    draw(view, picture)
    view.figure.observe(lambda change: sent.append(change["new"]), "_py2js_update")
    draw(view, picture)
    assert sent == []


def test_missing_bar_leaves_its_background_blank() -> None:
    picture = picture_of(make_model(), make_scored(0, 1), make_scored(1, 1), make_scored(4, 1))
    background = figure.of_bars(picture, "range", MINUTE)[figure.BACKGROUND]
    assert background["z"][0] == [1.0, None, 1.0]
    minutes = (background["x"] * 1_000 - START) / MINUTE
    assert minutes.tolist() == [-0.5, 1.5, 3.5, 4.5]


def test_partial_repaired_and_anomalous_bars_and_new_bundles_are_marked() -> None:
    changes = figure.of_bars(
        picture_of(*market_of(), make_model(since=START + 40 * MINUTE)), "range", MINUTE
    )
    at = {name: changes[name]["x"] * 1_000 for name in (figure.PARTIALS, figure.REPAIRS)}
    assert at[figure.PARTIALS].tolist() == [START + 10 * MINUTE]
    assert at[figure.REPAIRS].tolist() == [START + 20 * MINUTE]
    assert changes[figure.FLAGGED]["y"].tolist() == [0.8]
    assert changes[figure.SWAPS]["x"].tolist() == [(START + 40 * MINUTE) / 1_000] * 3


def test_axes_show_as_many_bars_as_wanted_and_all_their_prices() -> None:
    spans = figure.ranges(picture_of(*market_of(), trade(40, 250.0)), "range", 10, MINUTE)
    first, last = (np.array(spans["xaxis"]) * 1_000 - START) / MINUTE
    assert (first, last) == (29, 43)
    assert spans["yaxis"][0] < 98
    assert spans["yaxis"][1] > 250


def test_zoom_of_the_user_is_kept_until_follow_is_asked_for() -> None:
    state, view = state_of(*market_of()), MonitorView()
    draw(view, state.picture(START))
    zoom = ["2023-11-14 22:20:00", "2023-11-14 22:25:00"]
    relayout = {"xaxis.range[0]": zoom[0], "xaxis.range[1]": zoom[1]}
    view.figure._js2py_relayout = {"relayout_data": relayout, "source_view_id": "x"}
    assert not view.follows
    state.update(make_scored(40))
    draw(view, state.picture(START))
    assert list(view.figure.layout.xaxis.range) == zoom
    view.follow()
    draw(view, state.picture(START))
    assert list(view.figure.layout.xaxis.range) != zoom


def test_frozen_ink_stays_while_tiles_and_data_go_on() -> None:
    state, view = state_of(*market_of(), trade(40, 101.0)), MonitorView()
    draw(view, state.picture(START))
    state.update(trade(40, 100.5, START + 1))
    view.draw(scene_of(state.picture(START)), frozen=True)
    assert view.tiles.data["ink"]["forming"][-1] == 101.0
    assert view.tiles.data["tiles"][3]["value"] == "100.5"
    assert view.tiles.data["banner"].startswith("Paused")
    draw(view, state.picture(START))
    assert view.tiles.data["ink"]["forming"][-1] == 100.5


def test_browser_that_comes_later_begins_with_what_is_shown_now() -> None:
    view = MonitorView()
    draw(view, picture_of(*market_of()))
    state = view.figure.get_state()
    background, bars = (state["_widget_data"][k] for k in (figure.BACKGROUND, figure.BARS))
    assert list(background["z"][0]) == [0.0, 1.0, 2.0, 0.0, 2.0]
    assert bars["close"]["shape"] == (40,)
    assert state["_widget_layout"]["meta"] == view.frame


def test_front_end_is_plotlys_with_our_lines_behind_it() -> None:
    theirs = str(go.FigureWidget._esm)
    ours = LiveFigure()._plotly
    assert ours.startswith(theirs)
    assert "FigureView.prototype._sendTraceDeltas = silent" in ours
    with pytest.raises(MicrostreamError, match="found no export"):
        mended("export { a as View };", "")


def test_second_monitor_takes_over_the_one_figure(watched: Any) -> None:
    first, session = watched(*market_of())
    second, _ = watched(*market_of())
    assert second.view.figure is first.view.figure
    assert isinstance(second.view.figure, go.FigureWidget)
    assert second.view.controls.children == second.controls.children
    assert session.listeners == []


def test_monitor_after_one_that_was_taken_off_the_screen_has_a_figure_of_its_own(
    watched: Any,
) -> None:
    first, _ = watched(*market_of())
    first.view.close()
    second, _ = watched(*market_of())
    assert second.view.figure is not first.view.figure
    assert second.view.figure.comm is not None


def test_view_that_is_told_all_hears_numbers_that_have_not_changed() -> None:
    view, sent = MonitorView(), []
    picture = picture_of(*market_of())
    draw(view, picture)
    view.figure.observe(lambda change: sent.append(change["new"]), "_py2js_update")
    view.forget()
    draw(view, picture)
    messages = [each for each in sent if each is not None]
    assert len(messages[-1]["style_data"]["close"][figure.BARS]) == 40
    assert messages[-1]["layout_data"]["yaxis"]["range"]
    to_json = view.figure.trait_metadata("_py2js_update", "to_json")
    assert "_undefined_" in json.dumps(to_json(messages[-1], view.figure), default=str)


def test_watchlist_has_a_row_a_session_and_shows_the_one_that_is_clicked(watched: Any) -> None:
    other = FakeSession(*market_of(n_regimes=2), Stale("ETHUSDT", START, START + 1))
    other.title = "ETHUSDT 1m (spot)"
    monitor, first = watched(*market_of(), more=[other])
    settle(monitor)
    listed = monitor.view.watchlist.data
    assert [row["cells"][0] for row in listed["rows"]] == [first.title, other.title]
    assert [row["alarm"] for row in listed["rows"]] == [False, True]
    assert listed["rows"][0]["color"] == theme.regime_styles(3)[2][1]
    monitor.view.watchlist._receive(None, {"kind": "picked", "place": 1}, None)
    assert monitor.session is other
    assert not first.stopped
    settle(monitor)
    assert len(monitor.view.figure.data) == figure.FIRST_AREA + 2


def test_row_of_a_session_without_anything_is_dashes() -> None:
    (row,) = watchlist_rows([("BTCUSDT 1m (spot)", MonitorState("1m", 5).picture(START))], START)
    assert row["cells"] == ["BTCUSDT 1m (spot)", *["\u2013"] * 5, "0.0 trades/s"]


def test_next_frame_waits_for_the_browser(watched: Any) -> None:
    monitor, session = watched(*market_of())
    settle(monitor)
    session.update(trade(40, 100.0, START))
    until(lambda: monitor.view.tiles.data["ink"]["forming"])
    waiting = monitor.view.frame
    for k in range(50):
        session.update(trade(40, 100.0 - k / 100, START + k))
    assert monitor.view.frame == waiting
    paint(monitor)
    until(lambda: monitor.view.frame == waiting + 1)
    assert monitor.view.tiles.data["ink"]["forming"][-1] == 99.51


def test_words_come_before_the_figure_that_follows_when_they_are_painted(watched: Any) -> None:
    monitor, _ = watched(*market_of())
    until(lambda: monitor.view.frame == 1)
    assert monitor.view.tiles.data["tiles"]
    assert monitor.view.figure.layout.meta == 0
    paint(monitor)
    until(lambda: monitor.view.figure.layout.meta == 2)


def test_latency_is_from_the_trade_to_the_painted_frame_and_once_a_trade(watched: Any) -> None:
    monitor, session = watched(*market_of(), trade(40, 101.0))
    until(lambda: monitor.view.frame > 0)
    paint(monitor, START + 50_000)
    assert session.latencies == [50_000]
    first = monitor.view.frame
    until(lambda: monitor.view.frame > first)
    paint(monitor, START + 900_000)
    assert session.latencies == [50_000]
    assert [frame.latency_us for frame in monitor.frames] == [50_000, 900_000]


def test_late_word_of_an_earlier_frame_is_ignored(watched: Any) -> None:
    monitor, session = watched(*market_of(), trade(40, 101.0))
    until(lambda: monitor.view.frame > 0)
    monitor._painter.note_painted(monitor.view.frame - 1, float(START + 50_000))
    assert session.latencies == []


def test_frames_are_at_most_ten_a_second_however_fast_the_browser(watched: Any) -> None:
    monitor, session = watched(*market_of())
    settle(monitor)
    first, ended = monitor.view.frame, threading.Event()
    timer = threading.Timer(1.0, ended.set)
    timer.start()
    n = 0
    while not ended.is_set():
        n += 1
        session.update(trade(40, 100.0 + n / 1e6, START + n))
        paint(monitor)
        ended.wait(0.002)
    assert 3 <= monitor.view.frame - first <= 11


def test_page_that_has_just_opened_is_told_everything_anew(watched: Any) -> None:
    monitor, _ = watched(*market_of())
    settle(monitor)
    before = monitor.view.figure.layout.meta
    monitor.view.tiles._receive(None, {"kind": "shown"}, None)
    until(lambda: (paint(monitor), monitor.view.figure.layout.meta > before)[1])


def test_alert_is_shown_and_called_once_when_its_rule_becomes_true(watched: Any) -> None:
    called: list[str] = []
    monitor, session = watched(*market_of(), on_alert=lambda alert: called.append(alert.text))
    settle(monitor)
    session.update(Stale("BTCUSDT", START, START + 1))
    until(lambda: (paint(monitor), monitor.view.tiles.data["toasts"])[1])
    paint(monitor)
    assert called == ["the feed is stale"]
    assert [toast["text"] for toast in monitor.view.tiles.data["toasts"]] == called


def test_rules_speak_when_they_become_true_again() -> None:
    book = AlertBook([RegimeEntered(), AnomalyStreak(2), FeedStale()])
    calm, crisis = make_scored(0, 0), make_scored(1, 2, is_anomaly=True)
    streak = make_scored(2, 2, is_anomaly=True)
    told = [
        [alert.text for alert in book.update(picture_of(make_model(), *scored))]
        for scored in ([calm], [calm, crisis], [calm, crisis, streak], [calm], [calm, crisis])
    ]
    worst = f"regime: {theme.regime_styles(3)[2][0]}"
    assert told == [[], [worst], ["2 anomalous bars in a row"], [], [worst]]


def test_tiles_name_regime_since_when_probability_anomaly_and_price() -> None:
    picture = picture_of(*market_of(), trade(40, 101.25, START + 40 * MINUTE))
    regime, probability, anomaly, price = tile_data(picture, MINUTE, START, "BTCUSDT 1m (spot)")
    assert (regime["value"], regime["color"]) == theme.regime_styles(3)[2]
    assert regime["detail"] == "since 22:45 UTC, 9 min"
    assert probability["value"] == "90.0%"
    assert (anomaly["value"], anomaly["alarm"]) == ("0.400", False)
    assert (price["label"], price["value"]) == ("BTCUSDT 1m (spot)", "101.25")
    assert price["detail"] == "22:54:00"


@pytest.mark.parametrize(
    ("spread", "told"), [(0.012, "1.2 bp"), (0.0001, "0.01 bp"), (0.00009, "<0.01 bp")]
)
def test_spread_is_told_beside_the_price_where_it_is_known(spread: float, told: str) -> None:
    ticks = msgspec.structs.replace(trade(40, 100.0, START), spread=spread)
    price = tile_data(picture_of(*market_of(), ticks), MINUTE, START, "x")[3]
    assert price["detail"].startswith(f"spread {told}, ")


def test_tiles_of_nothing_are_dashes() -> None:
    picture = MonitorState("1m", 5).picture(START)
    assert {tile["value"] for tile in tile_data(picture, MINUTE, START, "x")} == {"\u2013"}
    assert event_rows(picture) == []


def test_feed_is_not_called_live_before_its_first_trade() -> None:
    picture = picture_of(make_model(), Link(0, 0, START))
    assert health_items(picture, START)[0]["value"] == "no trade yet"


def test_stale_feed_and_open_gaps_are_alarms() -> None:
    picture = picture_of(make_model(), Stale("BTCUSDT", START, START + 1))
    items = {item["label"]: item for item in health_items(picture, START + 5_000_000)}
    assert (items["feed"]["value"], items["feed"]["alarm"]) == ("stale for 5 s", True)
    price = tile_data(picture, MINUTE, START + 5_000_000, "x")[3]
    assert (price["detail"], price["alarm"]) == ("stale for 5 s", True)
    assert items["bundle"]["value"] == "v0001"


def test_drift_is_a_health_item_and_an_alarm_once_it_is_beyond_any_day_of_the_training() -> None:
    def item(*tidings: Tiding) -> tuple[str, bool]:
        items = health_items(picture_of(make_model(), *tidings), START)
        (found,) = (item for item in items if item["label"] == "drift")
        return found["value"], found.get("alarm", False)

    assert item() == ("\u2013", False)
    assert item(Drift(START, 0.5, 360, 1440, (), "")) == ("25% of the bars it needs", False)
    assert item(Drift(START, 0.5, 1440, 1440, (), "")) == ("none", False)
    alarm = Drift(START, 0.5, 1440, 1440, ("range", "regimes"), "unlike")
    assert item(alarm) == ("range and 1 more", True)
    assert event_rows(picture_of(make_model(), alarm))[0]["text"] == "drift: unlike"


def test_snapshot_is_a_page_that_fetches_nothing(watched: Any, tmp_path: Path) -> None:
    monitor, _ = watched(*market_of(), trade(40, 101.0))
    page = monitor.snapshot(tmp_path / "monitor.html")
    assert (tmp_path / "monitor.html").read_text("utf-8") == page
    assert "Plotly.newPlot" in page
    assert theme.regime_styles(3)[2][0] in page
    assert '"name":"forming"' in page
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=", page)


def test_layout_of_a_scene_shows_all_of_it_before_any_browser_has_drawn() -> None:
    view, scene = MonitorView(), scene_of(picture_of(*market_of(), trade(40, 250.0)))
    assert view.layout_of(scene)["yaxis"]["range"][1] > 250
    assert view.layout_of(scene)["annotations"][0]["text"] == "range"
    assert view.figure.layout.yaxis.range is None


def test_watching_another_series_stops_the_first(watched: Any) -> None:
    monitor, session = watched(*market_of())
    other = FakeSession(*market_of(n_regimes=4))
    monitor.watch(other)  # type: ignore[arg-type]
    assert session.stopped
    settle(monitor)
    until(lambda: len(monitor.view.figure.data) == figure.FIRST_AREA + 4)


def test_another_session_keeps_the_options_but_not_a_bundle_of_another_series() -> None:
    first = LiveSession("BTCUSDT", bundle="v0007", window=77, store=False, settings=Settings.load())
    assert first.another("BTCUSDT", "1m", "local")._options.bundle == "v0007"
    other = first.another("ethusdt", "1m", "auto")
    assert (other.series[1], other.window, other._options.stores) == ("ETHUSDT", 77, False)
    assert other._options.bundle is None
    assert first.another("BTCUSDT", "1m", "replay", speed=60.0).speed == 60.0
