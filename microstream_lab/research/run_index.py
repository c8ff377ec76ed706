"""``data/runs/index.html``: what ran, what became of it, what changed and why, at a glance.

Invariant: the page is made from the records in the runs' folders alone, so that it can be written
while the store is busy; it appears whole, and needs nothing but itself.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from microstream_lab.research.figures import readable
from microstream_lab.research.run_changes import Change, changes, shown
from microstream_lab.research.run_folder import RECORD, is_alive, moment, read_record
from microstream_lab.settings import Settings
from microstream_lab.store.results import Run

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["INDEX", "index_path", "kind_of", "refresh_index", "render_index"]

INDEX: Final = "index.html"
_TEMPLATES: Final = Path(__file__).parent / "templates" / "index"
_MOST_RUNS, _STRIP = 1000, 60
_MOST_FIGURES: Final = 4
_LESS_TELLING: Final = ("start", "end")
_log = logging.getLogger(__name__)


class Line(NamedTuple):
    """A run as the page shows it."""

    run: Run
    when: str
    due: str
    took: str
    report: str
    changed: list[Change]
    figures: list[tuple[str, str, str]]


class Kind(NamedTuple):
    """Runs that can be compared with one another: of one job or notebook, and one series."""

    name: str
    detail: str
    last: Run
    when: str
    strip: Sequence[tuple[str, str, str]]
    counts: str


def index_path(settings: Settings) -> Path:
    """Where the page is."""
    return settings.runs_path / INDEX


def refresh_index(settings: Settings) -> None:
    """Write the page anew; a disk that takes no more leaves the old one, and a warning."""
    path = index_path(settings)
    draft = path.with_name(f".{INDEX}.{os.getpid()}-{secrets.token_hex(3)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(render_index(_recorded(settings.runs_path)), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        _log.warning("%s: not written anew: %s", path, error)
    finally:
        draft.unlink(missing_ok=True)


def render_index(runs: Sequence[Run]) -> str:
    """The page of some runs, whichever order they come in, as HTML."""
    newest_first = sorted(runs, key=lambda run: (run.started_at, run.run_id), reverse=True)
    kinds: dict[str, list[Run]] = defaultdict(list)
    for run in newest_first:
        kinds[kind_of(run)].append(run)
    lines = [_line(run, _one_before(run, kinds[kind_of(run)])) for run in newest_first]
    return _template().render(
        lines=lines,
        kinds=[_kind(name, found) for name, found in kinds.items()],
        written=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
    )


def kind_of(run: Run) -> str:
    """What a run can be compared with: the job, else the notebook with its series."""
    if run.job:
        return run.job
    symbol = run.parameters.get("symbol")
    return f"{run.notebook} · {symbol}" if symbol else run.notebook


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader  # a tenth of a second, and not always needed

    loader = FileSystemLoader(_TEMPLATES)
    return Environment(loader=loader, autoescape=True).get_template("index.html.j2")


def _recorded(folder: Path) -> list[Run]:
    """The newest runs that have a record; ids sort by time."""
    newest = sorted((path.parent for path in folder.glob(f"*/{RECORD}")), reverse=True)
    read = ((each, read_record(each)) for each in newest[:_MOST_RUNS])
    return [_as_it_is(run, each) for each, run in read if run is not None]


def _as_it_is(run: Run, folder: Path) -> Run:
    """The run, told apart from one whose process is gone without a word."""
    if run.status != "running" or is_alive(folder):
        return run
    return replace(run, status="failed", error="its process is gone")


def _one_before(run: Run, kind: Sequence[Run]) -> Run | None:
    """The run of the same kind that finished before this one."""
    earlier = (other for other in kind[kind.index(run) + 1 :] if other.status == "done")
    return next(earlier, None)


def _line(run: Run, before: Run | None) -> Line:
    changed = [] if before is None else changes(before.parameters, run.parameters)
    took_s = None if run.ended_at is None else (run.ended_at - run.started_at) / 1e6
    return Line(
        run=run,
        when=f"{moment(run.started_at):%Y-%m-%d %H:%M}",
        due="" if run.scheduled_for is None else f"{moment(run.scheduled_for):%Y-%m-%d %H:%M}",
        took="" if took_s is None or run.status == "missed" else f"{took_s:,.0f} s",
        report=f"{run.run_id}/{Path(run.report).name}" if run.report else "",
        # what moves with the calendar every day is told last
        changed=sorted(changed, key=lambda change: change.name in _LESS_TELLING),
        figures=_figures(run, before),
    )


def _figures(run: Run, before: Run | None) -> list[tuple[str, str, str]]:
    """Names, values and what they are more or less than in the run before."""
    moved = {} if before is None else {c.name: c.by for c in changes(before.metrics, run.metrics)}
    told = list(run.metrics.items())[:_MOST_FIGURES]
    return [(readable(name), _short(value), moved.get(name, "")) for name, value in told]


def _short(value: Any) -> str:
    return f"{value:,}" if type(value) is int else shown(value)


def _kind(name: str, runs: Sequence[Run]) -> Kind:
    strip = [
        (run.status, run.run_id, f"{moment(run.started_at):%Y-%m-%d %H:%M} {run.status}")
        for run in reversed(runs[:_STRIP])
    ]
    last = runs[0]
    detail = last.notebook if last.job else ""
    return Kind(
        name, detail, last, f"{moment(last.started_at):%Y-%m-%d %H:%M}", strip, _counts(runs)
    )


def _counts(runs: Iterable[Run]) -> str:
    counted: dict[str, int] = defaultdict(int)
    for run in runs:
        counted[run.status] += 1
    order = ("running", "done", "failed", "missed")
    return ", ".join(f"{counted[status]:,} {status}" for status in order if counted[status])
