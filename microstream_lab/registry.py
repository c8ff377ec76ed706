"""Bundles on disk: versions per market, symbol and interval, and which of them is current.

Layout below the registry's folder::

    um/BTCUSDT/1m/v0001/bundle.joblib    the artifact
    um/BTCUSDT/1m/v0001/bundle.json      the same for people, with the artifact's sha256
    um/BTCUSDT/1m/current.json           the promoted version, and those before it

Invariant: a version appears whole or not at all and never changes; ``current.json`` is replaced
atomically; nothing is unpickled before its sha256 is verified.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib
from filelock import FileLock

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import (
    BundleCorruptError,
    BundleError,
    BundleMismatchError,
    BundleNotFoundError,
)
from microstream_lab.features import FEATURES
from microstream_lab.schema import MARKETS, interval_us

__all__ = ["Registry", "VersionInfo"]

_ARTIFACT, _CARD, _POINTER = "bundle.joblib", "bundle.json", "current.json"
_VERSION = r"v\d{4,}"


@dataclass(frozen=True)
class VersionInfo:
    """One saved version; `card` is its ``bundle.json``."""

    market: str
    symbol: str
    interval: str
    version: str
    is_current: bool
    card: dict[str, Any]


class Registry:
    """Versions of model bundles below one folder.

    Parameters
    ----------
    path : path-like
        The folder; it is made when the first bundle is saved.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def save(self, bundle: ModelBundle) -> str:
        """Store `bundle` as a new version and return its name, such as ``v0003``.

        The new version is not current before it is promoted.
        """
        series = self._series(bundle.symbol, bundle.interval, bundle.market)
        series.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        joblib.dump(bundle, buffer, compress=3)
        artifact = buffer.getvalue()
        card = {
            "sha256": hashlib.sha256(artifact).hexdigest(),
            "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **bundle.describe(),
        }
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=series))
        try:
            _write(draft / _ARTIFACT, artifact)
            _write(draft / _CARD, json.dumps(card, indent=2).encode())
            draft.chmod(0o755)
            return _claim_version(draft, series)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def load(
        self, symbol: str, interval: str, version: str | None = None, market: str = "spot"
    ) -> ModelBundle:
        """The bundle of a version, the current one by default.

        Raises
        ------
        BundleNotFoundError
            If there is no such version, or none is current.
        BundleCorruptError
            If its files are not those that were saved.
        BundleMismatchError
            If it needs features this package does not have.
        """
        version = version or self.current(symbol, interval, market)
        if version is None:
            raise BundleNotFoundError(
                f"{market} {symbol} {interval}: found no current bundle in {self.path}; "
                f"train one with: microstream train --symbol {symbol} --interval {interval} "
                f"--market {market}"
            )
        folder = self._version(symbol, interval, version, market)
        card = _read_card(folder)
        _require_features(card, folder)
        return _load_artifact(folder, str(card["sha256"]))

    def verify(self, symbol: str, interval: str, version: str, market: str = "spot") -> None:
        """Check the files of a version without loading it; raises like :meth:`load`."""
        folder = self._version(symbol, interval, version, market)
        _read_artifact(folder, str(_read_card(folder)["sha256"]))

    def current(self, symbol: str, interval: str, market: str = "spot") -> str | None:
        """The promoted version, None if there is none."""
        history = self._history(symbol, interval, market)
        return history[-1] if history else None

    def promoted(self, symbol: str, interval: str, market: str = "spot") -> Sequence[str]:
        """The versions that were promoted and not rolled back, the current one last."""
        return self._history(symbol, interval, market)

    def remove(self, symbol: str, interval: str, version: str, market: str = "spot") -> None:
        """Delete a version; raises BundleError if it is current or a rollback could lead to it."""
        folder = self._version(symbol, interval, version, market)
        with self._pointer_lock(symbol, interval, market):
            if version in self._history(symbol, interval, market):
                raise BundleError(
                    f"{market} {symbol} {interval}: found {version} among the promoted versions, "
                    "expected one that is not; those are kept for rollbacks"
                )
            doomed = folder.rename(folder.with_name(f".draft-{version}-{os.getpid()}"))
        shutil.rmtree(doomed)

    def promote(self, symbol: str, interval: str, version: str, market: str = "spot") -> None:
        """Make a verified version the current one."""
        self.verify(symbol, interval, version, market)
        with self._pointer_lock(symbol, interval, market):
            history = self._history(symbol, interval, market)
            if not history or history[-1] != version:
                self._point(symbol, interval, market, [*history, version])

    def rollback(self, symbol: str, interval: str, market: str = "spot") -> str:
        """Go back to the version that was current before, and return it.

        Raises
        ------
        BundleNotFoundError
            If there was none before.
        """
        if self.current(symbol, interval, market) is None:
            raise BundleNotFoundError(f"{market} {symbol} {interval}: found no current bundle")
        with self._pointer_lock(symbol, interval, market):
            history = self._history(symbol, interval, market)
            if len(history) < 2:
                raise BundleNotFoundError(
                    f"{market} {symbol} {interval}: found no version promoted before the "
                    f"current one ({history[-1] if history else 'none'}), nothing to go back to"
                )
            self.verify(symbol, interval, history[-2], market)
            self._point(symbol, interval, market, history[:-1])
            return history[-2]

    def list(
        self, symbol: str | None = None, interval: str | None = None, market: str | None = None
    ) -> Sequence[VersionInfo]:
        """All versions, oldest first within a series, narrowed down where asked."""
        found = []
        cards = (path for path in self.path.glob(f"*/*/*/v*/{_CARD}") if _number(path.parent))
        for card_path in sorted(cards, key=lambda path: (path.parts[:-2], _number(path.parent))):
            series = card_path.parent.parent
            key = (series.parent.parent.name, series.parent.name, series.name)
            wanted = zip(key, (market, symbol, interval), strict=True)
            if all(want in (None, have) for have, want in wanted):
                version = card_path.parent.name
                is_current = self.current(key[1], key[2], key[0]) == version
                found.append(VersionInfo(*key, version, is_current, _read_card(card_path.parent)))
        return found

    def _series(self, symbol: str, interval: str, market: str) -> Path:
        interval_us(interval)
        if market not in MARKETS or not re.fullmatch(r"[A-Z0-9]{2,30}", symbol):
            raise BundleNotFoundError(
                f"bundle: found market {market!r} and symbol {symbol!r}, "
                f"expected one of {' '.join(MARKETS)} and a symbol such as BTCUSDT"
            )
        return self.path / market / symbol / interval

    def _version(self, symbol: str, interval: str, version: str, market: str) -> Path:
        series = self._series(symbol, interval, market)
        if not re.fullmatch(_VERSION, version) or not (series / version).is_dir():
            known = " ".join(sorted(p.name for p in series.glob("v*"))) or "none yet"
            raise BundleNotFoundError(
                f"{market} {symbol} {interval}: found no version {version!r}, have {known}"
            )
        return series / version

    def _history(self, symbol: str, interval: str, market: str) -> Sequence[str]:
        pointer = self._series(symbol, interval, market) / _POINTER
        if not pointer.exists():
            return []
        try:
            return [str(version) for version in json.loads(pointer.read_bytes())["promoted"]]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleCorruptError(
                f"{pointer}: found no list 'promoted', expected one"
            ) from error

    def _point(self, symbol: str, interval: str, market: str, history: Sequence[str]) -> None:
        pointer = self._series(symbol, interval, market) / _POINTER
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=pointer.parent)
        os.close(handle)
        content = {"current": history[-1], "promoted": list(history)}
        _write(Path(draft), json.dumps(content, indent=2).encode())
        Path(draft).chmod(0o644)
        Path(draft).replace(pointer)

    @contextmanager
    def _pointer_lock(self, symbol: str, interval: str, market: str) -> Iterator[None]:
        with FileLock(self._series(symbol, interval, market) / ".lock", timeout=10):
            yield


