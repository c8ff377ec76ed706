"""What a sweep over a notebook tries: one run of it at each point, kept as any other run is.

Invariant: a point that has ended, well or badly, is on disk before the sweep counts it, so that a
sweep broken off goes on where it was; a point broken off is run again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import pandas as pd

from microstream_lab import __version__
from microstream_lab.errors import NotebookFailedError
from microstream_lab.research.notebooks import find_notebook, read_source
from microstream_lab.research.parameters import notebook_parameters, validated
from microstream_lab.research.preflight import preflight
from microstream_lab.research.run_folder import folder_of, is_alive, new_run_id, read_record
from microstream_lab.research.runs import DEFAULT_TIMEOUT_S, Order, run_notebook, settle
from microstream_lab.research.trial import Options, Task
from microstream_lab.settings import Settings
from microstream_lab.store import Store

__all__ = ["NotebookTrial", "Point", "run_point"]

_PATIENCE_S: Final = 60.0
"""How long a run waits for the store when all of a sweep write to it."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep: the notebook, its parameters, and where its outcome is kept."""

    notebook: Path
    parameters: Options
    kept: Path
    settings: Settings
    timeout_s: float

    @property
    def started(self) -> Path:
        """Where the id of its latest run is kept."""
        return self.kept.with_suffix(".started")

    def outcome(self) -> Options | None:
        """What is kept of it; None before it has ended."""
        try:
            found: Options = json.loads(self.kept.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found


class NotebookTrial:
    """Run a notebook at each point of a grid.

    Parameters
    ----------
    notebook : Path or str
        A file, or the name of one of the project's notebooks.
    settings : Settings
        Its home folder holds the runs, and what is kept of the points.
    folder : Path
        Where outcomes are kept. One is used again as long as notebook, parameters, stored series
        and version of this package are the same.
    timeout_s : float
        Limit of one run.
    retry : bool
        Run failed points again.
    """

    unit: ClassVar[str] = "run"

    def __init__(
        self,
        notebook: Path | str,
        settings: Settings,
        folder: Path,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        retry: bool = False,
    ) -> None:
        self._notebook = find_notebook(notebook, settings)
        self._settings, self._folder, self._timeout_s = settings, folder, timeout_s
        self._retry = retry
        self._source = self._notebook.read_bytes()
        self._known = notebook_parameters(read_source(self._notebook), self._notebook.name)

    def check(self, points: Sequence[Options]) -> None:
        """Refuse what the notebook does not take, and what cannot get far, before any kernel."""
        for point in points:
            given = validated(point, self._known, self._notebook.name)
            preflight(str(self._notebook), given, self._settings)

    def tasks(self, points: Sequence[Options]) -> list[Task]:
        """One task a run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = self.points(points)
        if self._retry:
            for point in found:
                if (point.outcome() or {}).get("error"):
                    point.kept.unlink()
        return [Task([row], run_point, (point,)) for row, point in enumerate(found)]

    def table(self, rows: list[Options]) -> pd.DataFrame:
        """Parameters, figures, then run and error."""
        table = pd.DataFrame(rows)
        last = ["run_id", "error"]
        return table[[*(name for name in table if name not in last), *last]]

    def points(self, points: Sequence[Options]) -> list[Point]:
        """The runs the points stand for."""
        series = self._series()
        found = []
        for point in points:
            given = validated(point, self._known, self._notebook.name)
            kept = self._folder / f"{self._key(given, series)}.json"
            found.append(Point(self._notebook, given, kept, self._settings, self._timeout_s))
        return found

    def _key(self, given: Mapping[str, Any], series: Mapping[tuple[str, ...], str]) -> str:
        """A name for all that a run depends on."""
        values = {name: each.default for name, each in self._known.items()} | dict(given)
        name = tuple(str(values.get(part)) for part in ("market", "symbol", "interval"))
        said = [values, series.get(name, ""), __version__]
        text = json.dumps(said, sort_keys=True, default=str).encode()
        return hashlib.sha256(self._source + text).hexdigest()[:24]

    def _series(self) -> dict[tuple[str, ...], str]:
        """How much there is of each series in the store, in words."""
        store = Store(self._settings.store_path)
        if not store.status().exists:
            return {}
        rows = store.series().itertuples(index=False, name=None)
        return {tuple(map(str, row[:3])): " ".join(map(str, row[3:])) for row in rows}


def run_point(point: Point) -> list[Options]:
    """The figures of one run, from what is kept of it or from running it now."""
    row = point.outcome()
    if row is None:
        store = Store(point.settings.store_path, timeout_s=_PATIENCE_S)
        _settle_killed(point, store)
        row = _run(point, store)
        _write_whole(point.kept, json.dumps(row))
    return [row]


def _run(point: Point, store: Store) -> Options:
    run_id = new_run_id(_now(), point.notebook.stem)
    _write_whole(point.started, run_id)
    try:
        run = run_notebook(
            point.notebook,
            point.parameters,
            settings=point.settings,
            store=store,
            timeout_s=point.timeout_s,
            order=Order(run_id, cause=f"sweep {point.kept.parents[1].name}"),
        )
    except NotebookFailedError as error:
        return {"run_id": run_id, "error": str(error)}
    return {**run.metrics, "run_id": run_id, "error": ""}


def _settle_killed(point: Point, store: Store) -> None:
    """Write down how an earlier run of this point ended, if its process was killed."""
    if not point.started.exists():
        return
    folder = folder_of(point.started.read_text(encoding="utf-8"), point.settings)
    found = read_record(folder)
    if found is not None and not is_alive(folder):
        settle(found, point.settings, store, "its process was killed", _now())


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{secrets.token_hex(3)}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _now() -> int:
    return time.time_ns() // 1000
