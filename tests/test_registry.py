"""Bundles on disk: versions, promotion and rollback, and files that are not what was saved."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from factories import make_bars

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import (
    BundleCorruptError,
    BundleError,
    BundleMismatchError,
    BundleNotFoundError,
    PromotionError,
    SettingsError,
)
from microstream_lab.features import FEATURES
from microstream_lab.registry import Registry
from microstream_lab.training import train_bundle

KEY = ("BTCUSDT", "1m")


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return train_bundle(make_bars(800), "seed", n_starts=1)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_a_saved_bundle_comes_back_with_the_same_signals(
    registry: Registry, bundle: ModelBundle
) -> None:
    version = registry.save(bundle)
    loaded = registry.load(*KEY, version)
    bars = make_bars(100, seed=3)
    pd.testing.assert_frame_equal(loaded.signals(bars), bundle.signals(bars), check_exact=True)


def test_versions_count_up_and_none_is_current_before_it_is_promoted(
    registry: Registry, bundle: ModelBundle
) -> None:
    assert [registry.save(bundle) for _ in range(3)] == ["v0001", "v0002", "v0003"]
    assert registry.current(*KEY) is None
    with pytest.raises(BundleNotFoundError, match="microstream train --symbol BTCUSDT"):
        registry.load(*KEY)
    registry.promote(*KEY, "v0002")
    assert registry.current(*KEY) == "v0002"
    assert registry.load(*KEY).bundle_id == bundle.bundle_id
    assert [(i.version, i.is_current) for i in registry.list()] == [
        ("v0001", False),
        ("v0002", True),
        ("v0003", False),
    ]


def test_rollback_returns_to_the_version_promoted_before(
    registry: Registry, bundle: ModelBundle
) -> None:
    for _ in range(2):
        registry.promote(*KEY, registry.save(bundle))
    assert registry.rollback(*KEY) == "v0001"
    assert registry.current(*KEY) == "v0001"
    with pytest.raises(BundleNotFoundError, match="nothing to go back to"):
        registry.rollback(*KEY)
    assert registry.current(*KEY) == "v0001"


def test_what_no_rollback_reaches_any_more_can_be_removed(
    registry: Registry, bundle: ModelBundle
) -> None:
    versions = [registry.save(bundle) for _ in range(12)]
    for version in versions:
        registry.promote(*KEY, version)
    assert registry.promoted(*KEY) == versions[2:]
    registry.remove(*KEY, versions[1])
    with pytest.raises(BundleError, match="kept for rollbacks"):
        registry.remove(*KEY, versions[2])
    assert [registry.rollback(*KEY) for _ in range(9)] == versions[10:1:-1]
    with pytest.raises(BundleNotFoundError, match="nothing to go back to"):
        registry.rollback(*KEY)


def test_promoting_twice_keeps_one_entry_to_roll_back_over(
    registry: Registry, bundle: ModelBundle
) -> None:
    for _ in range(2):
        registry.save(bundle)
    for version in ("v0001", "v0002", "v0002"):
        registry.promote(*KEY, version)
    assert registry.rollback(*KEY) == "v0001"


def test_people_can_read_what_a_bundle_is(registry: Registry, bundle: ModelBundle) -> None:
    registry.save(bundle)
    card = json.loads((registry.path / "spot/BTCUSDT/1m/v0001/bundle.json").read_text())
    assert card["features"] == ["log_return", "range", "relative_volume"]
    assert card["training"]["n_bars"] == 800
    assert len(card["regimes"]["transmat"]) == 3
    assert card["versions"]["numpy"]
    assert len(card["sha256"]) == 64


def test_markets_and_intervals_have_versions_of_their_own(registry: Registry) -> None:
    for market in ("spot", "um"):
        registry.save(train_bundle(make_bars(400, market=market), n_starts=1))
    assert [info.market for info in registry.list()] == ["spot", "um"]
    assert registry.load(*KEY, "v0001", market="um").market == "um"
    assert [info.market for info in registry.list(market="um")] == ["um"]


def test_versions_saved_at_once_all_land(registry: Registry, bundle: ModelBundle) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda _: registry.save(bundle), range(8)))
    assert sorted(versions) == [f"v{n:04d}" for n in range(1, 9)]
    for version in versions:
        registry.verify(*KEY, version)
    assert not list(registry.path.rglob(".draft-*"))


def flip_a_byte(folder: Path) -> None:
    artifact = folder / "bundle.joblib"
    spoilt = bytearray(artifact.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    artifact.write_bytes(spoilt)


def cut_short(folder: Path) -> None:
    artifact = folder / "bundle.joblib"
    artifact.write_bytes(artifact.read_bytes()[:100])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (flip_a_byte, "it was not loaded"),
        (cut_short, "it was not loaded"),
        (lambda folder: (folder / "bundle.joblib").unlink(), "bundle.joblib"),
        (lambda folder: (folder / "bundle.json").write_text("{"), "expected the description"),
        (lambda folder: (folder / "bundle.json").write_text("[]"), "fields are missing"),
    ],
)
def test_a_corrupted_bundle_is_refused_and_nothing_changes(
    registry: Registry, bundle: ModelBundle, spoil: Callable[[Path], object], message: str
) -> None:
    for _ in range(2):
        registry.save(bundle)
    registry.promote(*KEY, "v0001")
    spoil(registry.path / "spot/BTCUSDT/1m/v0002")
    before = content(registry.path)
    for refused in (registry.load, registry.verify, registry.promote):
        with pytest.raises(BundleCorruptError, match=message):
            refused(*KEY, "v0002")
    assert content(registry.path) == before
    assert registry.load(*KEY).bundle_id == bundle.bundle_id


def test_code_in_a_tampered_artifact_is_never_run(
    registry: Registry, bundle: ModelBundle, tmp_path: Path
) -> None:
    import pickle

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    registry.save(bundle)
    artifact = registry.path / "spot/BTCUSDT/1m/v0001/bundle.joblib"
    artifact.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BundleCorruptError):
        registry.load(*KEY, "v0001")
    assert not (tmp_path / "exploded").exists()


def test_a_bundle_of_features_this_package_lacks_is_refused(
    registry: Registry, bundle: ModelBundle
) -> None:
    registry.save(bundle)
    path = registry.path / "spot/BTCUSDT/1m/v0001/bundle.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "features": ["log_return", "moon_phase"]}))
    with pytest.raises(BundleMismatchError, match="found feature 'moon_phase'"):
        registry.load(*KEY, "v0001")


def test_the_module_of_an_own_feature_is_imported_when_its_bundle_is_loaded(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_features.py").write_text(
        "from microstream_lab.features import LogReturn, register\n\n\n"
        "@register\nclass Doubled(LogReturn):\n"
        "    name = 'doubled_return'\n\n"
        "    def batch(self, bars):\n        return 2 * super().batch(bars)\n\n"
        "    def update(self, bar):\n        return 2 * super().update(bar)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import_module("own_features")
    registry.save(train_bundle(make_bars(400), feature_set="range,doubled_return", n_starts=1))
    FEATURES.pop("doubled_return")
    sys.modules.pop("own_features")
    try:
        assert registry.load(*KEY, "v0001").features == ("range", "doubled_return")
    finally:
        FEATURES.pop("doubled_return", None)


def test_a_folder_that_is_no_version_is_passed_over(
    registry: Registry, bundle: ModelBundle
) -> None:
    registry.save(bundle)
    shutil.copytree(
        registry.path / "spot/BTCUSDT/1m/v0001", registry.path / "spot/BTCUSDT/1m/v1.bak"
    )
    assert registry.save(bundle) == "v0002"
    assert [info.version for info in registry.list()] == ["v0001", "v0002"]


def test_rolling_back_a_series_without_bundles_is_refused_and_makes_nothing(
    registry: Registry,
) -> None:
    with pytest.raises(BundleNotFoundError, match="found no current bundle"):
        registry.rollback(*KEY)
    assert not registry.path.exists()


@pytest.mark.parametrize("version", ["v9999", "latest", "../v0001", "v0001/../v0001"])
def test_a_version_that_does_not_exist_is_refused(
    registry: Registry, bundle: ModelBundle, version: str
) -> None:
    registry.save(bundle)
    with pytest.raises(BundleNotFoundError, match="have v0001"):
        registry.load(*KEY, version)


def test_a_series_that_is_no_folder_name_is_refused(registry: Registry) -> None:
    with pytest.raises(BundleNotFoundError, match="found market 'spot' and symbol"):
        registry.load("../../etc", "1m")
    with pytest.raises(SettingsError, match="interval"):
        registry.load("BTCUSDT", "7m")


def test_a_broken_pointer_is_told(registry: Registry, bundle: ModelBundle) -> None:
    registry.promote(*KEY, registry.save(bundle))
    (registry.path / "spot/BTCUSDT/1m/current.json").write_text("torn")
    with pytest.raises(BundleCorruptError, match=r"current\.json"):
        registry.load(*KEY)


def test_one_unreadable_card_hides_no_other_version(
    registry: Registry, bundle: ModelBundle
) -> None:
    for _ in range(3):
        registry.save(bundle)
    registry.promote(*KEY, "v0003")
    (registry.path / "spot/BTCUSDT/1m/v0001/bundle.json").write_text("{torn")
    (registry.path / "spot/BTCUSDT/1m/v0002/bundle.json").unlink()
    found = registry.list()
    assert [info.version for info in found] == ["v0001", "v0002", "v0003"]
    assert [bool(info.problem) for info in found] == [True, True, False]
    assert "v0001/bundle.json" in found[0].problem
    assert (found[0].card, found[2].is_current) == ({}, True)


def test_a_broken_pointer_is_a_problem_of_each_version_listed(
    registry: Registry, bundle: ModelBundle
) -> None:
    registry.promote(*KEY, registry.save(bundle))
    (registry.path / "spot/BTCUSDT/1m/current.json").write_text("torn")
    (info,) = registry.list()
    assert (info.is_current, "current.json" in info.problem) == (False, True)


def test_how_a_bundle_was_judged_stands_in_its_card(
    registry: Registry, bundle: ModelBundle
) -> None:
    registry.save(bundle, {"decision": "hold"})
    registry.save(bundle)
    assert registry.card(*KEY, "v0001")["gate"] == {"decision": "hold"}
    assert "gate" not in registry.card(*KEY, "v0002")
    with pytest.raises(BundleNotFoundError, match="found no current bundle"):
        registry.card(*KEY)


def test_promotion_in_place_of_a_version_that_is_not_current_is_refused(
    registry: Registry, bundle: ModelBundle
) -> None:
    for _ in range(3):
        registry.save(bundle)
    registry.promote(*KEY, "v0001", instead_of=None)
    with pytest.raises(PromotionError, match="found v0001 current, expected v0002"):
        registry.promote(*KEY, "v0003", instead_of="v0002")
    with pytest.raises(PromotionError, match="found v0001 current, expected None"):
        registry.promote(*KEY, "v0003", instead_of=None)
    registry.promote(*KEY, "v0003", instead_of="v0001")
    assert registry.current(*KEY) == "v0003"


def test_what_killed_programs_left_is_swept_after_a_day(
    registry: Registry, bundle: ModelBundle
) -> None:
    registry.save(bundle)
    series = registry.path / "spot/BTCUSDT/1m"
    for name, age_s in (("old", 90_000), ("new", 0)):
        (series / f".draft-{name}").mkdir()
        (series / f".draft-file-{name}").write_text("")
        for path in (series / f".draft-{name}", series / f".draft-file-{name}"):
            os.utime(path, (time.time() - age_s, time.time() - age_s))
    registry.save(bundle)
    assert {path.name for path in series.glob(".draft-*")} == {".draft-new", ".draft-file-new"}
