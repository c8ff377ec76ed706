"""Old runs make room: which folders may go, and the bundles that only they speak of.

Invariant: a run that goes on, one whose bundle a rollback can reach and the last good one of its
kind always stay; the rows of the run table stay all. What is deleted is out of every rollback's
reach.
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

from microstream_lab.errors import BundleError
from microstream_lab.registry import Registry
from microstream_lab.research.run_folder import RECORD, folder_of, is_alive, read_record
from microstream_lab.research.run_index import kind_of, refresh_index
from microstream_lab.settings import Settings
from microstream_lab.store.results import Run

__all__ = ["prune_runs", "superfluous"]

_DAY_US: Final = 86_400_000_000
_log = logging.getLogger(__name__)


class ReportTable(Protocol):
    """Where it is written down that reports are gone: the store."""

    def forget_reports(self, run_ids: Iterable[str]) -> object:
        """Keep the rows, without their reports."""
        ...


def superfluous(
    runs: Iterable[Run],
    now: int,
    keep_runs: int | None,
    keep_days: float | None,
    is_promoted: Callable[[Run], bool],
) -> list[Run]:
    """The runs that may be deleted, oldest first.

    Parameters
    ----------
    runs : iterable of Run
        All there are.
    now : int
        Microseconds since 1970 UTC.
    keep_runs : int, optional
        How many of the newest runs of a kind stay.
    keep_days : float, optional
        How long a run stays.
    is_promoted : callable
        Whether the bundle of a run is current, or may be by a rollback.
    """
    kinds: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.started_at, run.run_id), reverse=True):
        kinds[kind_of(run)].append(run)
    doomed = []
    for kind in kinds.values():
        last_good = next((run for run in kind if run.status == "done"), None)
        for age, run in enumerate(kind):
            too_many = keep_runs is not None and age >= keep_runs
            too_old = keep_days is not None and now - run.started_at > keep_days * _DAY_US
            spared = run.status == "running" or run is last_good or is_promoted(run)
            if (too_many or too_old) and not spared:
                doomed.append(run)
    return sorted(doomed, key=lambda run: (run.started_at, run.run_id))


def prune_runs(
    settings: Settings,
    store: ReportTable,
    now: int,
    keep_runs: int | None = None,
    keep_days: float | None = None,
    *,
    wanted: Callable[[Run], bool] = lambda _run: True,
    dry_run: bool = False,
) -> Sequence[Run]:
    """Delete the folders of superfluous runs, and the bundles they made; returns those runs.

    Parameters
    ----------
    wanted : callable
        Which runs may be touched at all.
    dry_run : bool
        Tell, and delete nothing.
    """
    registry = Registry(settings.models_path)
    folders = sorted(path.parent for path in settings.runs_path.glob(f"*/{RECORD}"))
    recorded = [run for run in map(read_record, folders) if run is not None]
    doomed = superfluous(
        filter(wanted, recorded), now, keep_runs, keep_days, lambda run: _is_promoted(run, registry)
    )
    doomed = [run for run in doomed if not is_alive(folder_of(run.run_id, settings))]
    if dry_run or not doomed:
        return doomed
    store.forget_reports([run.run_id for run in doomed])
    spoken_of = set().union(*(_bundles_of(run) for run in recorded if run not in doomed))
    for run in doomed:
        made = _series_of(run)
        if made is not None and made not in spoken_of:
            _remove_bundle(run, made, registry)
        shutil.rmtree(_safe(folder_of(run.run_id, settings), settings))
    refresh_index(settings)
    return doomed


def _bundles_of(run: Run) -> set[tuple[str, str, str, str]]:
    """Symbol, interval, version and market of the bundles a run has made or was told to use."""
    symbol, interval, market = map(run.parameters.get, ("symbol", "interval", "market"))
    versions = [run.metrics.get("version"), run.parameters.get("version")]
    versions += run.parameters.get("versions") or []
    if not all(isinstance(part, str) for part in (symbol, interval, market)):
        return set()
    names = (version for version in versions if isinstance(version, str))
    return {(str(symbol), str(interval), version, str(market)) for version in names}


def _series_of(run: Run) -> tuple[str, str, str, str] | None:
    """The bundle a run has made, which it tells by the figure ``version``."""
    made = (key for key in _bundles_of(run) if key[2] == run.metrics.get("version"))
    return next(made, None)


def _is_promoted(run: Run, registry: Registry) -> bool:
    series = _series_of(run)
    if series is None:
        return False
    symbol, interval, version, market = series
    try:
        return version in registry.promoted(symbol, interval, market)
    except BundleError as error:  # cannot be told: then it stays
        _log.warning("%s: kept: %s", run.run_id, error)
        return True


def _remove_bundle(run: Run, made: tuple[str, str, str, str], registry: Registry) -> None:
    try:
        registry.remove(*made)
    except BundleError as error:  # gone already, or promoted meanwhile
        _log.info("%s: its bundle stays: %s", run.run_id, error)


def _safe(folder: Path, settings: Settings) -> Path:
    """The folder, which is one below the runs' and nothing else."""
    assert folder.parent == settings.runs_path, folder
    return folder
