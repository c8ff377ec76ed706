"""``microstream exchange`` as a user starts and ends it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from microstream_lab.cli import main
from microstream_lab.market.files import write_agg_trades
from microstream_lab.market.simulate import simulate_market

PROGRAM = (sys.executable, "-c", "from microstream_lab.cli import main; main()", "exchange")


def started(*options: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """The command, and the settings it prints."""
    process = subprocess.Popen(
        [*PROGRAM, "--port", "0", *options], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(4)]
    return process, dict(line.split("=") for line in lines[1:])


def test_simulated_market_is_served_with_a_past_until_it_is_interrupted() -> None:
    process, addresses = started("--symbols", "simusdt,othusdt", "--history-days", "0.1")
    try:
        base = addresses["BINANCE_REST_URL"]
        with httpx.Client(base_url=base, trust_env=False) as client:
            info = client.get("/api/v3/exchangeInfo").json()
            params = {"symbol": "SIMUSDT", "interval": "1m", "limit": "1000"}
            klines = client.get("/api/v3/klines", params=params).json()
        assert [entry["symbol"] for entry in info["symbols"]] == ["SIMUSDT", "OTHUSDT"]
        assert 144 <= len(klines) <= 147
        assert addresses["BINANCE_WS_URL"] == base.replace("http", "ws")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_recorded_file_is_served_at_any_speed(tmp_path: Path) -> None:
    (file,) = write_agg_trades(simulate_market("2025-01-01", 60).trades, tmp_path)
    process, addresses = started(str(file), "--speed", "max", "--faults", "drop=0.1")
    process.terminate()
    assert process.wait(20) == 0
    assert addresses["BINANCE_ARCHIVE_URL"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--speed", "warp"], "expected a factor"),
        (["--faults", "explode=1"], "found 'explode=1'"),
        (["--faults", "drop"], "found 'drop'"),
        (["absent.csv"], "expected a readable file"),
        (["--speed", "0"], "expected a factor above zero"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["exchange", *options])
    told = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert complaint in told
    assert told.count("\n") == 1


def test_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as ended:
        main(["exchange", "--port", str(taken.getsockname()[1]), "--history-days", "0"])
    assert ended.value.code == 1
    assert "expected a port that is free" in capsys.readouterr().err
