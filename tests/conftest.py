"""Every test lives in a home folder of its own and never dials beyond this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import broker as brokers
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from microstream_lab.store import Store

# A busy machine is no failure. HYPOTHESIS_PROFILE=fuzz looks at far more examples, in rounds: what
# is remembered of them, so as not to repeat any, makes each slower than the one before.
settings.register_profile("test", deadline=None)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=10_000,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _temporary_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MICROSTREAM_OFFLINE", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real market data; a test that uses it carries the marker ``realdata``."""
    if not REAL_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"real market data not found at {REAL_DATA}, and CI may not skip it")
        pytest.skip(f"real market data not found at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="module")
def served_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store that is served while the tests of a module run."""
    from microstream_lab.store import serving

    path = tmp_path_factory.mktemp("served") / "store.duckdb"
    with serving(path):
        yield path


@pytest.fixture(params=["embedded", "served"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, once in a file of its own and once behind a server."""
    from microstream_lab.store import Store, transaction

    if request.param == "embedded":
        return Store(tmp_path / "store.duckdb")
    store = Store(request.getfixturevalue("served_path"))
    tables = store.sql("SELECT table_name FROM duckdb_tables()")["table_name"]
    with store._file.writing() as connection, transaction(connection):
        for table in set(tables) - {"schema_version"}:
            connection.execute(f"DELETE FROM {table}")
    return store


@pytest.fixture
def absent(tmp_path: Path) -> Store:
    """A store that nobody has written to."""
    from microstream_lab.store import Store

    return Store(tmp_path / "absent.duckdb")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Broker | None]:
    """A broker of our own, or None if KAFKA_BOOTSTRAP_SERVERS names one."""
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS") and (why := brokers.missing()):
        if os.environ.get("CI"):
            pytest.fail(f"no broker ({why}), and CI may not skip it")
        pytest.skip(why)
    with brokers.any_broker(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture
def own_broker(broker: brokers.Broker | None) -> brokers.Broker:
    """A broker that may be stopped and has listeners for what goes wrong."""
    if broker is None:
        pytest.skip("KAFKA_BOOTSTRAP_SERVERS names a broker that is not ours to stop")
    return broker
