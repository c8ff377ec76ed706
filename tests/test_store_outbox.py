"""The outbox: what is stored to be published stays on it until it has arrived."""

from __future__ import annotations

import pytest
from factories import make_bars
from msgspec.structs import replace

from microstream_lab.schema import Bar, iter_bars
from microstream_lab.store import Store

BARS = list(iter_bars(make_bars(6)))


def waiting(store: Store, *symbols: str) -> list[Bar]:
    return [each.bar for each in store.outbox(symbols or ("BTCUSDT",), "1m")]


def test_bars_wait_in_the_order_in_which_they_were_stored(store: Store) -> None:
    store.write_live(BARS[:3], [], [], publish=True)
    store.write_live(BARS[3:], [], [], publish=True)
    assert waiting(store) == BARS
    assert store.n_in_outbox(["BTCUSDT"], "1m") == len(BARS)


def test_bars_that_are_not_to_be_published_do_not_wait(store: Store) -> None:
    store.write_live(BARS, [], [])
    store.write_bars(make_bars(3, symbol="ETHUSDT"))
    assert waiting(store, "BTCUSDT", "ETHUSDT") == []


def test_what_has_arrived_is_struck_off_and_the_rest_stays(store: Store) -> None:
    store.write_live(BARS, [], [], publish=True)
    store.strike_off(store.outbox(["BTCUSDT"], "1m", most=4))
    assert waiting(store) == BARS[4:]


def test_a_repaired_bar_waits_again_under_the_next_revision(store: Store) -> None:
    store.write_live(BARS, [], [], publish=True)
    store.strike_off(store.outbox(["BTCUSDT"], "1m"))
    repaired = replace(BARS[2], trades=BARS[2].trades + 1, quality="repaired")
    store.write_live([repaired], [], [], publish=True)
    assert waiting(store) == [replace(repaired, revision=1)]


def test_a_bar_repaired_while_it_was_being_sent_still_waits(store: Store) -> None:
    store.write_live(BARS[:1], [], [], publish=True)
    on_its_way = store.outbox(["BTCUSDT"], "1m")
    repaired = replace(BARS[0], trades=BARS[0].trades + 1, quality="repaired")
    store.write_live([repaired], [], [], publish=True)
    store.strike_off(on_its_way)
    assert waiting(store) == [replace(repaired, revision=1)]


def test_each_recorder_sees_its_own_series(store: Store) -> None:
    other = list(iter_bars(make_bars(3, symbol="ETHUSDT")))
    store.write_live([*BARS, *other], [], [], publish=True)
    store.strike_off(store.outbox(["BTCUSDT"], "1m"))
    assert waiting(store, "ETHUSDT") == other
    assert store.outbox(["ETHUSDT"], "5m") == []


def test_a_batch_that_fails_leaves_nothing_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microstream_lab.store import journal

    def fails(*_: object) -> None:
        raise RuntimeError("power cut")

    store.write_live(BARS[:1], [], [], publish=True)
    monkeypatch.setattr(journal, "write_watermarks", fails)
    with pytest.raises(RuntimeError):
        store.write_live(BARS[1:], [], [], publish=True)
    assert waiting(store) == BARS[:1]


def test_pages_are_the_stored_bars_in_order_under_their_revisions(store: Store) -> None:
    repaired = replace(BARS[2], trades=BARS[2].trades + 1, quality="repaired")
    for written in (BARS, [repaired], make_bars(3, symbol="ETHUSDT")):
        store.write_bars(written)
    wanted = [*BARS[:2], replace(repaired, revision=1), *BARS[3:]]
    assert list(store.pages("BTCUSDT", "1m", most=4)) == [wanted[:4], wanted[4:]]
    begin, end = BARS[1].open_time, BARS[4].open_time
    assert list(store.pages("BTCUSDT", "1m", begin, end)) == [wanted[1:4]]


def test_a_store_without_bars_has_no_pages(store: Store) -> None:
    assert list(store.pages("BTCUSDT", "1m")) == []
