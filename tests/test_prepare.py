"""Preparing the built-in market: once, whole, and only what is missing."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from microstream_lab.bundle import ModelBundle
from microstream_lab.market.files import read_klines
from microstream_lab.prepare import SAMPLE, Prepared, Sample, prepare
from microstream_lab.registry import Registry
from microstream_lab.settings import Settings
from microstream_lab.store import Store
from microstream_lab.training import train_bundle

DAYS = 2
SMALL = Sample(days=DAYS)
SERIES = (SMALL.symbol, SMALL.interval)
N_BARS = DAYS * 1440


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(microstream_home=tmp_path / "home", microstream_offline=True)


@pytest.fixture(autouse=True)
def _quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(train_bundle, n_regimes=2, n_starts=1)
    monkeypatch.setattr("microstream_lab.training.train_bundle", quick)


def stored(settings: Settings) -> Store:
    return Store(settings.store_path)


def current(settings: Settings) -> str | None:
    return Registry(settings.models_path).current(*SERIES, "sim")


@pytest.fixture
def half_way(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home whose preparation was stopped while the first bundle was about to be promoted."""

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "promote", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings, sample=SMALL)
    return settings


def test_sample_is_a_month_of_minutes() -> None:
    assert (SAMPLE.symbol, SAMPLE.interval, SAMPLE.market) == ("SIMUSDT", "1m", "sim")
    assert SAMPLE.days >= 28


def test_first_time_brings_bars_through_archive_files_and_a_current_bundle(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(settings, progress=True, sample=SMALL) == Prepared(N_BARS, "v0001")
    shown = capsys.readouterr().err
    for stage in ("Simulating a market", "Importing it", "Training a first bundle", "100%"):
        assert stage in shown
    coverage = stored(settings).coverage(*SERIES, "sim", SMALL.start, SMALL.end)
    assert (coverage.present, coverage.n_missing) == (N_BARS, 0)
    (archive,) = settings.path("data", "simulated").glob("*.zip")
    assert archive.with_name(f"{archive.name}.CHECKSUM").exists()
    bars = stored(settings).bars(*SERIES, market="sim")
    assert read_klines(archive, market="sim")["close"].equals(bars["close"])
    bundle = Registry(settings.models_path).load(*SERIES, market="sim")
    assert isinstance(bundle, ModelBundle)
    assert bundle.n_bars == N_BARS


def test_second_time_does_nothing_and_takes_no_time(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(settings, sample=SMALL)
    before = {path: path.stat().st_mtime_ns for path in settings.microstream_home.rglob("*.j*")}
    started = time.perf_counter()
    assert prepare(settings, progress=True, sample=SMALL) == Prepared(0, None)
    assert time.perf_counter() - started < 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert capsys.readouterr().err == ""


def test_preparation_stopped_before_the_promotion_goes_on_with_the_trained_bundle(
    half_way: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert current(half_way) is None
    monkeypatch.setattr("microstream_lab.training.train_bundle", None)
    assert prepare(half_way, sample=SMALL) == Prepared(0, "v0001")
    assert current(half_way) == "v0001"


def test_preparation_stopped_while_writing_files_starts_them_anew(settings: Settings) -> None:
    torn = settings.path("data", "simulated", "SIMUSDT-1m-2024-05.zip")
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"PK half a zip")
    assert prepare(settings, sample=SMALL).new_bars == N_BARS


def test_preparation_stopped_during_the_import_brings_the_missing_bars_only(
    settings: Settings,
) -> None:
    day = Sample(days=1)
    prepare(settings, sample=day)
    assert prepare(settings, sample=SMALL) == Prepared(N_BARS - 1440, None)


def test_bundle_the_user_promoted_stays_current(settings: Settings) -> None:
    prepare(settings, sample=SMALL)
    registry = Registry(settings.models_path)
    version = registry.save(registry.load(*SERIES, market="sim"))
    registry.promote(*SERIES, version, "sim")
    prepare(settings, sample=SMALL)
    assert current(settings) == version == "v0002"
