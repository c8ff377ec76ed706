"""Stored history on a real broker: each bar as it is stored, scored once however often sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from broker import Broker
from bus import bus_settings, put_bundles, read_bars, read_signals, single_process, worker_in_thread
from factories import make_bars
from msgspec.structs import replace

from microstream_lab.bus.publisher import BarPublisher
from microstream_lab.cli import main
from microstream_lab.live.backlog import publish_stored
from microstream_lab.schema import Bar, iter_bars
from microstream_lab.settings import Settings
from microstream_lab.store import Store

pytestmark = pytest.mark.kafka
SERIES = ("spot", "BTCUSDT", "1m")


def stored(settings: Settings, n: int) -> list[Bar]:
    """Bars of the user's store, one of them repaired."""
    bars = list(iter_bars(make_bars(n)))
    repaired = replace(bars[7], trades=bars[7].trades + 1, quality="repaired")
    store = Store(settings.store_path)
    for written in (bars, [repaired]):
        store.write_live(written, [], [])
    bars[7] = replace(repaired, revision=1)
    return bars


def test_the_command_publishes_what_is_stored_and_tells_how_many(
    broker: Broker | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = bus_settings(broker, tmp_path)
    bars = stored(settings, 60)
    for name in (
        "bootstrap_servers",
        "raw_bars_topic",
        "regime_signals_topic",
        "dead_letters_topic",
    ):
        monkeypatch.setenv(f"KAFKA_{name.upper()}", getattr(settings, f"kafka_{name}"))
    monkeypatch.setenv("MICROSTREAM_HOME", str(tmp_path))
    words = ["store", "publish", "btcusdt", "ethusdt", "--interval", "1m", "--market", "spot"]
    with pytest.raises(SystemExit, match="0"):
        main(words)
    assert read_bars(settings, len(bars)) == bars
    told = capsys.readouterr().out
    assert "spot BTCUSDT 1m: 60 bars published" in told
    assert "spot ETHUSDT 1m: 0 bars published; none is stored" in told


def test_history_sent_twice_is_scored_once_and_live_bars_go_on_from_it(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings = bus_settings(broker, tmp_path)
    bundle, bars = put_bundles(settings, [SERIES[1]]), stored(settings, 120)
    store = Store(settings.store_path)
    assert list(publish_stored(store, settings, SERIES, end=bars[50].open_time)) == [50]
    assert list(publish_stored(store, settings, SERIES, end=bars[100].open_time)) == [100]
    BarPublisher(settings).publish(bars[100:])
    with worker_in_thread(settings):
        found = read_signals(settings, len(bars))
    assert [repr(each) for each in found] == [
        repr(each) for each in single_process(bundle, bars).values()
    ]
