"""What a worker makes of one series: duplicates, repairs, late bars, and being rebuilt."""

from __future__ import annotations

import random

import pytest
from factories import make_bars
from msgspec.structs import replace

from microstream_lab.bundle import ModelBundle
from microstream_lab.engine import Engine
from microstream_lab.live.lineage import Lineage
from microstream_lab.schema import Bar, Signal, iter_bars
from microstream_lab.training import train_bundle

BARS = list(iter_bars(make_bars(120, 3)))


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return train_bundle(make_bars(1_500, 77), feature_set="seed", n_starts=1)


def signals_of(lineage: Lineage, bars: list[Bar]) -> list[Signal]:
    return [signal for bar in bars for signal in lineage.update(bar)]


def same(found: list[Signal], wanted: list[Signal]) -> bool:
    return [repr(signal) for signal in found] == [repr(signal) for signal in wanted]


def repaired(bar: Bar, revision: int = 1) -> Bar:
    return replace(bar, volume=bar.volume * 3, quality="repaired", revision=revision)


def test_bars_in_order_give_the_signals_of_an_engine(bundle: ModelBundle) -> None:
    engine = Engine(bundle)
    assert same(signals_of(Lineage(bundle), BARS), [engine.update(bar) for bar in BARS])


@pytest.mark.parametrize("seed", range(5))
def test_bars_that_come_again_say_nothing_and_change_nothing(
    bundle: ModelBundle, seed: int
) -> None:
    again = random.Random(seed).choices(BARS[:40], k=60)
    once, twice = Lineage(bundle), Lineage(bundle)
    wanted, found = signals_of(once, BARS[:60]), signals_of(twice, BARS[:40])
    assert signals_of(twice, again) == []
    assert twice.n_doubled == len(again)
    assert same(found + signals_of(twice, BARS[40:60]), wanted)


def test_a_repaired_bar_speaks_again_with_those_after_it_under_the_next_revision(
    bundle: ModelBundle,
) -> None:
    lineage = Lineage(bundle)
    first = signals_of(lineage, BARS[:80])
    again = lineage.update(repaired(BARS[70]))
    engine = Engine(bundle)
    mended = [engine.update(bar) for bar in [*BARS[:70], repaired(BARS[70]), *BARS[71:80]]]
    assert {signal.revision for signal in first} == {0}
    assert same(again, [replace(signal, revision=1) for signal in mended[70:]])
    assert same(lineage.update(BARS[80]), [engine.update(BARS[80])])
    twice = lineage.update(repaired(BARS[75], 2))
    assert [signal.revision for signal in twice] == [2, 2, 2, 2, 2, 1]


def test_a_repair_that_comes_again_says_nothing(bundle: ModelBundle) -> None:
    lineage = Lineage(bundle)
    signals_of(lineage, BARS[:50])
    assert lineage.update(repaired(BARS[40]))
    assert lineage.update(repaired(BARS[40])) == []
    assert lineage.update(BARS[40]) == []


def test_a_bar_that_was_missing_is_new_and_those_after_it_speak_again(bundle: ModelBundle) -> None:
    lineage = Lineage(bundle)
    signals_of(lineage, [*BARS[:30], *BARS[31:40]])
    found = lineage.update(BARS[30])
    engine = Engine(bundle)
    wanted = [engine.update(bar) for bar in BARS[:40]][30:]
    assert [signal.revision for signal in found] == [0] + [1] * 9
    assert [signal.filtered_probs for signal in found] == [s.filtered_probs for s in wanted]


def test_a_repair_of_a_bar_that_is_not_kept_is_counted(bundle: ModelBundle) -> None:
    lineage = Lineage(bundle, keep=20)
    signals_of(lineage, BARS)
    assert lineage.update(repaired(BARS[10])) == []
    assert lineage.n_too_late == 1


def test_whoever_takes_over_says_what_the_first_would_have_said(bundle: ModelBundle) -> None:
    rng = random.Random(5)
    messages = list(BARS)
    for place in rng.sample(range(20, 110), 12):
        messages.insert(rng.randrange(place + 1, len(messages)), repaired(BARS[place]))
        messages.insert(rng.randrange(place + 1, len(messages)), BARS[place])
    first = Lineage(bundle, keep=50)
    for taken_over in range(0, len(messages), 17):
        second = Lineage(bundle, keep=50)
        signals_of(second, messages[:taken_over])
        rest = messages[taken_over : taken_over + 17]
        assert same(signals_of(second, rest), signals_of(first, rest))
