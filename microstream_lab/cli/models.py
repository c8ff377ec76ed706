"""``microstream models``: the bundles in the registry, and which of them is current."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from microstream_lab.cli.common import (
    Interval,
    Market,
    Symbol,
    load_settings,
    open_registry,
    show_table,
    upper,
)

__all__ = ["app"]

app = typer.Typer(help="Trained bundles: list, show, promote, roll back.")

Series = Annotated[
    str, typer.Argument(metavar="SYMBOL", callback=upper, help="Symbol, such as BTCUSDT.")
]
Version = Annotated[str, typer.Argument(help="Version, such as v0003.")]


@app.command("list", short_help="List the versions there are.")
def list_models(symbol: Symbol = None, market: Market = None, interval: Interval = None) -> None:
    """List the versions there are; a star marks the current one of each series.

    Example: microstream models list --symbol BTCUSDT
    """
    registry = open_registry(load_settings())
    rows = [
        (
            "*" if info.is_current else "",
            *(info.market, info.symbol, info.interval, info.version),
            *(info.card.get("training", {}).get(name) for name in ("start", "end", "n_bars")),
            info.card.get("saved_at"),
        )
        for info in registry.list(symbol, interval, market)
    ]
    if not rows:
        typer.echo(f"no bundles in {registry.path}; train one with: microstream train")
        return
    headers = ("", "market", "symbol", "interval", "version", "from", "to", "bars", "saved")
    show_table(headers, rows)


@app.command(short_help="Show a bundle's card.")
def show(
    symbol: Series,
    market: Market = None,
    interval: Interval = None,
    version: Annotated[
        str | None, typer.Option(help="Version; the current one if left out.")
    ] = None,
) -> None:
    """Show a bundle's card: what it was trained on, how, and what it learnt.

    Example: microstream models show BTCUSDT --market um
    """
    symbol, interval, market = _series(symbol, interval, market)
    registry = open_registry(load_settings())
    version = version or registry.current(symbol, interval, market)
    found = {info.version: info for info in registry.list(symbol, interval, market)}
    if version not in found:
        registry.load(symbol, interval, version, market)  # says what there is instead
    typer.echo(json.dumps(found[str(version)].card, indent=2, ensure_ascii=False))


@app.command(short_help="Make a version the current one.")
def promote(
    symbol: Series, version: Version, market: Market = None, interval: Interval = None
) -> None:
    """Make a version the current one, after its checksum is verified.

    Example: microstream models promote BTCUSDT v0003 --market um
    """
    symbol, interval, market = _series(symbol, interval, market)
    open_registry(load_settings()).promote(symbol, interval, version, market)
    typer.echo(f"{market} {symbol} {interval}: {version} is current")


@app.command(short_help="Go back to the version before.")
def rollback(symbol: Series, market: Market = None, interval: Interval = None) -> None:
    """Go back to the version that was current before.

    Example: microstream models rollback BTCUSDT --market um
    """
    symbol, interval, market = _series(symbol, interval, market)
    version = open_registry(load_settings()).rollback(symbol, interval, market)
    typer.echo(f"{market} {symbol} {interval}: {version} is current again")


def _series(symbol: str, interval: str | None, market: str | None) -> tuple[str, str, str]:
    settings = load_settings()
    return symbol, interval or settings.interval, market or settings.market
