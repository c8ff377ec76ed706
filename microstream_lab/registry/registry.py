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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import joblib

from microstream_lab.bundle import ModelBundle
from microstream_lab.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    PromotionError,
)
from microstream_lab.registry.files import (
    ARTIFACT,
    CARD,
    VERSION,
    claim_version,
    load_artifact,
    locked,
    number,
    read_artifact,
    read_card,
    require_features,
    sweep_drafts,
    write,
)
from microstream_lab.schema import MARKETS, interval_us

__all__ = ["Registry", "VersionInfo"]

_POINTER: Final = "current.json"
_WHATEVER: Final = "whatever is current"
_WAY_BACK: Final = 10
"""Promotions that are remembered: what a rollback cannot reach any more need not be kept."""
_POINTING_S, _DECIDING_S = 10.0, 600.0


@dataclass(frozen=True)
class VersionInfo:
    """One saved version; `card` is its ``bundle.json``, empty where `problem` says why."""

    market: str
    symbol: str
    interval: str
    version: str
    is_current: bool
    card: dict[str, Any]
    problem: str = ""


class Registry:
    """Versions of model bundles below one folder.

    Parameters
    ----------
    path : path-like
        The folder; it is made when the first bundle is saved.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def save(self, bundle: ModelBundle, gate: Mapping[str, Any] | None = None) -> str:
        """Store `bundle` as a new version and return its name, such as ``v0003``.

        The new version is not current before it is promoted.

        Parameters
        ----------
        bundle : ModelBundle
        gate : mapping, optional
            How it was judged, ready for JSON; it stands in the card under ``gate``.
        """
        series = self._series(bundle.symbol, bundle.interval, bundle.market)
        series.mkdir(parents=True, exist_ok=True)
        sweep_drafts(series)
        buffer = io.BytesIO()
        joblib.dump(bundle, buffer, compress=3)
        artifact = buffer.getvalue()
        card = {
            "sha256": hashlib.sha256(artifact).hexdigest(),
            "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **bundle.describe(),
            **({} if gate is None else {"gate": dict(gate)}),
        }
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=series))
        try:
            write(draft / ARTIFACT, artifact)
            write(draft / CARD, json.dumps(card, indent=2).encode())
            draft.chmod(0o755)
            return claim_version(draft, series)
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
        version = version or self._require_current(symbol, interval, market)
        folder = self._version(symbol, interval, version, market)
        card = read_card(folder)
        require_features(card, folder)
        return load_artifact(folder, str(card["sha256"]))

    def verify(self, symbol: str, interval: str, version: str, market: str = "spot") -> None:
        """Check the files of a version without loading it; raises like :meth:`load`."""
        folder = self._version(symbol, interval, version, market)
        read_artifact(folder, str(read_card(folder)["sha256"]))

    def current(self, symbol: str, interval: str, market: str = "spot") -> str | None:
        """The promoted version, None if there is none."""
        history = self.promoted(symbol, interval, market)
        return history[-1] if history else None

    def promoted(self, symbol: str, interval: str, market: str = "spot") -> Sequence[str]:
        """The versions a rollback can lead to, ten at most, and the current one as the last."""
        pointer = self._series(symbol, interval, market) / _POINTER
        if not pointer.exists():
            return []
        try:
            return [str(version) for version in json.loads(pointer.read_bytes())["promoted"]]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleCorruptError(
                f"{pointer}: found no list 'promoted', expected one"
            ) from error

    def remove(self, symbol: str, interval: str, version: str, market: str = "spot") -> None:
        """Delete a version; raises BundleError if it is current or a rollback could lead to it."""
        folder = self._version(symbol, interval, version, market)
        with self._pointer_lock(symbol, interval, market):
            if version in self.promoted(symbol, interval, market):
                raise BundleError(
                    f"{market} {symbol} {interval}: found {version} among the promoted versions, "
                    "which are kept for rollbacks, expected another"
                )
            doomed = folder.rename(folder.with_name(f".draft-{version}-{os.getpid()}"))
        shutil.rmtree(doomed)

    def promote(
        self,
        symbol: str,
        interval: str,
        version: str,
        market: str = "spot",
        *,
        instead_of: str | None = _WHATEVER,
    ) -> None:
        """Make a verified version the current one.

        Parameters
        ----------
        symbol, interval, version, market : str
            Which.
        instead_of : str or None, optional
            Only if this version is current at the moment, or none is (None).

        Raises
        ------
        PromotionError
            If another is current than the one it was to take the place of.
        """
        self.verify(symbol, interval, version, market)
        with self._pointer_lock(symbol, interval, market):
            history = self.promoted(symbol, interval, market)
            now = history[-1] if history else None
            if instead_of not in (_WHATEVER, now):
                raise PromotionError(
                    f"{market} {symbol} {interval}: found {now} current, expected {instead_of}, "
                    f"which {version} was judged against; nothing was promoted"
                )
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
            history = self.promoted(symbol, interval, market)
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
        """All versions, oldest first within a series, narrowed down where asked.

        One whose files cannot be read is listed with the problem, and hides no other.
        """
        versions = [path for path in self.path.glob("*/*/*/v*") if number(path)]
        found = []
        for folder in sorted(versions, key=lambda path: (path.parts[:-1], number(path))):
            key = folder.parts[-4:-1]
            wanted = zip(key, (market, symbol, interval), strict=True)
            if all(want in (None, have) for have, want in wanted):
                found.append(self._look_at(folder))
        return found

    def card(
        self, symbol: str, interval: str, version: str | None = None, market: str = "spot"
    ) -> dict[str, Any]:
        """The ``bundle.json`` of a version, the current one by default; nothing is unpickled.

        Raises like :meth:`load`.
        """
        version = version or self._require_current(symbol, interval, market)
        return read_card(self._version(symbol, interval, version, market))

    @contextmanager
    def deciding(self, symbol: str, interval: str, market: str = "spot") -> Iterator[None]:
        """Be the only one who judges a challenger of this series, while others wait.

        Raises
        ------
        BundleBusyError
            If another program judges for ten minutes.
        """
        series = self._series(symbol, interval, market)
        series.mkdir(parents=True, exist_ok=True)
        with locked(series / ".gate.lock", _DECIDING_S):
            yield

    def _look_at(self, folder: Path) -> VersionInfo:
        market, symbol, interval, version = folder.parts[-4:]
        is_current, card, problem = False, dict[str, Any](), ""
        try:
            is_current = self.current(symbol, interval, market) == version
            card = read_card(folder)
        except BundleError as error:
            problem = str(error)
        return VersionInfo(market, symbol, interval, version, is_current, card, problem)

    def _require_current(self, symbol: str, interval: str, market: str) -> str:
        version = self.current(symbol, interval, market)
        if version is None:
            raise BundleNotFoundError(
                f"{market} {symbol} {interval}: found no current bundle in {self.path}; "
                f"train one with: microstream train --symbol {symbol} --interval {interval} "
                f"--market {market}"
            )
        return version

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
        if not re.fullmatch(VERSION, version) or not (series / version).is_dir():
            known = " ".join(sorted(p.name for p in series.glob("v*"))) or "none yet"
            raise BundleNotFoundError(
                f"{market} {symbol} {interval}: found no version {version!r}, have {known}"
            )
        return series / version

    def _point(self, symbol: str, interval: str, market: str, history: Sequence[str]) -> None:
        pointer = self._series(symbol, interval, market) / _POINTER
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=pointer.parent)
        os.close(handle)
        content = {"current": history[-1], "promoted": list(history[-_WAY_BACK:])}
        write(Path(draft), json.dumps(content, indent=2).encode())
        Path(draft).chmod(0o644)
        Path(draft).replace(pointer)

    @contextmanager
    def _pointer_lock(self, symbol: str, interval: str, market: str) -> Iterator[None]:
        with locked(self._series(symbol, interval, market) / ".lock", _POINTING_S):
            yield
