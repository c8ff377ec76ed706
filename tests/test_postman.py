"""What a recorder stores arrives on the bus, also what was stored while the broker was away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import chaos
import pytest
from broker import Broker, free_ports
from bus import bus_settings, read_bars
from cut import Proxy
from exchange_client import run_async
from factories import make_bars
from msgspec.structs import replace
from sweeps import until

from microstream_lab.bus import connection
from microstream_lab.live import postman as postman_module
from microstream_lab.live.postman import Postman
from microstream_lab.live.recorder import Recorder
from microstream_lab.market.exchange import LocalExchange
from microstream_lab.schema import iter_bars
from microstream_lab.settings import Settings
from microstream_lab.store import Store

pytestmark = pytest.mark.kafka
BARS = list(iter_bars(make_bars(40)))
SERIES = (["BTCUSDT"], "1m", "spot")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try is given up sooner than on the way to another machine."""
    monkeypatch.setattr(postman_module, "_ATTEMPT_S", 2.0)
    monkeypatch.setattr(connection, "_ANSWER_S", 1.5)


def test_bars_stored_while_the_broker_is_away_arrive_once_it_is_back(
    own_broker: Broker, tmp_path: Path
) -> None:
    settings = bus_settings(own_broker, tmp_path, kafka_bootstrap_servers=own_broker.cut_address)
    store = Store(tmp_path / "store.duckdb")
    postman = Postman(store, settings, *SERIES)
    with Proxy(own_broker.ports["proxy"], own_broker.ports["cut"]) as network:
        store.write_live(BARS[:10], [], [], publish=True)
        postman.start()
        until(lambda: postman.n_published == 10)
        network.cut()
        repaired = replace(BARS[5], trades=BARS[5].trades + 1, quality="repaired")
        store.write_live([*BARS[10:], repaired], [], [], publish=True)
        postman.wake()
        until(lambda: postman.problem)
        network.mend()
        until(lambda: not store.n_in_outbox(*SERIES))
        postman.stop()
        found = dict.fromkeys(read_bars(settings, len(BARS) + 1))
    again = [bar for bar in found if bar.revision]
    assert [bar for bar in found if not bar.revision] == BARS
    assert again == [replace(repaired, revision=1)]
    assert postman.problem == ""


def test_what_was_not_sent_by_one_process_is_sent_by_the_next(
    broker: Broker | None, tmp_path: Path
) -> None:
    settings, store = bus_settings(broker, tmp_path), Store(tmp_path / "store.duckdb")
    store.write_live(BARS, [], [], publish=True)
    away = f"127.0.0.1:{free_ports(1)[0]}"
    first = Postman(
        store, Settings(microstream_home=tmp_path, kafka_bootstrap_servers=away), *SERIES
    )
    first.start()
    until(lambda: "nobody listening" in first.problem)
    first.stop()
    second = Postman(store, settings, *SERIES)
    second.start()
    until(lambda: second.n_published == len(BARS))
    second.stop()
    assert read_bars(settings, len(BARS)) == BARS


def test_a_recorder_publishes_what_it_stores(broker: Broker | None, tmp_path: Path) -> None:
    settings, store = bus_settings(broker, tmp_path), Store(tmp_path / "store.duckdb")

    @run_async
    async def record() -> None:
        trades = chaos.make_market(3_000, 12)
        async with LocalExchange(trades, None) as exchange:
            postman = Postman(store, settings, chaos.SYMBOLS, "1m", "sim")
            recorder = Recorder(
                *(chaos.SYMBOLS, "1m", "sim", store, None, chaos.settings_for(exchange)),
                chaos.QUICK,
                postman=postman,
            )
            running = asyncio.create_task(recorder.run())
            await exchange.finished()
            while not running.done() and postman.n_published < 2 * len(chaos.SYMBOLS):
                await asyncio.sleep(0.02)
            recorder.stop()
            await running
            assert recorder.status().published == postman.n_published

    record()
    assert store.n_in_outbox(chaos.SYMBOLS, "1m", "sim") == 0
    stored = {
        (bar.symbol, bar.open_time): bar.close
        for symbol in chaos.SYMBOLS
        for bar in iter_bars(store.bars(symbol, "1m", market="sim"))
    }
    found = read_bars(settings, len(stored))
    assert len(stored) > 10
    assert {(bar.symbol, bar.open_time): bar.close for bar in found} == stored
