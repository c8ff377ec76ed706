"""The gate: what it lets pass, holds and rejects, on simulated and on real minutes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_soundness import shuffled

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import DataError, LookAheadError
from microstream_lab.market.files import read_klines
from microstream_lab.market.simulate import simulate_market
from microstream_lab.research.gate import judge
from microstream_lab.research.verdict import GateRules, Verdict
from microstream_lab.training import train_bundle

DAY = 1440
WINDOW = 3 * DAY
RULES = GateRules(n_resamples=200)


def train(bars: pd.DataFrame, **options: object) -> ModelBundle:
    """A bundle of all bars but the window's, and an hour less."""
    return train_bundle(bars.iloc[: -WINDOW - 60], n_jobs=1, **options)  # type: ignore[arg-type]


def judged(challenger: ModelBundle, champion: ModelBundle | None, bars: pd.DataFrame) -> Verdict:
    return judge(challenger, champion, bars, bars.index[-WINDOW], RULES, "v0007")


def answers(verdict: Verdict) -> dict[str, str]:
    """The checks that did not pass."""
    return {check.name: check.answer for check in verdict.checks if check.answer != "pass"}


@pytest.fixture(scope="module")
def market() -> pd.DataFrame:
    return simulate_market("2024-02-01", 10 * DAY, seed=1).bars


@pytest.fixture(scope="module")
def champion(market: pd.DataFrame) -> ModelBundle:
    """The same regimes with another forest."""
    return train(market, seed=1)


@pytest.fixture(scope="module")
def challenger(market: pd.DataFrame) -> ModelBundle:
    return train(market)


def test_a_sound_challenger_as_good_as_the_champion_is_promoted(
    market: pd.DataFrame, champion: ModelBundle, challenger: ModelBundle
) -> None:
    verdict = judged(challenger, champion, market)
    assert (verdict.decision, answers(verdict)) == ("promote", {})
    assert verdict.reasons == ("fit to be used, beside v0007",)
    assert (verdict.figures["low"].dropna() <= verdict.figures["high"].dropna()).all()


