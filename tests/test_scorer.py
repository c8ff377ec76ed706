"""Bars to signals in a session: the same as the engine's, repairs and new bundles included."""

from __future__ import annotations

import pytest
from factories import make_bars
from msgspec.structs import replace

from microstream_lab.bundle import ModelBundle
from microstream_lab.engine import Engine
from microstream_lab.live.scorer import Scorer
from microstream_lab.live.tidings import Scored
from microstream_lab.schema import Bar, Signal, iter_bars
from microstream_lab.training import train_bundle


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return train_bundle(make_bars(400), n_starts=1)


@pytest.fixture(scope="module")
def bars() -> list[Bar]:
    return list(iter_bars(make_bars(120, seed=1)))


def engine_says(bundle: ModelBundle, bars: list[Bar]) -> list[Signal]:
    engine = Engine(bundle)
    return [engine.update(bar) for bar in bars]


def same(found: list[Signal | None], expected: list[Signal]) -> bool:
    return [repr(each) for each in found] == [repr(each) for each in expected]


def test_bars_are_scored_as_the_engine_scores_them(bundle: ModelBundle, bars: list[Bar]) -> None:
    scorer = Scorer(keep=500)
    scorer.swap(bundle)
    scored = [each for bar in bars for each in scorer.update(bar)]
    assert same([each.signal for each in scored], engine_says(bundle, bars))


def test_repaired_bar_and_those_after_it_are_scored_once_more(
    bundle: ModelBundle, bars: list[Bar]
) -> None:
    scorer = Scorer(keep=500)
    scorer.swap(bundle)
    for bar in bars:
        scorer.update(bar)
    repaired = replace(bars[100], close=bars[100].high, quality="repaired", revision=1)
    again = scorer.update(repaired)
    expected = engine_says(bundle, [*bars[:100], repaired, *bars[101:]])
    assert same([each.signal for each in again], expected[100:])
    assert again[0].bar == repaired


def test_new_bundle_is_warmed_on_the_kept_bars(bundle: ModelBundle, bars: list[Bar]) -> None:
    scorer = Scorer(keep=500)
    scorer.fill(bars[:-1])
    scorer.swap(bundle)
    (last,) = scorer.update(bars[-1])
    assert same([last.signal], engine_says(bundle, bars)[-1:])


def test_without_a_bundle_bars_pass_unscored(bars: list[Bar]) -> None:
    assert [each.signal for each in Scorer(5).update(bars[0])] == [None]


def test_scorer_keeps_no_more_than_it_was_told_and_says_nothing_of_what_is_older(
    bundle: ModelBundle, bars: list[Bar]
) -> None:
    scorer = Scorer(keep=10)
    scorer.fill(bars)
    scorer.swap(bundle)
    assert scorer.bars == bars[-10:]
    assert scorer.update(bars[5]) == [Scored(bars[5])]
    assert scorer.bars == bars[-10:]
