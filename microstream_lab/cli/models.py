"""``microstream models``: the bundles in the registry, and which of them is current."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import (
    End,
    Interval,
    Market,
    Start,
    Symbol,
    load_settings,
    open_registry,
    open_store,
    show_table,
    upper,
)

if TYPE_CHECKING:
    import pandas as pd

    from microstream_lab.bundle import ModelBundle
    from microstream_lab.registry import VersionInfo

__all__ = ["app"]

app = typer.Typer(help="Trained bundles: list, show, promote, roll back, compare.")

Series = Annotated[
    str, typer.Argument(metavar="SYMBOL", callback=upper, help="Symbol, such as BTCUSDT.")
]
Version = Annotated[str, typer.Argument(help="Version, such as v0003.")]


@app.command("list", short_help="List the versions there are.")
def list_models(symbol: Symbol = None, market: Market = None, interval: Interval = None) -> None:
    """List the versions there are; a star marks the current one of each series.

    The column gate tells what the training's gate said: promote, hold or reject; see
    docs/models.md. A version whose files cannot be read is told below the list.

    Example: microstream models list --symbol BTCUSDT
    """
    registry = open_registry(load_settings())
    found = registry.list(symbol, interval, market)
    if not found:
        typer.echo(f"no bundles in {registry.path}; train one with: microstream train")
        return
    headers = ("", "market", "symbol", "interval", "version", "gate", "from", "to", "bars", "saved")
    show_table(headers, map(_row, found))
    for problem in dict.fromkeys(info.problem for info in found if info.problem):
        typer.echo(f"cannot be read: {problem}", err=True)


def _row(info: VersionInfo) -> tuple[object, ...]:
    card = info.card
    training = (card.get("training", {}).get(name) for name in ("start", "end", "n_bars"))
    gate = "unreadable" if info.problem else card.get("gate", {}).get("decision")
    series = (info.market, info.symbol, info.interval, info.version)
    return ("*" if info.is_current else "", *series, gate, *training, card.get("saved_at"))


@app.command(short_help="Show a bundle's card.")
def show(
    symbol: Series,
    version: Annotated[
        str | None, typer.Argument(help="Version; the current one if left out.")
    ] = None,
    market: Market = None,
    interval: Interval = None,
) -> None:
    """Show a bundle's card: what it was trained on, how, and what it learnt.

    Example: microstream models show BTCUSDT --market um
    """
    symbol, interval, market = _series(symbol, interval, market)
    card = open_registry(load_settings()).card(symbol, interval, version, market)
    typer.echo(json.dumps(card, indent=2, ensure_ascii=False))


@app.command(short_help="Make a version the current one.")
def promote(
    symbol: Series, version: Version, market: Market = None, interval: Interval = None
) -> None:
    """Make a version the current one, after its checksum is verified.

    The gate is not asked again; what it said in training is told. Live sessions follow within a
    bar.

    Example: microstream models promote BTCUSDT v0003 --market um
    """
    symbol, interval, market = _series(symbol, interval, market)
    registry = open_registry(load_settings())
    registry.promote(symbol, interval, version, market)
    typer.echo(f"{market} {symbol} {interval}: {version} is current")
    gate = registry.card(symbol, interval, version, market).get("gate", {})
    if gate.get("decision", "promote") != "promote":
        reasons = "; ".join(map(str, gate.get("reasons", [])))
        typer.echo(f"in training the gate said {gate['decision']}: {reasons}", err=True)


@app.command(short_help="Go back to the version before.")
def rollback(symbol: Series, market: Market = None, interval: Interval = None) -> None:
    """Go back to the version that was current before; live sessions follow within a bar.

    Example: microstream models rollback BTCUSDT --market um
    """
    symbol, interval, market = _series(symbol, interval, market)
    version = open_registry(load_settings()).rollback(symbol, interval, market)
    typer.echo(f"{market} {symbol} {interval}: {version} is current again")


@app.command(short_help="Compare two versions.")
def diff(
    symbol: Series,
    first: Version,
    second: Version,
    market: Market = None,
    interval: Interval = None,
    start: Start = None,
    end: End = None,
) -> None:
    """Compare two versions: settings, training range, figures, and how alike they label bars.

    Both label the stored bars from where the earlier training began, or between --start and --end.

    Example: microstream models diff BTCUSDT v0002 v0003 --market um
    """
    from microstream_lab.research.version_diff import differences

    symbol, interval, market = _series(symbol, interval, market)
    settings = load_settings()
    registry = open_registry(settings)
    key = (symbol, interval)
    cards = [registry.card(*key, version, market) for version in (first, second)]
    table = differences(*cards)
    rows = ((name, *pair) for name, *pair in table.itertuples())
    show_table(("", first, second), rows if len(table) else [("all that is told", "same", "same")])
    start = start or min(str(card["training"]["start"]) for card in cards)
    store = open_store(settings)
    bars = store.bars(*key, start, end, market) if store.status().exists else None
    if bars is None or bars.empty:
        typer.echo(f"labels: no bars of {market} {symbol} {interval} in the store to compare by")
        return
    _show_labels(registry.load(*key, first, market), registry.load(*key, second, market), bars)


def _show_labels(first: ModelBundle, second: ModelBundle, bars: pd.DataFrame) -> None:
    from microstream_lab.research.version_diff import compare_labels

    found = compare_labels(first, second, bars)
    span = f"{found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M}"
    typer.echo(f"labels: {found.agreement:.1%} of {found.n_bars:,} bars alike, {span}")
    if found.match is None:
        typer.echo(f"regimes: {first.n_regimes} and {second.n_regimes}, not to be matched by name")
        return
    for regime, kept in enumerate(found.match.kept):
        text = "too rare to tell" if math.isnan(kept) else f"{kept:.1%} of its bars in common"
        typer.echo(f"  regime {regime}: {text}")


def _series(symbol: str, interval: str | None, market: str | None) -> tuple[str, str, str]:
    """The series meant: of the one market that has bundles of it, else of the settings' market."""
    settings = load_settings()
    interval = interval or settings.interval
    if market is None:
        markets = {info.market for info in open_registry(settings).list(symbol, interval)}
        market = markets.pop() if len(markets) == 1 else settings.market
    return symbol, interval, market