def test_the_verdict_is_the_same_each_time_and_can_be_written_as_json(
    market: pd.DataFrame, champion: ModelBundle, challenger: ModelBundle
) -> None:
    first, second = (judged(challenger, champion, market).describe() for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(second, allow_nan=False)
    assert first["champion"] == "v0007"
    assert first["rules"]["min_coverage"] == 0.97


@pytest.mark.parametrize("day", ["2024-02-03", "2024-02-09"], ids=["trained on", "in the window"])
def test_a_day_of_shuffled_prices_is_rejected(
    market: pd.DataFrame, champion: ModelBundle, day: str
) -> None:
    bars = shuffled(market, day)
    verdict = judged(train(bars), champion, bars)
    assert verdict.decision == "reject"
    assert answers(verdict)["prices"] == "reject"
    assert f"the prices of {day} are in no order" in verdict.summary()


def test_a_day_of_shuffled_prices_is_rejected_without_a_champion_as_well(
    market: pd.DataFrame,
) -> None:
    bars = shuffled(market, "2024-02-03")
    assert judged(train(bars), None, bars).decision == "reject"


@pytest.mark.parametrize("day", ["2024-02-04", "2024-02-09"], ids=["trained on", "in the window"])
def test_a_missing_day_is_never_promoted_over_a_champion(
    market: pd.DataFrame, champion: ModelBundle, day: str
) -> None:
    bars = market[market.index.normalize() != pd.Timestamp(day, tz="UTC")]
    verdict = judged(train(bars), champion, bars)
    assert verdict.decision in ("hold", "reject")
    assert {"coverage", "holes"} <= answers(verdict).keys()
    assert "90.0% of the bars are there, expected 97% or more" in verdict.summary()


def test_the_first_of_a_series_is_told_what_another_would_be_held_for(
    market: pd.DataFrame,
) -> None:
    bars = market.drop(market.index[8 * DAY : 8 * DAY + 500])
    verdict = judged(train(bars), None, bars)
    assert verdict.decision == "promote"
    assert "told, not held: 8.3 h are missing after 2024-02-08 23:59" in verdict.summary()


def test_a_challenger_that_tells_less_is_rejected(
    market: pd.DataFrame, champion: ModelBundle, challenger: ModelBundle
) -> None:
    """Its regimes expect what the calmest brings, whatever comes."""
    calm = np.full_like(challenger.stress_by_state, challenger.stress_by_state[0])
    dull = replace(challenger, bundle_id="dull", stress_by_state=calm)
    verdict = judged(dull, champion, market)
    assert verdict.decision == "reject"
    assert answers(verdict)["stress_error"] == "reject"


def test_a_challenger_that_calls_the_regimes_otherwise_is_held(
    market: pd.DataFrame, champion: ModelBundle, challenger: ModelBundle
) -> None:
    class Turned:
        """Calm and high under each other's names."""

        def __init__(self) -> None:
            self.bundle = challenger

        def __getattr__(self, name: str) -> object:
            return getattr(self.bundle, name)

        bundle_id = "turned"

        def signals(self, bars: pd.DataFrame) -> pd.DataFrame:
            told = self.bundle.signals(bars)
            turned = told.assign(p_0=told["p_1"], p_1=told["p_0"])
            return turned.assign(regime=told["regime"].map({-1: -1, 0: 1, 1: 0, 2: 2}))

    verdict = judged(Turned(), champion, market)  # type: ignore[arg-type]
    assert verdict.decision == "hold"
    assert answers(verdict)["labels"] == "hold"


def test_another_number_of_regimes_and_the_same_bundle_again_are_held(
    market: pd.DataFrame, champion: ModelBundle, challenger: ModelBundle
) -> None:
    two = judged(train(market, n_regimes=2), champion, market)
    assert two.decision != "promote"
    assert "it has 2 regimes, v0007 has 3" in two.summary()
    again = judged(challenger, challenger, market)
    assert again.reasons == ("it is v0007 again: same bars, same options",)


def test_a_fit_that_did_not_converge_or_fell_together_is_rejected(
    market: pd.DataFrame, champion: ModelBundle
) -> None:
    unfit = train(market)
    unfit.regime_model.converged_ = False
    unfit.regime_model.occupancy_ = np.array([0.999, 0.001, 0.0])
    verdict = judged(unfit, champion, market)
    assert verdict.decision == "reject"
    assert answers(verdict) == {"convergence": "reject", "occupancy": "reject"}


def test_a_window_too_short_to_judge_by_is_held(
    market: pd.DataFrame, champion: ModelBundle
) -> None:
    challenger = train_bundle(market.iloc[: -DAY - 60], n_jobs=1)
    verdict = judge(challenger, champion, market, market.index[-DAY], RULES)
    assert verdict.decision == "hold"
    assert answers(verdict)["window"] == "hold"
    tiny = judge(challenger, champion, market, market.index[-30], RULES)
    assert tiny.decision == "hold"
    assert tiny.describe()["window"]["bars"] == 0


def test_a_champion_that_has_seen_the_window_is_judged_and_that_is_told(
    market: pd.DataFrame, challenger: ModelBundle
) -> None:
    verdict = judged(challenger, train_bundle(market, n_jobs=1), market)
    (news,) = (check for check in verdict.checks if check.name == "news")
    assert news.answer == "pass"
    assert "that flatters it" in news.text


def test_a_challenger_that_has_seen_the_window_is_refused(
    market: pd.DataFrame, champion: ModelBundle
) -> None:
    with pytest.raises(LookAheadError, match="gate: found a challenger trained until 2024-02-11"):
        judged(train_bundle(market, n_jobs=1), champion, market)
    with pytest.raises(DataError, match="expected a window to judge by"):
        judge(champion, None, market.iloc[: 5 * DAY], "2024-02-09", RULES)


@pytest.fixture(scope="module")
def real(real_data: Path) -> pd.DataFrame:
    """Twelve days of March 2022."""
    bars = read_klines(real_data / "klines_1m" / "BTCUSDT-1m-2022-03.zip", market="um")
    return bars.iloc[: 12 * DAY]


@pytest.mark.realdata
def test_real_minutes_shuffled_or_missing_are_refused_and_sound_ones_judged(
    real: pd.DataFrame,
) -> None:
    champion = train(real.iloc[: 11 * DAY])
    poisoned = shuffled(real, "2022-03-05")
    assert judged(train(poisoned), champion, poisoned).decision == "reject"
    holed = real[real.index.normalize() != pd.Timestamp("2022-03-10", tz="UTC")]
    assert judged(train(holed), champion, holed).decision in ("hold", "reject")
    sound = judged(train(real), champion, real)
    data = {check.name: check.answer for check in sound.checks[:6]}
    assert set(data.values()) == {"pass"}, sound.summary()
