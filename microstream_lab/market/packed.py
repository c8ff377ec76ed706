"""Bytes in and out of the archive's zips: bounded, verified, atomic and reproducible.

Invariant: nothing that a file declares about itself (sizes, member names) is believed, nothing is
unpacked to disk, and a file is either written whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final

import msgspec

from microstream_lab.errors import ChecksumError, DataError

__all__ = [
    "CHECKSUM_SUFFIX",
    "MAX_BYTES",
    "Content",
    "checksum_path",
    "parse_checksum",
    "read_content",
    "sha256_of",
    "verify_checksum",
    "write_atomically",
    "write_zip",
]

CHECKSUM_SUFFIX: Final = ".CHECKSUM"
MAX_BYTES: Final = 2 << 30
"""Most that one file may hold, packed or unpacked; a month of 1s bars is a quarter of it."""
MAX_RATIO: Final = 100
"""Bars and trades deflate to a third or a tenth; deflate itself ends at 1032."""
_SMALL: Final = 64 << 20
_CHUNK: Final = 1 << 20
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class Content(msgspec.Struct, frozen=True):
    """The CSV text of a file, the name it carries inside a zip, and the file's sha256."""

    text: bytes
    member: str | None
    sha256: str


def read_content(path: Path, max_bytes: int = MAX_BYTES) -> Content:
    """Read a CSV or the only CSV in a zip, verified against a checksum file beside it.

    Raises
    ------
    DataError
        If the file cannot be read, is no sound zip of one plain CSV, or is larger than `max_bytes`.
    ChecksumError
        If ``<path>.CHECKSUM`` stands beside it and is malformed or of other content.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(str(path), f"{size:,} bytes", f"at most {max_bytes:,}")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), error.strerror or str(error), "a readable file") from error
    digest = hashlib.sha256(raw).hexdigest()
    verify_checksum(path, digest)
    if path.suffix != ".zip":
        return Content(raw, None, digest)
    member, text = _inflate(path, raw, max_bytes)
    return Content(text, member, digest)


def _inflate(path: Path, raw: bytes, max_bytes: int) -> tuple[str, bytes]:
    limit = min(max_bytes, max(_SMALL, MAX_RATIO * len(raw)))
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            member = _only_member(path, archive)
            with archive.open(member) as stream:
                return member.filename, _read_bounded(path, stream, limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise DataError(str(path), f"a damaged zip ({error})", "a whole zip") from error
    except (RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(str(path), f"an unusual zip ({error})", "a plain zip") from error


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1:
        raise DataError(str(path), f"a zip of {len(members)} members", "exactly one CSV")
    member = members[0]
    if not re.fullmatch(r"[A-Za-z0-9][\w.\-() ]*\.csv", member.filename):
        raise DataError(str(path), f"a member named {member.filename!r}", "one plain .csv name")
    # Other methods cannot be inflated in bounded pieces by the standard library.
    if member.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        raise DataError(str(path), f"zip method {member.compress_type}", "deflated or stored")
    return member


def _read_bounded(path: Path, stream: IO[bytes], limit: int) -> bytes:
    pieces, total = [], 0
    while piece := stream.read(_CHUNK):
        pieces.append(piece)
        total += len(piece)
        if total > limit:
            found = f"a zip that inflates beyond {limit:,} bytes"
            raise DataError(str(path), found, f"at most {MAX_RATIO} times its size")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def checksum_path(path: Path) -> Path:
    """The checksum file that belongs beside `path`."""
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_checksum(text: bytes, name: str, where: str) -> str:
    """The sha256 that a checksum file (``sha256sum`` format) gives for the file `name`.

    Raises
    ------
    ChecksumError
        If it is malformed or about another file.
    """
    match = re.fullmatch(rb"([0-9a-fA-F]{64}) [ *]([^\r\n]+)\s*", text)
    if not match:
        found = repr(text[:80].decode(errors="replace"))
        raise ChecksumError(where, found, f"64 hex digits, two spaces, {name}")
    named = match[2].decode(errors="replace").strip()
    if named != name:
        raise ChecksumError(where, f"the checksum of {named}", f"that of {name}")
    return match[1].decode().lower()


def verify_checksum(path: Path, digest: str) -> bool:
    """Compare `digest` with the checksum file beside `path`; False if there is none."""
    beside = checksum_path(path)
    if not beside.is_file():
        return False
    published = parse_checksum(beside.read_bytes()[:1024], path.name, str(beside))
    if published != digest:
        raise ChecksumError(str(path), f"sha256 {digest}", f"{published} as {beside.name} says")
    return True


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see all of it or none, whatever stops the program.

    Raises
    ------
    DataError
        If the folder cannot be made or written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        found = error.strerror or str(error)
        raise DataError(str(path), found, "a folder that can be written") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def write_zip(path: Path, text: bytes) -> Path:
    """Write `text` as the only member of a zip, with its checksum file beside; same in, same out.

    A crash between the two files leaves a checksum that does not match, which reading refuses.
    """
    member = zipfile.ZipInfo(path.with_suffix(".csv").name, _EPOCH)
    member.compress_type, member.create_system = zipfile.ZIP_DEFLATED, 3
    member.external_attr = 0o644 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, text, compresslevel=6)
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    write_atomically(path, packed.getvalue())
    write_atomically(checksum_path(path), f"{digest}  {path.name}\n".encode())
    return path
