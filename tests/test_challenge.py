"""A challenger through gate, registry and promotion; two at once, and one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from test_gate import DAY, WINDOW, train
from test_soundness import shuffled

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import ParameterError
from microstream_lab.market.simulate import simulate_market
from microstream_lab.registry import Registry
from microstream_lab.research.challenge import Challenge, challenge

KEY = ("SIMUSDT", "1m")


@pytest.fixture(scope="module")
def market() -> pd.DataFrame:
    return simulate_market("2024-02-01", 10 * DAY, seed=1).bars


@pytest.fixture(scope="module")
def bundles(market: pd.DataFrame) -> tuple[ModelBundle, ModelBundle]:
    return train(market, seed=1), train(market)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def send(
    bundle: ModelBundle, bars: pd.DataFrame, registry: Registry, promote: str = "auto"
) -> Challenge:
    return challenge(bundle, bars, bars.index[-WINDOW], registry, promote)


def current(registry: Registry) -> str | None:
    return registry.current(*KEY, "sim")


def test_the_first_is_promoted_and_so_is_a_second_as_good(
    market: pd.DataFrame, bundles: tuple[ModelBundle, ModelBundle], registry: Registry
) -> None:
    first = send(bundles[0], market, registry)
    assert (first.version, first.promoted, first.verdict.champion) == ("v0001", True, "")
    second = send(bundles[1], market, registry)
    assert (second.version, second.promoted, second.verdict.champion) == ("v0002", True, "v0001")
    card = registry.card(*KEY, "v0002", "sim")["gate"]
    assert (card["decision"], card["champion"], card["promote"]) == ("promote", "v0001", "auto")
    assert card["reasons"] == ["fit to be used, beside v0001"]
    assert second.metrics()["reasons"] == "fit to be used, beside v0001"
    assert registry.rollback(*KEY, "sim") == "v0001"


def test_a_poisoned_one_is_kept_with_its_reasons_and_never_current(
    market: pd.DataFrame, bundles: tuple[ModelBundle, ModelBundle], registry: Registry
) -> None:
    send(bundles[0], market, registry)
    bars = shuffled(market, "2024-02-05")
    poisoned = send(train(bars), bars, registry)
    assert (poisoned.decision, poisoned.promoted, current(registry)) == ("reject", False, "v0001")
    reasons = registry.card(*KEY, "v0002", "sim")["gate"]["reasons"]
    assert reasons[0].startswith("the prices of 2024-02-05 are in no order")
    assert "v0002 is kept, not promoted; the gate says reject:" in poisoned.summary()


def test_never_and_always_do_as_they_say_and_write_down_what_the_gate_said(
    market: pd.DataFrame, bundles: tuple[ModelBundle, ModelBundle], registry: Registry
) -> None:
    assert not send(bundles[0], market, registry, "never").promoted
    assert current(registry) is None
    bars = shuffled(market, "2024-02-05")
    forced = send(train(bars), bars, registry, "always")
    assert (forced.promoted, forced.decision, current(registry)) == (True, "reject", "v0002")
    assert "because it was asked for" in forced.summary()
    with pytest.raises(ParameterError, match="found 'True', expected one of auto always never"):
        send(bundles[1], market, registry, "True")


def test_a_current_version_that_is_broken_gives_way_to_a_sound_one(
    market: pd.DataFrame, bundles: tuple[ModelBundle, ModelBundle], registry: Registry
) -> None:
    send(bundles[0], market, registry)
    (registry.path / "sim/SIMUSDT/1m/v0001/bundle.joblib").write_bytes(b"broken")
    done = send(bundles[1], market, registry)
    assert (done.promoted, current(registry)) == (True, "v0002")
    assert "the current version cannot be used" in done.summary()


def test_one_judged_against_a_version_that_is_no_longer_current_is_not_promoted(
    market: pd.DataFrame,
    bundles: tuple[ModelBundle, ModelBundle],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send(bundles[0], market, registry)
    other = registry.save(bundles[0])
    save = Registry.save

    def save_while_somebody_promotes(self: Registry, *given: object) -> str:
        registry.promote(*KEY, other, "sim")
        return save(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Registry, "save", save_while_somebody_promotes)
    done = send(bundles[1], market, registry)
    assert (done.decision, done.promoted, current(registry)) == ("promote", False, other)
    assert "found v0002 current, expected v0001" in done.summary()


TRAINER = """
import sys, joblib
from microstream_lab.registry import Registry
from microstream_lab.research.challenge import challenge
bundles, bars = joblib.load(sys.argv[2])
registry = Registry(sys.argv[1])
print("ready", flush=True)
while True:
    for bundle in bundles:
        challenge(bundle, bars, bars.index[-4320], registry, "always")
        print("done", flush=True)
"""


@pytest.mark.parametrize("n_kills", [int(os.environ.get("MICROSTREAM_KILLS", "4"))])
def test_two_trainings_killed_again_and_again_leave_no_torn_pointer_and_no_half_bundle(
    market: pd.DataFrame,
    bundles: tuple[ModelBundle, ModelBundle],
    registry: Registry,
    tmp_path: Path,
    n_kills: int,
) -> None:
    """A reader looks all the while, as a live session does; the kills come at any moment."""
    import joblib
    import numpy as np

    joblib.dump((bundles, market), tmp_path / "given")
    command = [sys.executable, "-c", TRAINER, str(registry.path), str(tmp_path / "given")]
    rng, seen, looked = np.random.default_rng(0), set(), 0
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for kill in range(n_kills):
            victim = running[kill % 2]
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"ready\n"
            if kill < 2:
                assert victim.stdout.readline() == b"done\n"
            until = time.monotonic() + rng.uniform(0.0, 0.6)
            while time.monotonic() < until:
                if (version := current(registry)) is not None:
                    assert registry.load(*KEY, version, "sim").symbol == "SIMUSDT"
                    seen.add(version)
                    looked += 1
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            victim.stdout.close()
            if kill < n_kills - 2:
                running[kill % 2] = subprocess.Popen(command, stdout=subprocess.PIPE)
    finally:
        for process in running:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    assert looked > 0
    assert len(seen) >= 1
    versions = registry.list()
    assert [info.problem for info in versions] == [""] * len(versions)
    for info in versions:
        registry.verify(*KEY, info.version, "sim")
        assert info.card["gate"]["decision"] in ("promote", "hold", "reject")
    pointer = json.loads((registry.path / "sim/SIMUSDT/1m/current.json").read_text())
    assert pointer["current"] == pointer["promoted"][-1] == current(registry)
    assert set(pointer["promoted"]) <= {info.version for info in versions}
    assert send(bundles[0], market, registry, "always").promoted, "no lock is left"