def _claim_version(draft: Path, series: Path) -> str:
    """Rename the draft to the next free number; a rename onto a full folder fails, so try on."""
    while True:
        taken = [_number(path) for path in series.glob("v*")]
        version = f"v{max(taken, default=0) + 1:04d}"
        try:
            draft.rename(series / version)
        except OSError:
            if not (series / version).exists():
                raise
        else:
            return version


def _number(version: Path) -> int:
    """Number of a version's folder; 0 if it is none."""
    return int(version.name[1:]) if re.fullmatch(_VERSION, version.name) else 0


def _require_features(card: dict[str, Any], folder: Path) -> None:
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


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / _CARD).read_bytes())
        if not isinstance(card, dict) or not {"sha256", "features"} <= card.keys():
            raise ValueError("fields are missing")
    except (OSError, ValueError) as error:
        raise BundleCorruptError(
            f"{folder / _CARD}: found {error}, expected the description of a bundle"
        ) from error
    return card


def _read_artifact(folder: Path, sha256: str) -> bytes:
    try:
        artifact = (folder / _ARTIFACT).read_bytes()
    except OSError as error:
        raise BundleCorruptError(f"{folder / _ARTIFACT}: {error.strerror}") from error
    found = hashlib.sha256(artifact).hexdigest()
    if found != sha256:
        raise BundleCorruptError(
            f"{folder / _ARTIFACT}: found sha256 {found[:12]}..., expected {sha256[:12]}...; "
            "it was not loaded"
        )
    return artifact


def _load_artifact(folder: Path, sha256: str) -> ModelBundle:
    try:
        bundle = joblib.load(io.BytesIO(_read_artifact(folder, sha256)))
    except (AttributeError, ImportError, ValueError, EOFError) as error:
        raise BundleCorruptError(
            f"{folder / _ARTIFACT}: {error}; expected a bundle of this version of the package"
        ) from error
    if not isinstance(bundle, ModelBundle):
        raise BundleCorruptError(f"{folder / _ARTIFACT}: found {type(bundle)}, expected a bundle")
    return bundle


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
