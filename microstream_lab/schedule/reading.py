"""``schedule.toml`` read strictly: what it says is a job that can run, or an error with its line.

Invariant: nothing in the file is ignored; an unknown key, a misspelt parameter of a notebook and a
time zone that this machine does not have are refused alike, before anything is started.
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from microstream_lab.errors import DataError, MicrostreamError, ParameterError, RunError
from microstream_lab.research.notebooks import find_notebook, read_source
from microstream_lab.research.parameters import notebook_parameters, validated
from microstream_lab.schedule.jobs import CatchUp, Job, Keep, Schedule, resolved
from microstream_lab.schedule.times import check_cron, zone_of
from microstream_lab.settings import Settings

__all__ = ["parse_schedule", "read_schedule"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HEADER: Final = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY: Final = re.compile(r"\s*((?:[\w-]+|\"[^\"]*\")(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"))*)\s*=")
_NAME: Final = r"[a-z0-9][a-z0-9_-]{0,39}"
_EXAMPLE: Final = "see docs/scheduling.md for an example"


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", value)
    if match is None:
        raise ValueError("expected seconds, or a text such as '90s', '30m', '2h', '1d'")
    return float(match[1]) * _UNITS[match[2]]


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=30 * 86400)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Job(_Table):
    notebook: str
    cron: str
    time_zone: str = "UTC"
    timeout: Seconds = 3600.0
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    retry_after: Seconds = 60.0
    catch_up: CatchUp = "latest"
    on_drift: Seconds | None = None
    symbols: list[str] = []
    parameters: dict[str, Any] = {}

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        check_cron(value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        zone_of(value)
        return value

    @field_validator("symbols")
    @classmethod
    def _symbols(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("expected each symbol once")
        if not all(re.fullmatch(r"[A-Z0-9]{2,30}", symbol) for symbol in value):
            raise ValueError("expected symbols such as BTCUSDT")
        return value


class _Keep(_Table):
    runs: Annotated[int, Field(ge=1)] = Keep.runs
    days: Annotated[float | None, Field(gt=0)] = None


class _File(_Table):
    jobs: Annotated[dict[str, _Job], Field(min_length=1)]
    parallel: Annotated[int, Field(ge=1, le=64)] = 1
    keep: _Keep = _Keep()

    @field_validator("jobs", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        for name in value if isinstance(value, dict) else ():
            if not re.fullmatch(_NAME, str(name)):
                raise PydanticCustomError("job_name", "{name}", {"name": str(name)})
        return value


def read_schedule(path: Path, settings: Settings) -> Schedule:
    """The schedule of a file.

    Raises
    ------
    DataError
        With file and line, at the first thing in it that cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(str(path), found, f"jobs to schedule; {_EXAMPLE}") from error
    return parse_schedule(text, str(path), settings)


def parse_schedule(text: str, where: str, settings: Settings) -> Schedule:
    """The schedule in a text; `where` names it in errors."""
    try:
        read = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise DataError(
            where, str(error), "TOML", int(line[1]) if line else text.count("\n") + 1
        ) from error
    except ValidationError as error:
        raise _told(error, text, where) from error
    jobs = (_job(name, job, settings, text, where) for name, job in read.jobs.items())
    return Schedule(tuple(jobs), read.parallel, Keep(read.keep.runs, read.keep.days))


def _job(name: str, read: _Job, settings: Settings, text: str, where: str) -> Job:
    def refuse(key: Sequence[str], error: Exception) -> DataError:
        path = ["jobs", name, *key]
        found, _, expected = str(error).partition(", expected ")
        return DataError(
            where,
            f"{'.'.join(path)}: {found}",
            expected or "a job that can run",
            _line(text, path),
        )

    try:
        notebook = find_notebook(read.notebook, settings)
    except RunError as error:
        raise refuse(["notebook"], error) from error
    job = Job(
        *(name, notebook, read.cron, zone_of(read.time_zone), read.timeout, read.retries),
        *(read.retry_after, read.catch_up, tuple(read.symbols), read.parameters, read.on_drift),
    )
    try:
        job = _checked(job)
    except _ParameterAtError as error:
        raise refuse(["parameters", error.name], error) from error
    except MicrostreamError as error:
        raise refuse(["notebook"], error) from error
    if job.on_drift_s is not None and job.tasks[0].series is None:
        found = "the notebook has no series, expected parameters market, symbol and interval"
        raise refuse(["on_drift"], RunError(found))
    return job


class _ParameterAtError(ParameterError):
    """A parameter that the notebook will not take."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(text)


def _checked(job: Job) -> Job:
    """The job with its notebook's defaults, if the notebook takes its parameters."""
    known = notebook_parameters(read_source(job.notebook), job.notebook.name)
    if job.symbols and "symbol" in job.parameters:
        raise _ParameterAtError("symbol", "found it beside symbols, expected one of them")
    for name, value in job.parameters.items():
        try:
            validated({name: resolved(value, _now())}, known, job.notebook.name)
        except ValueError as error:
            raise _ParameterAtError(name, str(error)) from error
    if job.symbols:
        validated({"symbol": job.symbols[0]}, known, job.notebook.name)
    return replace(job, defaults={name: each.default for name, each in known.items()})


def _now() -> int:
    return time.time_ns() // 1000


def _told(error: ValidationError, text: str, where: str) -> DataError:
    """Pydantic's first complaint in our words, with its line."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key, line = ".".join(path), _line(text, path)
    if first["type"] == "missing":
        return DataError(where, f"no {key}", f"one; {_EXAMPLE}", line)
    if first["type"] == "extra_forbidden":
        known = _known_keys(path)
        close = get_close_matches(path[-1], known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return DataError(where, f"an unknown key {key}", f"one of: {', '.join(known)}{hint}", line)
    if first["type"] == "job_name":
        name = first["ctx"]["name"]
        expected = "a name of letters a-z, digits, - and _"
        return DataError(where, f"a job named {name!r}", expected, _line(text, ["jobs", name]))
    message = first["msg"].removeprefix("Value error, ")
    expected = re.sub(r"^(expected|Input should be) ", "", message)
    return DataError(where, f"{key} = {first['input']!r}", expected, line)


def _known_keys(path: Sequence[str]) -> list[str]:
    if path[0] == "jobs" and len(path) > 2:
        return list(_Job.model_fields)
    return list(_Keep.model_fields if path[0] == "keep" and len(path) > 1 else _File.model_fields)


def _line(text: str, path: Sequence[str]) -> int | None:
    """The line on which a key begins, else that of the innermost table around it."""
    lines = _lines(text)
    ways = (tuple(path[:length]) for length in range(len(path), 0, -1))
    begins = (n for way in ways for key, n in lines.items() if key[: len(way)] == way)
    return next(begins, None)


def _lines(text: str) -> Mapping[tuple[str, ...], int]:
    """Where every key and table begins."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key[1])), number)
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
