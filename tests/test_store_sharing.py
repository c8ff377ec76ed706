"""The store under several threads and processes, kills, and disks that are full."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from factories import make_bars
from store_files import write_klines
from store_processes import READ_UNTIL_TOLD, finish, finish_told, first_line, start

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import sharing

from microstream_lab.errors import StoreError, StoreLockedError
from microstream_lab.schema import interval_us
from microstream_lab.store import Store, embedded, patience
from microstream_lab.store.gate import Gate, gate_file

HOLD = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reading")
    print("open", flush=True)
    sys.stdin.readline()
    connection.close()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store.duckdb", timeout_s=0.3)
    store.write_bars(make_bars(10))
    return store


def test_a_reader_is_told_who_writes(store: Store) -> None:
    holder = start(HOLD, store.path, "writing")
    assert first_line(holder) == "open"
    with pytest.raises(StoreLockedError, match=rf"held by PID {holder.pid} \(.*python.*; waited"):
        store.bars("BTCUSDT", "1m")
    status = store.status()
    assert not status.reachable
    assert f"PID {holder.pid}" in str(status.locked_by)
    finish(holder)
    assert store.status().reachable
    assert len(store.bars("BTCUSDT", "1m")) == 10


def test_a_writer_is_told_who_reads(store: Store) -> None:
    holder = start(HOLD, store.path, "reading")
    assert first_line(holder) == "open"
    assert len(store.bars("BTCUSDT", "1m")) == 10
    with pytest.raises(StoreLockedError, match=f"PID {holder.pid}"):
        store.write_bars(make_bars(20))
    finish(holder)
    assert store.write_bars(make_bars(20)).new == 10


def test_who_waits_long_enough_gets_in(store: Store) -> None:
    holder = start(HOLD, store.path, "writing")
    assert first_line(holder) == "open"
    patient = Store(store.path, timeout_s=30)
    with ThreadPoolExecutor(2) as pool:
        written = pool.submit(patient.write_bars, make_bars(20))
        read = pool.submit(patient.bars, "BTCUSDT", "1m")
        assert not written.done()
        finish(holder)
        assert written.result(30).new == 10
        assert len(read.result(30)) in (10, 20)


def test_a_writer_of_this_package_is_named_with_its_command(store: Store) -> None:
    code = """
        import sys
        from microstream_lab.store import Store
        with Store(sys.argv[1])._file.writing():
            print("open", flush=True)
            sys.stdin.readline()
    """
    holder = start(code, store.path, "an-argument")
    assert first_line(holder) == "open"
    for call in (lambda: store.bars("BTCUSDT", "1m"), lambda: store.write_bars(make_bars(2))):
        with pytest.raises(StoreLockedError, match=rf"PID {holder.pid} \(.*python") as caught:
            call()
        assert caught.value.path == str(store.path)
    finish(holder)


def test_a_connection_of_our_own_process_is_named_too(store: Store) -> None:
    with duckdb.connect(store.path, read_only=True):
        assert len(store.bars("BTCUSDT", "1m")) == 10
        with pytest.raises(StoreLockedError, match="another connection of this process"):
            store.write_bars(make_bars(20))
    with (
        duckdb.connect(store.path),
        pytest.raises(StoreLockedError, match="another connection of this process"),
    ):
        store.bars("BTCUSDT", "1m")


def test_threads_read_and_write_the_same_file_at_once(store: Store) -> None:
    shared = Store(store.path, timeout_s=30)
    bars = make_bars(30)

    def write(part: int) -> int:
        return sum(
            shared.write_bars(bars.iloc[row : row + 1]).new for row in range(10 + part, 30, 2)
        )

    def read(_: int) -> bool:
        counts = [len(shared.bars("BTCUSDT", "1m")) for _ in range(10)]
        return counts == sorted(counts)

    with ThreadPoolExecutor(4) as pool:
        writes, reads = pool.map(write, range(2)), pool.map(read, range(2))
        assert sum(writes) == 20
        assert all(reads)
    assert len(shared.bars("BTCUSDT", "1m")) == 30


def test_a_writer_is_not_starved_by_readers_that_never_rest(store: Store) -> None:
    readers = [start(READ_UNTIL_TOLD, store.path) for _ in range(2)]
    assert [first_line(reader) for reader in readers] == ["reading"] * 2
    patient, bars = Store(store.path), make_bars(25)
    for row in range(10, 25):
        assert patient.write_bars(bars.iloc[row : row + 1]).new == 1
    assert all(reader.poll() is None for reader in readers)
    for reader in readers:
        assert int(finish_told(reader)) > 1
    assert len(store.bars("BTCUSDT", "1m")) == 25


WRITE_UNTIL_TOLD = """
    import sys
    from threading import Thread
    from factories import make_bars
    from microstream_lab.store import Store
    store, told, bars = Store(sys.argv[1]), [], make_bars(40, symbol=sys.argv[2])
    Thread(target=lambda: told.append(sys.stdin.readline()), daemon=True).start()
    print("writing", flush=True)
    while not told:
        store.write_bars(bars)
    print("done")
