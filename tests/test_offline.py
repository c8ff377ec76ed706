"""The guard before every dial: this machine is allowed, the world only when not offline."""

from __future__ import annotations

import pytest

from microstream_lab.errors import OfflineError
from microstream_lab.market.offline import is_loopback, require_allowed


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:8080", "ws://127.0.0.1:9443/ws", "http://127.8.9.1", "http://[::1]:80"),
        "https://LOCALHOST",
    ],
)
def test_this_machine_may_be_dialled_offline(url: str) -> None:
    assert is_loopback(url)
    assert require_allowed(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("https://api.binance.com", "wss://stream.binance.com:9443", "http://10.0.0.1"),
        *("http://localhost.example.com", "http://127.0.0.1.example.com", "http://0.0.0.0"),
        *("http://127.0.0.1@example.com", "", "not an address", "http://[::]"),
    ],
)
def test_anything_else_may_not(url: str) -> None:
    assert not is_loopback(url)
    with pytest.raises(OfflineError, match="MICROSTREAM_OFFLINE"):
        require_allowed(url)


def test_the_world_may_be_dialled_when_not_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSTREAM_OFFLINE", "0")
    assert require_allowed("https://api.binance.com") == "https://api.binance.com"
