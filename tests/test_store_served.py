"""A served store: who finds it, who is let in, and what is left when one side is killed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import msgspec
import pytest
from factories import make_bars
from store_processes import READ_UNTIL_TOLD, finish, finish_told, first_line, start

from microstream_lab.doctor import examine
from microstream_lab.errors import OfflineError, SettingsError, StoreError, StoreLockedError
from microstream_lab.settings import Settings
from microstream_lab.store import Store, endpoint_file, janitor, serving
from microstream_lab.store.endpoint import Endpoint, find_endpoint, published
from microstream_lab.store.session import Session

SERVE = """
    import sys
    from pathlib import Path
    from microstream_lab.store import serving
    with serving(Path(sys.argv[1])) as endpoint:
        print(endpoint.address, flush=True)
        sys.stdin.readline()
"""
BEGIN_TO_WRITE = """
    import sys
    from factories import make_bars
    from microstream_lab.store import Store, transaction
    from microstream_lab.store.bars import stage, write_staged
    with Store(sys.argv[1])._file.writing() as connection, transaction(connection):
        print(write_staged(connection, stage(make_bars(20))).new, flush=True)
        sys.stdin.readline()
    print("written", flush=True)
"""
ENDPOINT = Endpoint("127.0.0.1", 9, "secret", os.getpid(), "a command", 0, "nowhere")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with ten bars."""
    path = tmp_path / "store.duckdb"
    Store(path).write_bars(make_bars(10))
    return path


def n_bars(store: Store) -> int:
    return len(store.bars("BTCUSDT", "1m"))


# Found and let in


def test_a_store_is_found_where_it_is_before_while_and_after_it_is_served(path: Path) -> None:
    store = Store(path)
    with serving(path) as endpoint:
        assert store.write_bars(make_bars(20)).new == 10
        assert endpoint.address in str(store.status().served_by)
        assert n_bars(store) == 20
    assert n_bars(store) == 20
    assert store.status().served_by is None
    assert store.write_bars(make_bars(30)).new == 10


