"""Old runs make room: which go, which never do, and what goes with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import make_bars
from schedules import DAY, at

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import BundleError
from microstream_lab.registry import Registry
from microstream_lab.research.retention import prune_runs, superfluous
from microstream_lab.research.run_folder import folder_of, running, write_record
from microstream_lab.settings import Settings
from microstream_lab.store import Run, Store
from microstream_lab.training import train_bundle

START = at("2022-05-01 00:30")
NOW = START + 10 * DAY


def make_run(night: int, status: str = "done", **fields: Any) -> Run:
    run = Run(f"r{night:02}", "02_train", START + night * DAY, job="nightly", ended_at=NOW)
    return replace(run, status=status, report=f"data/runs/r{night:02}/report.html", **fields)


def doomed(runs: list[Run], keep: int | None, days: float | None, *promoted: str) -> list[str]:
    found = superfluous(runs, NOW, keep, days, lambda run: run.run_id in promoted)
    return [run.run_id for run in found]


def test_the_newest_runs_stay_and_what_is_older_than_so_many_days_goes() -> None:
    runs = [make_run(night) for night in range(10)]
    assert doomed(runs, 8, None) == ["r00", "r01"]
    assert doomed(runs, None, 8.0) == ["r00", "r01"]
    assert doomed(runs, 3, 8.0) == [f"r{night:02}" for night in range(7)]
    assert doomed(runs, None, None) == []


def test_runs_are_counted_by_kind() -> None:
    often = [make_run(night) for night in range(6)]
    rarely = [replace(make_run(night), run_id=f"x{night}", job="weekly") for night in (0, 1)]
    assert doomed([*often, *rarely], 2, None) == ["r00", "r01", "r02", "r03"]


def test_running_runs_promoted_ones_and_the_last_good_one_always_stay() -> None:
    runs = [make_run(0, "running"), make_run(1), make_run(2)]
    runs += [make_run(night, "failed") for night in range(3, 9)]
    assert doomed(runs, 1, None, "r01") == ["r03", "r04", "r05", "r06", "r07"]
    assert doomed(runs[:-1], 1, None) == ["r01", "r03", "r04", "r05", "r06"]


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return train_bundle(make_bars(600, market="um"), feature_set="seed")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(microstream_home=tmp_path)


def write_runs(settings: Settings, runs: list[Run]) -> Store:
    store = Store(settings.store_path)
    for run in runs:
        folder = folder_of(run.run_id, settings)
        folder.mkdir(parents=True)
        (folder / "report.html").touch()
        write_record(run, folder)
    store.write_schedule(runs, {})
    return store


def folders(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.runs_path.glob("*/"))


def test_folders_and_unpromoted_bundles_go_and_rows_and_promoted_bundles_stay(
    settings: Settings, bundle: ModelBundle
) -> None:
    registry = Registry(settings.models_path)
    versions = [registry.save(bundle) for _ in range(5)]
    series = {"symbol": bundle.symbol, "interval": bundle.interval, "market": bundle.market}
    registry.promote(*(bundle.symbol, bundle.interval, versions[0], bundle.market))
    registry.promote(*(bundle.symbol, bundle.interval, versions[1], bundle.market))
    runs = [
        make_run(night, parameters=series, metrics={"version": version})
        for night, version in enumerate(versions)
    ]
    store = write_runs(settings, runs)
    assert [run.run_id for run in prune_runs(settings, store, NOW, 1, dry_run=True)] == [
        "r02",
        "r03",
    ]
    assert len(folders(settings)) == 5
    prune_runs(settings, store, NOW, 1)
    assert folders(settings) == ["r00", "r01", "r04"]
    there = [info.version for info in registry.list()]
    assert there == [versions[0], versions[1], versions[4]]
    table = store.runs().set_index("run_id")
    assert len(table) == 5
    assert table["report"].isna().to_dict() == {
        **dict.fromkeys(("r02", "r03"), True),
        **dict.fromkeys(("r00", "r01", "r04"), False),
    }
    assert "r04" in (settings.runs_path / "index.html").read_text()
    assert registry.save(bundle) == "v0006"


def test_a_bundle_that_a_run_which_stays_speaks_of_stays_too(
    settings: Settings, bundle: ModelBundle
) -> None:
    registry = Registry(settings.models_path)
    version = registry.save(bundle)
    series = {"symbol": bundle.symbol, "interval": bundle.interval, "market": bundle.market}
    old = make_run(0, parameters=series, metrics={"version": version})
    backtest = make_run(
        8, notebook="03_backtest", job=None, parameters={**series, "version": version}
    )
    store = write_runs(settings, [old, make_run(9), backtest])
    prune_runs(settings, store, NOW, 1)
    assert folders(settings) == ["r08", "r09"]
    assert [info.version for info in registry.list()] == [version]


def test_only_wanted_runs_are_touched_and_live_ones_never(settings: Settings) -> None:
    by_hand = [replace(make_run(night), run_id=f"h{night}", job=None) for night in (0, 1)]
    store = write_runs(settings, [*by_hand, *(make_run(night, "failed") for night in (2, 3, 4))])
    with running(folder_of("r02", settings)):
        prune_runs(settings, store, NOW, 1, wanted=lambda run: run.job == "nightly")
    assert folders(settings) == ["h0", "h1", "r02", "r04"]


def test_a_promoted_version_cannot_be_removed(settings: Settings, bundle: ModelBundle) -> None:
    registry = Registry(settings.models_path)
    series = (bundle.symbol, bundle.interval)
    first, second = registry.save(bundle), registry.save(bundle)
    for version in (first, second):
        registry.promote(*series, version, bundle.market)
    for version in (first, second):
        with pytest.raises(BundleError, match="among the promoted versions"):
            registry.remove(*series, version, bundle.market)
    assert registry.promoted(*series, bundle.market) == [first, second]
    registry.rollback(*series, bundle.market)
    registry.remove(*series, second, bundle.market)
    assert [info.version for info in registry.list()] == [first]
