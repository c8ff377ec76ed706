from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import pytest
from factories import make_bars

from microstream_lab.errors import StoreError, StoreVersionError
from microstream_lab.store import Run, Store, tables

NEXT = tables.newest_version() + 1


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.duckdb")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(store: Store) -> None:
    store.bars("BTCUSDT", "1m")


def write(store: Store) -> None:
    store.write_bars(make_bars(10))


@pytest.mark.parametrize("use", [read, write])
def test_an_older_store_is_brought_up_to_date_and_keeps_its_rows(
    store: Store, monkeypatch: pytest.MonkeyPatch, use: object
) -> None:
    bars = make_bars(10)
    store.write_bars(bars)
    step = "ALTER TABLE bars ADD COLUMN note VARCHAR; CREATE TABLE notes (text VARCHAR);"
    monkeypatch.setattr(tables, "MIGRATIONS", {**tables.MIGRATIONS, NEXT: step})
    use(store)  # type: ignore[operator]
    assert store.sql("SELECT version FROM schema_version ORDER BY 1")["version"].max() == NEXT
    assert "note" in store.sql("FROM bars LIMIT 0").columns
    found = store.bars("BTCUSDT", "1m")
    assert found["close"].tolist() == bars["close"].tolist()


def test_a_store_without_tables_becomes_one_of_today(store: Store) -> None:
    duckdb.connect(store.path).close()
    assert store.write_bars(make_bars(10)).new == 10
    assert store.status().schema_version == tables.newest_version()


def test_a_step_that_fails_leaves_the_older_store_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_bars(make_bars(10))
    released = tables.MIGRATIONS
    step = "CREATE TABLE notes (text VARCHAR); DROP TABLE nowhere;"
    monkeypatch.setattr(tables, "MIGRATIONS", {**released, NEXT: step})
    with pytest.raises(StoreError, match="nowhere"):
        read(store)
    monkeypatch.setattr(tables, "MIGRATIONS", released)
    assert store.status().schema_version == NEXT - 1
    assert store.sql("SELECT * FROM duckdb_tables() WHERE table_name = 'notes'").empty
    assert len(store.bars("BTCUSDT", "1m")) == 10


def test_runs_of_version_2_keep_their_rows_and_may_be_missed_from_now_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = tables.MIGRATIONS
    monkeypatch.setattr(tables, "MIGRATIONS", {n: released[n] for n in (1, 2)})
    store.write_bars(make_bars(1))
    with duckdb.connect(store.path) as connection:
        connection.execute(
            "INSERT INTO runs VALUES ('r-1', '02_train', '{\"seed\": 3}', 'failed',"
            " to_timestamp(5), to_timestamp(7), '{\"x\": 0.5}', 'no bars', 'r-1/report.html')"
        )
    monkeypatch.setattr(tables, "MIGRATIONS", released)
    store.write_run(Run("r-2", "02_train", 9_000_000, "missed", job="nightly"))
    newer, older = store.runs().to_dict("records")
    assert (newer["status"], newer["job"], newer["attempt"]) == ("missed", "nightly", 1)
    assert (older["parameters"], older["metrics"]) == ({"seed": 3}, {"x": 0.5})
    assert (older["status"], older["error"], older["attempt"]) == ("failed", "no bars", 1)
    assert older["ended_at"].timestamp() - older["started_at"].timestamp() == 2
    assert older["report"] == "r-1/report.html"


@pytest.mark.parametrize("use", [read, write])
def test_a_store_of_a_newer_schema_is_refused_and_not_touched(store: Store, use: object) -> None:
    store.write_bars(make_bars(10))
    with duckdb.connect(store.path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, now())")
    before = digest(store.path)
    with pytest.raises(
        StoreVersionError, match=f"found schema version 99, expected at most {NEXT - 1}"
    ):
        use(store)  # type: ignore[operator]
    assert digest(store.path) == before
    assert "99" in str(store.status().problem)


@pytest.mark.parametrize("use", [read, write])
@pytest.mark.parametrize("content", [b"", b"these are not the bytes of a store" * 500])
def test_a_file_that_is_no_store_is_refused_and_not_touched(
    store: Store, use: object, content: bytes
) -> None:
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged or not DuckDB's, expected a store"):
        use(store)  # type: ignore[operator]
    assert store.path.read_bytes() == content
    assert store.status().problem is not None


@pytest.mark.parametrize("keep", [5_000, 300_000])
def test_a_truncated_store_is_one_clear_error(store: Store, keep: int) -> None:
    store.write_bars(make_bars(10_000))
    content = store.path.read_bytes()[:keep]
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.duckdb"):
        store.sql("SELECT sum(close) FROM bars")
    assert store.path.read_bytes() == content


def test_somebody_elses_tables_are_refused_and_not_touched(store: Store) -> None:
    with duckdb.connect(store.path) as connection:
        connection.execute("CREATE TABLE recipes (name VARCHAR)")
    before = digest(store.path)
    for use in (read, write):
        with pytest.raises(StoreError, match="found a DuckDB file with table recipes"):
            use(store)
    assert digest(store.path) == before


def test_a_folder_in_the_place_of_the_store_is_refused(store: Store) -> None:
    store.path.mkdir()
    for use in (read, write):
        with pytest.raises(StoreError, match=r"store\.duckdb"):
            use(store)


def test_a_file_in_the_place_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match="data"):
        write(Store(tmp_path / "data" / "store.duckdb"))


def test_the_store_of_the_settings_is_the_default(tmp_path: Path) -> None:
    store = Store()
    write(store)
    assert (tmp_path / "home" / "data" / "microstream.duckdb").is_file()