def test_serving_makes_a_store_where_there_is_none_and_leaves_only_that(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.duckdb"
    with serving(path):
        assert Store(path).write_bars(make_bars(3)).new == 3
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["store.duckdb", "store.duckdb.lock"]


def test_the_file_that_lets_one_in_is_the_users_alone_and_ends_with_the_server(path: Path) -> None:
    with serving(path) as endpoint:
        file = endpoint_file(path)
        assert file.stat().st_mode & 0o777 == 0o600
        told = msgspec.json.decode(file.read_bytes(), type=Endpoint)
        assert (told, told.pid, told.path) == (endpoint, os.getpid(), str(path))
        assert len(told.token) >= 32
        assert told.token not in repr(told)
    assert not file.exists()


def test_a_store_is_served_once(path: Path) -> None:
    with (
        serving(path) as endpoint,
        pytest.raises(
            StoreError, match=f"served already, by PID {os.getpid()} at {endpoint.address}"
        ),
        serving(path),
    ):
        pass


def test_who_serves_waits_a_bounded_time_for_whoever_holds_the_file(path: Path) -> None:
    with (
        duckdb.connect(path, read_only=True),
        pytest.raises(StoreLockedError, match="another connection of this process"),
        serving(path, timeout_s=0.1),
    ):
        pass
    with serving(path):
        assert n_bars(Store(path)) == 10


def test_a_taken_port_is_one_clear_error_and_the_store_stays_a_file(path: Path) -> None:
    with serving(path) as endpoint:
        other = path.with_name("other.duckdb")
        with (
            pytest.raises(StoreError, match=f"{endpoint.address}: cannot be served there"),
            serving(other, port=endpoint.port),
        ):
            pass
        assert find_endpoint(other) is None
        assert Store(other).write_bars(make_bars(2)).new == 2


def test_an_address_beyond_loopback_needs_to_be_asked_for(path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "example.org"):
        with (
            pytest.raises(SettingsError, match=f"found {host}, .*docs/store.md"),
            serving(path, host),
        ):
            pass
    assert n_bars(Store(path)) == 10


def test_beyond_loopback_this_machine_goes_on_and_no_other_file_is_within_reach(path: Path) -> None:
    with serving(path, "0.0.0.0", beyond_loopback=True) as endpoint:
        assert Store(path).write_bars(make_bars(20)).new == 10
        near = Store(f"quack:127.0.0.1:{endpoint.port}", token=endpoint.token)
        assert n_bars(near) == 20
        with pytest.raises(StoreError, match="disabled"):
            near.sql("SELECT * FROM read_text($file)", {"file": str(endpoint_file(path))})
    assert n_bars(Store(path)) == 20


def test_an_address_needs_the_token_and_gives_the_same_store(path: Path) -> None:
    with serving(path) as endpoint:
        store = Store(endpoint.address, token=endpoint.token)
        assert store.write_bars(make_bars(20)).new == 10
        assert n_bars(store) == n_bars(Store(path)) == 20
        assert store.watermarks("1m") == {}
        assert store.status().reachable
        with pytest.raises(StoreError, match="found no token, expected the one in the file"):
            n_bars(Store(endpoint.address))
        with pytest.raises(StoreError, match="found a token that the server does not know"):
            n_bars(Store(endpoint.address, token="wrong"))


def test_the_users_own_store_lets_him_in_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Settings.load().store_path
    with serving(path) as endpoint:
        assert Store(endpoint.address).write_bars(make_bars(4)).new == 4
        token, address = endpoint.token, endpoint.address
        monkeypatch.setenv("MICROSTREAM_STORE", address)
        monkeypatch.setenv("MICROSTREAM_STORE_TOKEN", token)
        assert n_bars(Store()) == 4
        assert "secret" not in repr(Settings(microstream_store_token="secret"))


@pytest.mark.parametrize("address", ["quack:", "quack:localhost", "quack:a:b", "quack:x:99999"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(StoreError, match=r"expected such as quack:127\.0\.0\.1:9494"):
        Store(address)


def test_an_address_where_nobody_answers_is_told_after_a_bounded_wait() -> None:
    store = Store("quack:127.0.0.1:9", timeout_s=0.1, token="secret")
    with pytest.raises(StoreError, match=r"quack:127\.0\.0\.1:9: nobody answers; waited 0\.1 s"):
        n_bars(store)
    assert "nobody answers" in str(store.status().problem)


def test_no_address_beyond_this_machine_is_dialled_offline() -> None:
    with pytest.raises(OfflineError, match=r"192\.0\.2\.1"):
        n_bars(Store("quack:192.0.2.1:9494", token="secret"))


def test_without_the_extra_there_is_one_error_that_names_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "microstream_lab.store.quack.importlib.util.find_spec",
        lambda name, *rest: None if name.startswith("duckdb_extension") else find(name, *rest),
    )
    with (
        pytest.raises(StoreError, match=r"no extension httpfs .*microstream-lab\[served\]"),
        serving(path),
    ):
        pass
    assert n_bars(Store(path)) == 10


def test_the_doctor_tells_who_serves_the_store() -> None:
    settings = Settings.load()
    with serving(settings.store_path) as endpoint:
        (check,) = [check for check in examine(settings) if check.name == "store"]
        assert check.ok
        assert f"served by PID {os.getpid()} (" in check.found
        assert endpoint.address in check.found
        assert endpoint.token not in check.found


# Left behind


def test_what_a_dead_server_left_behind_is_noticed_and_ignored(path: Path) -> None:
    server = start(SERVE, path)
    assert first_line(server).startswith("quack:")
    assert Store(path).write_bars(make_bars(20)).new == 10
    server.kill()
    server.wait(30)
    assert endpoint_file(path).exists()
    assert n_bars(Store(path)) == 20
    assert Store(path).status().served_by is None
    with serving(path) as endpoint:
        assert find_endpoint(path) == endpoint
        assert n_bars(Store(path)) == 20


def test_an_endpoint_file_is_believed_only_while_its_server_holds_it(path: Path) -> None:
    with published(path, ENDPOINT):
        assert find_endpoint(path) == ENDPOINT
    for content in (msgspec.json.encode(ENDPOINT), b"", b"{}", b"\xff"):
        endpoint_file(path).write_bytes(content)
        assert find_endpoint(path) is None
        assert n_bars(Store(path)) == 10


def test_a_writer_killed_in_the_middle_leaves_nothing_and_blocks_nobody(path: Path) -> None:
    with serving(path):
        writer = start(BEGIN_TO_WRITE, path)
        assert first_line(writer) == "10"
        with pytest.raises(StoreLockedError, match=f"held by PID {writer.pid}"):
            Store(path, timeout_s=0.1).write_bars(make_bars(20))
        assert n_bars(Store(path)) == 10
        writer.kill()
        writer.wait(30)
        assert write_patiently(Store(path)) == 10
        assert n_bars(Store(path)) == 20
        staged = "SELECT * FROM duckdb_tables() WHERE starts_with(table_name, 'staged')"
        assert Store(path).sql(staged).empty


def write_patiently(store: Store) -> int:
    """Bars that are new; a killed writer's transaction is undone within a second."""
    until = time.monotonic() + 30
    while True:
        try:
            return store.write_bars(make_bars(20)).new
        except StoreError:
            if time.monotonic() > until:
                raise


def test_a_server_killed_in_the_middle_of_a_write_is_one_error_and_the_store_is_whole(
    path: Path,
) -> None:
    server = start(SERVE, path)
    assert first_line(server).startswith("quack:")
    writer = start(BEGIN_TO_WRITE, path)
    assert first_line(writer) == "10"
    server.kill()
    server.wait(30)
    writer.communicate("go on\n", timeout=60)
    assert writer.returncode != 0
    assert n_bars(Store(path)) == 10
    assert Store(path).write_bars(make_bars(20)).new == 10


def test_the_error_of_a_vanished_server_says_that_nothing_is_half_written(path: Path) -> None:
    server = start(SERVE, path)
    assert first_line(server).startswith("quack:")
    store = Store(path)

    def write() -> None:
        with store._file.writing() as connection:
            server.kill()
            server.wait(30)
            connection.execute("DELETE FROM bars")

    with pytest.raises(StoreError, match=r"the server has ended in the middle of a call; .* whole"):
        write()
    assert n_bars(store) == 10


def test_calls_go_on_when_the_server_is_another_one(path: Path) -> None:
    store = Store(path)
    for n in range(3):
        with serving(path):
            assert store.write_bars(make_bars(11 + n)).new == 1
            assert n_bars(store) == 11 + n


def test_a_session_that_the_server_has_dropped_is_replaced(path: Path) -> None:
    with serving(path) as endpoint:
        store = Store(path)
        for use in (lambda: n_bars(store), lambda: store.write_bars(make_bars(10)).unchanged):
            for session in store.sql("SELECT connection_id AS id FROM quack_active_connections()")[
                "id"
            ]:
                janitor._disconnect(endpoint, session)
            assert use() == 10


def test_sessions_that_idle_for_long_are_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor, "_EVERY_S", 0.01)
    monkeypatch.setattr(janitor, "_IDLE", janitor._IDLE.replace(str(janitor._IDLE_S), "1"))
    with serving(path) as endpoint:
        assert n_bars(Store(path)) == 10
        other = Session(endpoint.address, endpoint.token)
        count = "SELECT count(*) FROM quack_active_connections() WHERE state = 'finished'"
        until = time.monotonic() + 30
        while other.execute(count).fetchall() != [(0,)] and time.monotonic() < until:
            pass
        assert other.execute(count).fetchall() == [(0,)]
        assert n_bars(Store(path)) == 10
        other.close()


# Shared


def test_threads_read_and_write_a_served_store_at_once(path: Path) -> None:
    bars = make_bars(40)

    def write(part: int) -> int:
        shared = Store(path, timeout_s=30)
        return sum(
            shared.write_bars(bars.iloc[row : row + 1]).new for row in range(10 + part, 40, 2)
        )

    def read(_: int) -> bool:
        counts = [n_bars(Store(path)) for _ in range(20)]
        return counts == sorted(counts)

    with serving(path), ThreadPoolExecutor(4) as pool:
        writes, reads = pool.map(write, range(2)), pool.map(read, range(2))
        assert sum(writes) == 30
        assert all(reads)
    assert n_bars(Store(path)) == 40


def test_readers_of_other_processes_never_notice_that_a_server_comes_and_goes(path: Path) -> None:
    readers = [start(READ_UNTIL_TOLD, path) for _ in range(2)]
    assert [first_line(reader) for reader in readers] == ["reading"] * 2
    patient, bars = Store(path, timeout_s=30), make_bars(20)
    for row in range(10, 20):
        if row % 5:
            assert patient.write_bars(bars.iloc[row : row + 1]).new == 1
            continue
        with serving(path, timeout_s=30):
            assert patient.write_bars(bars.iloc[row : row + 1]).new == 1
    for reader in readers:
        assert int(finish_told(reader)) > 1
    assert n_bars(patient) == 20


def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "microstream_lab", "store", "serve"]
    path = Settings.load().store_path
    for number in (signal.SIGINT, signal.SIGTERM):
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert first_line(server).startswith(f"serving {path} at quack:127.0.0.1:")
        assert Store(path).write_bars(make_bars(5)).unchanged in (0, 5)
        server.send_signal(number)
        assert finish(server).endswith("is served no longer")
        assert not endpoint_file(path).exists()
        assert n_bars(Store(path)) == 5


def test_a_server_that_ends_lets_a_write_under_way_end_first(path: Path) -> None:
    server = start(SERVE, path)
    assert first_line(server).startswith("quack:")
    writer = start(BEGIN_TO_WRITE, path)
    assert first_line(writer) == "10"
    ending = threading.Thread(target=finish_told, args=(server,))
    ending.start()
    assert finish_told(writer) == "written"
    ending.join(60)
    assert not ending.is_alive()
    assert n_bars(Store(path)) == 20
