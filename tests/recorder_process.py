"""A recorder in a process of its own, to be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from microstream_lab.market.exchange import LocalExchange

SCRIPT = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import chaos
from microstream_lab.settings import Settings
asyncio.run(chaos.record_until_told(Settings.load(), Path(sys.argv[2])))
"""


def start_recorder(exchange: LocalExchange, home: Path) -> subprocess.Popen[bytes]:
    """Start a recorder of all symbols that stores below `home`."""
    addresses = {"BINANCE_WS_URL": exchange.ws_url, "BINANCE_REST_URL": exchange.rest_url}
    environment = {**os.environ, **addresses, "MICROSTREAM_HOME": str(home)}
    here = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", SCRIPT, here, str(home)], env=environment)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it without any warning."""
    process.send_signal(signal.SIGKILL)
    process.wait()
