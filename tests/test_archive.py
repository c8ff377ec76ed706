"""Downloads from a local server that misbehaves in every way the archive is known to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from archive_server import Answer, ArchiveServer, FakeClock
from factories import make_bars

from microstream_lab.errors import ChecksumError, ExchangeError, OfflineError, RateLimitedError
from microstream_lab.market.archive import Archive, Download, plan_files
from microstream_lab.market.budget import Gate
from microstream_lab.market.files import read_klines
from microstream_lab.market.packed import checksum_path

DAY = "2024-03-05"
PATH = f"spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{DAY}.zip"


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bars() -> pd.DataFrame:
    return make_bars(1440, start=DAY)


def fetch(
    server: ArchiveServer,
    folder: Path,
    clock: FakeClock,
    start: str = DAY,
    end: str = "2024-03-06",
    interval: str = "1m",
    **options: object,
) -> Download:
    timeout_s = options.pop("timeout_s", 5.0)
    archive = Archive(
        server.url, folder / "archive", timeout_s=timeout_s, gate=Gate(clock, clock.sleep)
    )
    return asyncio.run(archive.download("BTCUSDT", interval, start, end, **options))


def content_of(server: ArchiveServer) -> bytes:
    return server.files[f"/data/{PATH}"]


def test_plan_takes_whole_months_in_one_file_and_other_days_singly() -> None:
    names = plan_files("BTCUSDT", "klines", "1m", "2024-01-30", "2024-03-02")
    assert [str(name.period) for name in names] == [
        "2024-01-30",
        "2024-01-31",
        "2024-02",
        "2024-03-01",
    ]


def test_plan_counts_a_day_that_is_only_touched_and_not_the_end_itself() -> None:
    names = plan_files("BTCUSDT", "klines", "1m", "2024-01-30T23:59", "2024-01-31T00:00:00")
    assert [str(name.period) for name in names] == ["2024-01-30"]
    assert plan_files("BTCUSDT", "klines", "1m", "2024-01-30", "2024-01-30") == []


def test_plan_of_agg_trades_never_asks_for_months() -> None:
    names = plan_files("BTCUSDT", "aggTrades", None, "2024-02-01", "2024-03-01")
    assert len(names) == 29
    assert names[0].archive_path("um") == (
        "futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-02-01.zip"
    )


def test_download_brings_the_file_its_checksum_and_no_leftovers(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    result = fetch(server, tmp_path, clock)
    (file,) = result.files
    assert sorted(p.name for p in file.parent.iterdir()) == [file.name, f"{file.name}.CHECKSUM"]
    assert (result.reused, result.missing, result.n_bytes) == (0, [], len(content_of(server)))
    assert read_klines(file)["close"].tolist() == bars["close"].tolist()


def test_download_asks_for_nothing_that_is_here_and_verified(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    fetch(server, tmp_path, clock)
    server.requests.clear()
    again = fetch(server, tmp_path, clock)
    assert (again.reused, again.n_bytes, server.requests) == (1, 0, [])


def test_download_replaces_a_file_here_that_does_not_match_its_checksum(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    (file,) = fetch(server, tmp_path, clock).files
    file.write_bytes(b"spoilt")
    again = fetch(server, tmp_path, clock)
    assert again.reused == 0
    assert file.read_bytes() == content_of(server)


def test_truncated_body_is_resumed_where_it_stopped(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"].append(Answer(cut=1000))
    result = fetch(server, tmp_path, clock)
    assert result.files[0].read_bytes() == content_of(server)
    assert result.n_bytes == len(content_of(server))
    first, second = server.asked(".zip")
    assert "Range" not in first
    assert second["Range"] == "bytes=1000-"


def test_truncated_body_starts_anew_where_the_server_knows_no_ranges(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.with_ranges = False
    server.faults[f"/data/{PATH}"].append(Answer(cut=1000))
    result = fetch(server, tmp_path, clock)
    assert result.files[0].read_bytes() == content_of(server)
    assert result.n_bytes == len(content_of(server)) + 1000


def test_body_that_changed_between_tries_is_never_stitched_together(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    for _ in range(6):
        server.faults[f"/data/{PATH}"].append(Answer(cut=1000))
    with pytest.raises(ExchangeError):
        fetch(server, tmp_path, clock)
    server.faults.clear()
    server.publish_bars(make_bars(1440, seed=7, start=DAY), tmp_path / "other", monthly=False)
    result = fetch(server, tmp_path, clock)
    assert "Range" in server.asked(".zip")[-1]
    assert result.files[0].read_bytes() == content_of(server)


def test_weak_etag_is_no_promise_and_starts_anew(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"].append(Answer(cut=1000, headers={"ETag": 'W/"x"'}))
    result = fetch(server, tmp_path, clock)
    assert not any("Range" in headers for headers in server.asked(".zip"))
    assert result.files[0].read_bytes() == content_of(server)


def test_range_the_server_cannot_satisfy_starts_anew(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"] += [Answer(cut=1000), Answer(status=416)]
    result = fetch(server, tmp_path, clock)
    assert result.files[0].read_bytes() == content_of(server)


def test_process_that_died_mid_file_goes_on_with_the_part_it_left(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"] += [Answer(cut=500)] + [Answer(status=503)] * 5
    with pytest.raises(ExchangeError, match="503"):
        fetch(server, tmp_path, clock)
    server.requests.clear()
    result = fetch(server, tmp_path, clock)
    assert server.asked(".zip")[0]["Range"] == "bytes=500-"
    assert result.files[0].read_bytes() == content_of(server)


def test_wrong_body_is_fetched_once_more_and_then_accepted(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"].append(Answer(body=b"something else"))
    assert fetch(server, tmp_path, clock).files[0].read_bytes() == content_of(server)


def test_wrong_checksum_twice_is_an_error_and_leaves_nothing_under_the_name(
    server: ArchiveServer, clock: FakeClock, tmp_path: Path
) -> None:
    server.publish(PATH, b"not what was published", checksum="0" * 64)
    with pytest.raises(ChecksumError, match="twice"):
        fetch(server, tmp_path, clock)
    assert len(server.asked(".zip")) == 2
    assert not [p for p in (tmp_path / "archive").rglob("*.zip*") if p.is_file()]


def test_malformed_checksum_file_is_an_error_that_shows_it(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.files[f"/data/{PATH}.CHECKSUM"] = b"<html>oops</html>"
    with pytest.raises(ChecksumError, match="oops"):
        fetch(server, tmp_path, clock)


def test_missing_day_is_told_and_the_others_come(
    server: ArchiveServer, clock: FakeClock, tmp_path: Path
) -> None:
    server.publish_bars(make_bars(1440, start="2024-03-04"), tmp_path / "a", monthly=False)
    server.publish_bars(make_bars(1440, start="2024-03-06"), tmp_path / "b", monthly=False)
    result = fetch(server, tmp_path, clock, "2024-03-04", "2024-03-07")
    assert [file.stem[-10:] for file in result.files] == ["2024-03-04", "2024-03-06"]
    assert result.missing == [date(2024, 3, 5)]


def test_month_that_is_not_published_is_taken_day_by_day(
    server: ArchiveServer, clock: FakeClock, tmp_path: Path
) -> None:
    server.publish_bars(make_bars(60, interval="1h", start="2024-02-28"), tmp_path / "a", False)
    advanced: list[float] = []
    result = fetch(
        server,
        tmp_path,
        clock,
        "2024-02-01",
        "2024-03-01",
        interval="1h",
        progress=lambda days, n_bytes: advanced.append(days),
    )
    assert [file.stem[-10:] for file in result.files] == ["2024-02-28", "2024-02-29"]
    assert result.missing == [date(2024, 2, day) for day in range(1, 28)]
    assert sum(advanced) == pytest.approx(29)


def test_whole_month_comes_as_one_file(
    server: ArchiveServer, clock: FakeClock, tmp_path: Path
) -> None:
    month = make_bars(29 * 24, interval="1h", start="2024-02-01")
    server.publish_bars(month, tmp_path / "a", monthly=True)
    result = fetch(server, tmp_path, clock, "2024-02-01", "2024-03-01", interval="1h")
    assert [file.name for file in result.files] == ["BTCUSDT-1h-2024-02.zip"]


def test_retry_after_of_a_429_is_waited_for_and_then_it_goes_on(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"].append(Answer(status=429, headers={"Retry-After": "7"}))
    result = fetch(server, tmp_path, clock)
    assert sum(clock.slept) == pytest.approx(7)
    assert len(result.files) == 1


def test_ban_of_days_is_told_instead_of_waited_for(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"].append(Answer(status=418, headers={"Retry-After": "86400"}))
    with pytest.raises(RateLimitedError, match="86400") as caught:
        fetch(server, tmp_path, clock)
    assert caught.value.retry_after_s == 86_400
    assert clock.slept == []


def test_server_that_stalls_times_out_and_is_resumed(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"].append(Answer(stall=2000))
    result = fetch(server, tmp_path, clock, timeout_s=0.3)
    assert result.files[0].read_bytes() == content_of(server)
    assert server.asked(".zip")[1]["Range"] == "bytes=2000-"


def test_server_errors_back_off_with_growing_capped_waits_and_then_give_up(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.faults[f"/data/{PATH}"] += [Answer(status=500)] * 20
    with pytest.raises(ExchangeError, match="HTTP 500"):
        fetch(server, tmp_path, clock)
    assert len(clock.slept) == 5
    assert clock.slept == sorted(clock.slept)
    assert max(clock.slept) <= 31


def test_one_failing_file_stops_the_download_but_keeps_what_came(
    server: ArchiveServer, clock: FakeClock, bars: pd.DataFrame, tmp_path: Path
) -> None:
    server.publish_bars(bars, tmp_path / "made", monthly=False)
    server.publish(PATH.replace(DAY, "2024-03-06"), b"bad", checksum="1" * 64)
    with pytest.raises(ChecksumError):
        fetch(server, tmp_path, clock, DAY, "2024-03-07")
    server.requests.clear()
    assert fetch(server, tmp_path, clock).reused in (0, 1)
    kept = tmp_path / "archive" / PATH
    assert kept.is_file()
    assert checksum_path(kept).is_file()


def test_nothing_is_dialled_beyond_this_machine_when_offline(tmp_path: Path) -> None:
    archive = Archive("https://data.binance.vision", tmp_path)
    with pytest.raises(OfflineError, match=r"data\.binance\.vision"):
        asyncio.run(archive.download("BTCUSDT", "1m", DAY, "2024-03-06"))