"""


def test_a_reader_is_not_starved_by_writers_that_never_rest(store: Store) -> None:
    writers = [start(WRITE_UNTIL_TOLD, store.path, f"{name}USDT") for name in ("A", "B")]
    assert [first_line(writer) for writer in writers] == ["writing"] * 2
    patient = Store(store.path)
    assert [len(patient.bars("BTCUSDT", "1m")) for _ in range(5)] == [10] * 5
    assert all(writer.poll() is None for writer in writers)
    assert [finish_told(writer) for writer in writers] == ["done"] * 2


def test_a_writer_lets_waiting_readers_in_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_COURTESY_S", 60)
    gate, patient = Gate(gate_file(store.path)), Store(store.path, timeout_s=60)
    with ThreadPoolExecutor(1) as pool:
        with gate.awaiting():
            assert gate.is_awaited()
            written = pool.submit(patient.write_bars, make_bars(20))
            assert [len(patient.bars("BTCUSDT", "1m")) for _ in range(5)] == [10] * 5
            assert not written.done()
        assert not gate.is_awaited()
        assert written.result(60).new == 10


def test_a_writer_does_not_let_readers_in_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_COURTESY_S", 0.05)
    with Gate(gate_file(store.path)).awaiting():
        assert Store(store.path).write_bars(make_bars(20)).new == 10


def test_writes_that_follow_one_another_stay_in_the_log_until_there_is_quiet(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_BUSY_S", 60.0)
    log, bars = store.path.with_name("store.duckdb.wal"), make_bars(16)
    for row in range(10, 15):
        assert store.write_bars(bars.iloc[row : row + 1]).new == 1
    assert log.stat().st_size > 0
    assert len(store.bars("BTCUSDT", "1m")) == 15
    for file in (store.path, log):  # an hour goes by
        os.utime(file, (time.time() - 3_600,) * 2)
    assert store.write_bars(bars).new == 1
    assert not log.exists()
    assert len(store.bars("BTCUSDT", "1m")) == 16


def test_a_log_that_has_grown_is_played_back_for_good(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_LONGEST_LOG", 4_000)
    monkeypatch.setattr(embedded, "_BUSY_S", 60.0)
    log, bars, sizes = store.path.with_name("store.duckdb.wal"), make_bars(30), []
    for row in range(10, 30):
        store.write_bars(bars.iloc[row : row + 1])
        sizes.append(log.stat().st_size if log.exists() else 0)
    assert 0 in sizes
    assert 0 < max(sizes) < 4_000
    assert len(store.bars("BTCUSDT", "1m")) == 30


def test_several_processes_that_make_the_store_at_once_all_write(tmp_path: Path) -> None:
    code = """
        import sys
        from factories import make_bars
        from microstream_lab.store import Store
        print("ready", flush=True)
        sys.stdin.readline()
        print(Store(sys.argv[1]).write_bars(make_bars(20, symbol=sys.argv[2])).new)
    """
    path = tmp_path / "deep" / "store.duckdb"
    writers = [start(code, path, symbol) for symbol in ("AAA", "BBB", "CCC")]
    assert [first_line(writer) for writer in writers] == ["ready"] * 3
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [finish(writer) for writer in writers] == ["20"] * 3
    assert Store(path).series()["bars"].tolist() == [20, 20, 20]
    files = {file.name for file in path.parent.iterdir()}
    assert files - {"store.duckdb.wal"} == {"store.duckdb", "store.duckdb.lock"}


@pytest.mark.parametrize("n_begun", [1, 2, 4])
def test_a_kill_in_the_middle_of_an_import_leaves_whole_files(
    store: Store, tmp_path: Path, n_begun: int
) -> None:
    code = """
        import sys
        from microstream_lab.store import Store
        def told(files):
            for file in files:
                print(file.name, flush=True)
                yield file
        Store(sys.argv[1]).import_klines(sys.argv[2], progress=told)
    """
    for n in range(6):
        bars = make_bars(6_000, symbol=f"SYM{n}")
        write_klines(tmp_path / "files", bars, f"SYM{n}-1m-2024-01.csv")
    importer = start(code, store.path, tmp_path / "files")
    assert all(first_line(importer) for _ in range(n_begun))
    importer.kill()
    importer.wait(30)
    series = Store(store.path).series().set_index("symbol")["bars"]
    assert series.pop("BTCUSDT") == 10
    assert len(series) < 6
    assert set(series) <= {6_000}
    files = store.sql("SELECT symbol FROM imports ORDER BY 1")["symbol"].tolist()
    assert files == sorted(series.index)
    report = Store(store.path).import_klines(tmp_path / "files")
    assert report.counts.new == 6_000 * (6 - len(series))


def test_a_full_disk_is_one_clear_error_and_the_store_stays_as_it_was(store: Store) -> None:
    code = """
        import resource, sys
        from factories import make_bars
        from microstream_lab.errors import StoreError
        from microstream_lab.store import Store
        limit = 2_000_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            Store(sys.argv[1]).write_bars(make_bars(200_000, symbol="ETHUSDT"))
        except StoreError as error:
            print(error)
    """
    message = finish(start(code, store.path))
    assert str(store.path) in message
    assert store.series()["symbol"].tolist() == ["BTCUSDT"]
    assert len(store.bars("BTCUSDT", "1m")) == 10
    assert store.write_bars(make_bars(1000, symbol="ETHUSDT")).new == 1000


def test_a_lock_file_in_a_folder_we_may_not_write_to_is_done_without(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.path.parent / "store.duckdb.lock").unlink()

    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr("microstream_lab.store.gate.os.open", refused)
    assert len(store.bars("BTCUSDT", "1m")) == 10
    assert store.write_bars(make_bars(20)).new == 10


def test_a_recorder_and_notebooks_share_one_store_without_an_error(store: Store) -> None:
    record = """
        import sys
        from factories import make_bars
        from microstream_lab.schema import iter_bars
        from microstream_lab.store import Store
        store = Store(sys.argv[1])
        for bar in list(iter_bars(make_bars(30)))[10:]:
            store.write_bars([bar])
        print("done")
    """
    notebooks = [start(READ_UNTIL_TOLD, store.path) for _ in range(2)]
    assert [first_line(notebook) for notebook in notebooks] == ["reading"] * 2
    recorder = start(record, store.path)
    patient = Store(store.path)
    stop = threading.Event()

    def explore() -> int:
        n = 0
        while not stop.is_set():
            n = int(patient.sql("SELECT count(*) AS n FROM bars")["n"][0])
        return n

    with ThreadPoolExecutor(1) as pool:
        exploring = pool.submit(explore)
        assert finish(recorder) == "done"
        stop.set()
        assert exploring.result(30) >= 10
    for notebook in notebooks:
        finish_told(notebook)
    coverage = patient.coverage("BTCUSDT", "1m")
    assert (coverage.present, coverage.n_missing) == (30, 0)
    assert interval_us("1m") * 29 == (coverage.last - coverage.first).value // 1000


def test_an_error_within_a_write_leaves_no_lock_behind(store: Store) -> None:
    with pytest.raises(StoreError, match="Table with name nowhere"), store._file.writing() as db:
        db.execute("INSERT INTO nowhere VALUES (1)")
    assert store.write_bars(make_bars(20)).new == 10


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a store to share, and a bundle for what will be recorded."""
    home = tmp_path_factory.mktemp("furnished")
    sharing.furnish(home, 3_000)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("serve", [False, True], ids=["embedded", "served"])
def test_recorder_notebooks_and_monitor_share_a_store_and_no_bar_is_lost(
    furnished: Path, tmp_path: Path, serve: bool
) -> None:
    home = tmp_path / "shared"
    shutil.copytree(furnished, home)
    seen = sharing.share(home, 5.0, serve=serve, trains=False)
    assert seen.errors == []
    assert seen.lost == []
    assert seen.n_bars >= 3 * 5
    assert seen.n_queries >= 10
