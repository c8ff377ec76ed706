"""The doctor: looks at everything, changes nothing, and says what is broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from factories import make_bars

from microstream_lab import doctor
from microstream_lab.doctor import Check, examine
from microstream_lab.registry import Registry
from microstream_lab.settings import Settings
from microstream_lab.store import Store
from microstream_lab.store.tables import newest_version
from microstream_lab.training import train_bundle


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(microstream_home=tmp_path / "home", microstream_offline=True)


@pytest.fixture
def exchange() -> Iterator[tuple[str, list[int]]]:
    """An exchange that answers with the last status of a list; its address, and the list."""
    statuses = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[-1])
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", statuses
    server.shutdown()
    server.server_close()
    thread.join()


def found(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in examine(settings)}


def online(tmp_path: Path, url: str) -> Settings:
    return Settings(microstream_home=tmp_path, binance_rest_url=url)


def trained(settings: Settings) -> Path:
    """The folder of a promoted bundle."""
    registry = Registry(settings.models_path)
    bundle = train_bundle(make_bars(600), n_regimes=2, n_starts=1)
    version = registry.save(bundle)
    registry.promote("BTCUSDT", "1m", version)
    return registry.path / "spot" / "BTCUSDT" / "1m" / version


def test_fresh_installation_is_fit_and_looking_leaves_no_trace(settings: Settings) -> None:
    checks = found(settings)
    assert [check for check in checks.values() if not check.ok] == []
    assert "none yet" in checks["store"].found
    assert "none yet" in checks["models"].found
    assert checks["exchange"].found.startswith("offline by setting")
    assert checks["Python"].found.startswith(sys.version.split()[0])
    assert not settings.microstream_home.exists()


def test_store_is_told_with_size_and_schema_version(settings: Settings) -> None:
    Store(settings.store_path).write_bars(make_bars(10))
    check = found(settings)["store"]
    assert check.ok
    assert f"MB, schema version {newest_version()}" in check.found


def test_file_that_is_no_store_is_broken(settings: Settings) -> None:
    settings.store_path.parent.mkdir(parents=True)
    settings.store_path.write_text("not a database" * 1000)
    assert not found(settings)["store"].ok


def test_current_bundle_is_verified_and_a_changed_one_is_broken(settings: Settings) -> None:
    folder = trained(settings)
    check = found(settings)["model"]
    assert check == Check("model", "spot BTCUSDT 1m v0001: sha256 verified")
    with (folder / "bundle.joblib").open("ab") as artifact:
        artifact.write(b"!")
    check = found(settings)["model"]
    assert not check.ok
    assert "sha256" in check.found


def test_unreadable_card_is_broken(settings: Settings) -> None:
    (trained(settings) / "bundle.json").write_text("{")
    assert not found(settings)["models"].ok


def test_exchange_that_answers_is_fine(tmp_path: Path, exchange: tuple[str, list[int]]) -> None:
    url, _ = exchange
    assert found(online(tmp_path, url))["exchange"] == Check("exchange", f"{url}: answers")


def test_exchange_that_does_not_serve_this_place_is_broken(
    tmp_path: Path, exchange: tuple[str, list[int]]
) -> None:
    url, statuses = exchange
    statuses.append(451)
    check = found(online(tmp_path, url))["exchange"]
    assert not check.ok
    assert "451" in check.found


def test_exchange_that_stays_silent_is_broken_and_offline_is_offered(
    tmp_path: Path, exchange: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, statuses = exchange
    statuses.append(503)
    monkeypatch.setattr(doctor, "_PATIENCE_S", 0.3)
    check = found(online(tmp_path, url))["exchange"]
    assert not check.ok
    assert "MICROSTREAM_OFFLINE=1" in check.found


def test_library_that_is_missing_is_broken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", ("no-such-library",))
    check = found(settings)["no-such-library"]
    assert (check.ok, check.found) == (False, "not installed; make install brings it")


@pytest.mark.parametrize(
    ("argv", "fit"),
    [(["python"], True), ([sys.executable], True), (["/opt/other/bin/python"], False)],
)
def test_kernel_must_be_this_python(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], fit: bool
) -> None:
    spec = tmp_path / "share" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    assert found(settings)["kernel"].ok is fit


def test_home_that_cannot_be_written_to_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = Settings(microstream_home=tmp_path / "file" / "home", microstream_offline=True)
    assert not found(settings)["home"].ok
