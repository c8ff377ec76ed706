"""The one guard that everything passes before it dials.

Invariant: with MICROSTREAM_OFFLINE set, no address beyond this machine is ever dialled.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from microstream_lab.errors import OfflineError
from microstream_lab.settings import Settings

__all__ = ["is_loopback", "require_allowed"]


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine, judged by its text alone (no name is resolved)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_allowed(url: str, settings: Settings | None = None) -> str:
    """Return `url` if it may be dialled.

    Raises
    ------
    OfflineError
        If MICROSTREAM_OFFLINE is set and `url` is not on this machine.
    """
    settings = settings or Settings.load()
    if settings.microstream_offline and not is_loopback(url):
        raise OfflineError(
            f"found {urlsplit(url).netloc or url}, expected an address on this machine: "
            "MICROSTREAM_OFFLINE is set"
        )
    return url
