"""The files of one version: the artifact, its card, and how a draft becomes a version.

Invariant: a version appears whole or not at all; nothing is unpickled before its sha256 is
verified.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import joblib
from filelock import FileLock, Timeout

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import BundleBusyError, BundleCorruptError, BundleMismatchError
from microstream_lab.features import FEATURES

__all__ = [
    "ARTIFACT",
    "CARD",
    "VERSION",
    "claim_version",
    "load_artifact",
    "locked",
    "number",
    "read_artifact",
    "read_card",
    "require_features",
    "sweep_drafts",
    "write",
]

ARTIFACT, CARD = "bundle.joblib", "bundle.json"
VERSION: Final = r"v\d{4,}"
_DRAFTS_LAST_S: Final = 86_400.0


def sweep_drafts(series: Path) -> None:
    """Remove what programs that were killed while they wrote have left, a day later."""
    long_ago = time.time() - _DRAFTS_LAST_S
    for draft in series.glob(".draft-*"):
        with suppress(OSError):  # another program sweeps as well
            if draft.stat().st_mtime < long_ago:
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def claim_version(draft: Path, series: Path) -> str:
    """Rename the draft to the next free number; a rename onto a full folder fails, so try on."""
    while True:
        taken = [number(path) for path in series.glob("v*")]
        version = f"v{max(taken, default=0) + 1:04d}"
        try:
            draft.rename(series / version)
        except OSError:
            if not (series / version).exists():
                raise
        else:
            return version


def number(version: Path) -> int:
    """Number of a version's folder; 0 if it is none."""
    return int(version.name[1:]) if re.fullmatch(VERSION, version.name) else 0


def require_features(card: dict[str, Any], folder: Path) -> None:
    """Have the features of a bundle registered, importing the modules they were defined in."""
    for name in card["features"]:
        module = card.get("feature_modules", {}).get(name, "")
        if name not in FEATURES and module not in ("", "__main__"):
            with suppress(ImportError):
                import_module(module)
        if name not in FEATURES:
            raise BundleMismatchError(
                f"{folder}: found feature {name!r}, expected one of {' '.join(FEATURES)}; import "
                f"what registers it first (it was defined in {module or 'another version'})"
            )


def read_card(folder: Path) -> dict[str, Any]:
    """The description in a version's folder."""
    try:
        card = json.loads((folder / CARD).read_bytes())
        if not isinstance(card, dict) or not {"sha256", "features"} <= card.keys():
            raise ValueError("fields are missing")
    except (OSError, ValueError) as error:
        raise BundleCorruptError(
            f"{folder / CARD}: found {error}, expected the description of a bundle"
        ) from error
    return card


def read_artifact(folder: Path, sha256: str) -> bytes:
    """The artifact in a version's folder, if it is the one that was saved."""
    try:
        artifact = (folder / ARTIFACT).read_bytes()
    except OSError as error:
        raise BundleCorruptError(f"{folder / ARTIFACT}: {error.strerror}") from error
    found = hashlib.sha256(artifact).hexdigest()
    if found != sha256:
        raise BundleCorruptError(
            f"{folder / ARTIFACT}: found sha256 {found[:12]}..., expected {sha256[:12]}...; "
            "it was not loaded"
        )
    return artifact


def load_artifact(folder: Path, sha256: str) -> ModelBundle:
    """The bundle in a version's folder."""
    try:
        bundle = joblib.load(io.BytesIO(read_artifact(folder, sha256)))
    except (AttributeError, ImportError, ValueError, EOFError) as error:
        raise BundleCorruptError(
            f"{folder / ARTIFACT}: {error}; expected a bundle of this version of the package"
        ) from error
    if not isinstance(bundle, ModelBundle):
        raise BundleCorruptError(f"{folder / ARTIFACT}: found {type(bundle)}, expected a bundle")
    return bundle


def write(path: Path, content: bytes) -> None:
    """Write a file and have it on disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold a lock that the system takes back from a program that is killed."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout as error:
        raise BundleBusyError(
            f"{path}: found it held by another program, expected it within {timeout_s:g} s"
        ) from error
    try:
        yield
    finally:
        lock.release()
