"""What the commands share: settings, the store, the registry, options and plain tables."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from microstream_lab.registry import Registry
    from microstream_lab.settings import Settings
    from microstream_lab.store import Store

__all__ = [
    "End",
    "Interval",
    "KlineFiles",
    "Market",
    "Start",
    "Symbol",
    "load_settings",
    "on_terminal",
    "open_registry",
    "open_store",
    "seconds_text",
    "show_figures",
    "show_pairs",
    "show_table",
    "status_pause_s",
    "tell_status",
    "typed_path",
    "upper",
]


_ABSENT = ("None", "nan", "NaT", "<NA>")


def _utc(text: str | None) -> str | None:
    """Refuse what is no date before anything starts."""
    if text is None:
        return None
    from microstream_lab.errors import SettingsError
    from microstream_lab.schema import as_micros

    try:
        as_micros(text)
    except SettingsError:
        raise typer.BadParameter(f"found {text!r}, expected a date such as 2022-05-01") from None
    return text


def _known_market(name: str | None) -> str | None:
    """Refuse what is no market before anything is looked up in it."""
    from microstream_lab.schema import MARKETS

    if name is not None and name not in MARKETS:
        raise typer.BadParameter(f"found {name!r}, expected one of {' '.join(MARKETS)}")
    return name


def upper(text: str | None) -> str | None:
    """Symbols are written in capitals."""
    return None if text is None else text.upper()


Symbol = Annotated[
    str | None, typer.Option(help="Symbol, such as BTCUSDT.", callback=upper, metavar="SYMBOL")
]
Market = Annotated[
    str | None,
    typer.Option(metavar="NAME", callback=_known_market, help="spot, um (USD-M futures) or sim."),
]
Interval = Annotated[str | None, typer.Option(metavar="TEXT", help="Bar interval: 1m, 5m, 1h.")]
Start = Annotated[
    str | None, typer.Option(callback=_utc, metavar="DATE", help="First moment, UTC.")
]
End = Annotated[
    str | None, typer.Option(callback=_utc, metavar="DATE", help="Moment to stop before, UTC.")
]
KlineFiles = Annotated[
    Path | None,
    typer.Option("--from", "--data-dir", help="Read these kline files instead of the store."),
]


def load_settings() -> Settings:
    """The user's settings."""
    from microstream_lab.settings import Settings

    return Settings.load()


def open_store(settings: Settings) -> Store:
    """The user's store; nothing is opened before it is used."""
    from microstream_lab.store import Store

    return Store(settings.store_path)


def open_registry(settings: Settings) -> Registry:
    """The user's bundles."""
    from microstream_lab.registry import Registry

    return Registry(settings.models_path)


def typed_path(path: Path, settings: Settings) -> Path:
    """A path or glob typed by the user: from where he stands, else from the home folder."""
    path = path.expanduser()
    if path.is_absolute() or path.exists() or any(Path.cwd().glob(str(path))):
        return path.resolve()
    return settings.path(str(path))


def status_pause_s() -> float:
    """Seconds between two status lines: one where somebody watches, else a minute."""
    return 1.0 if on_terminal() else 60.0


def tell_status(status: object, is_last: bool = False) -> None:
    """A line that is kept up to date; where nobody watches, one more."""
    clear = "\r\x1b[K" if on_terminal() else ""
    typer.echo(f"{clear}{status}", nl=is_last or not on_terminal())


def on_terminal() -> bool:
    """Whether somebody watches, and a progress bar is of use."""
    return sys.stderr.isatty()


def show_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print columns of text, as wide as they need to be."""
    lines = [[str(header) for header in headers], *([_cell(c) for c in row] for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(headers))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    text = f"{value:,}" if type(value) is int else str(value)
    return "-" if text in _ABSENT else text


def show_figures(values: Mapping[str, Any]) -> None:
    """Print key figures under names that a person understands."""
    from microstream_lab.research.figures import readable

    show_pairs({readable(name): value for name, value in values.items()})


def show_pairs(values: Mapping[str, Any]) -> None:
    """Print names and values, a line each."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        typer.echo(f"  {name.ljust(width)}  {text}")


def seconds_text(seconds: float) -> str:
    """A duration for people; a dash for none."""
    return "-" if math.isnan(seconds) else f"{seconds:,.0f} s"
