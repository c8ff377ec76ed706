"""One file over HTTP into a ``.part``, resumed where an earlier try was cut off.

Invariant: bytes are only ever added to a part of the same version of the file, as told by its
ETag; where the server cannot promise that, the part starts anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx

from microstream_lab.errors import DataError, ExchangeError
from microstream_lab.market.http import BusyError, HttpClient, require_ok
from microstream_lab.market.packed import MAX_BYTES

__all__ = ["NotPublishedError", "transfer"]


class NotPublishedError(ExchangeError):
    """The archive has no such file (HTTP 404)."""


async def transfer(
    http: HttpClient, url: str, part: Path, meter: Callable[[float, int], None]
) -> None:
    """Bring the whole body of `url` into `part`, trying again and resuming after a cut.

    Parameters
    ----------
    http : HttpClient
        Where to ask.
    url, part
        From where, and to where; ``<part>.etag`` beside it remembers the version.
    meter : callable
        Told the fraction reached and the bytes received since the last call.

    Raises
    ------
    NotPublishedError
        If there is no such file.
    DataError
        If it is larger than this package reads.
    """
    etag_file = part.with_name(part.name + ".etag")

    async def attempt() -> None:
        await http.gate.wait()
        async with http.stream(url, _headers(part, etag_file)) as response:
            offset = _offset(response, part, etag_file)
            if offset == 0:
                etag_file.write_text(response.headers.get("ETag", ""))
            await _receive(response, part, offset, meter)

    await http.persist(attempt)
    etag_file.unlink(missing_ok=True)


def _headers(part: Path, etag_file: Path) -> dict[str, str]:
    """Ask for the rest if a part of a known version is here, else for all of it."""
    headers = {"Accept-Encoding": "identity"}
    etag = etag_file.read_text() if etag_file.is_file() else ""
    size = part.stat().st_size if part.is_file() else 0
    if size and etag.startswith('"'):  # a weak ETag does not promise equal bytes
        headers |= {"Range": f"bytes={size}-", "If-Range": etag}
    return headers


def _offset(response: httpx.Response, part: Path, etag_file: Path) -> int:
    """Where the body of `response` belongs; raises if it is not the file or its rest."""
    if response.status_code == 404:
        raise NotPublishedError(str(response.request.url))
    if response.status_code == 416:
        part.unlink(missing_ok=True)
        etag_file.unlink(missing_ok=True)
        raise BusyError(f"{response.request.url}: found no such range, starting anew")
    require_ok(response)
    if response.status_code != 206:
        return 0
    served = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not served or int(served[1]) != part.stat().st_size:
        etag_file.unlink(missing_ok=True)
        raise BusyError(f"{response.request.url}: found another range than asked for")
    return int(served[1])


async def _receive(
    response: httpx.Response, part: Path, offset: int, meter: Callable[[float, int], None]
) -> None:
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if length.isdigit() else 0
    size = offset
    with part.open("ab" if offset else "wb") as file:
        # Pieces as they come: a chunk size would hold back what arrived before a cut.
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > MAX_BYTES:
                raise DataError(str(response.request.url), f"{size:,} bytes", f"<= {MAX_BYTES:,}")
            file.write(chunk)
            meter(size / max(size, total), len(chunk))
