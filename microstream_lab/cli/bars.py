"""``microstream ingest`` and ``store``: bars into the store, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from microstream_lab.cli.common import (
    End,
    Interval,
    Market,
    Start,
    load_settings,
    open_store,
    show_table,
    typed_path,
    upper,
)

if TYPE_CHECKING:
    from microstream_lab.store import Coverage

__all__ = ["app", "ingest"]

app = typer.Typer(help="The store: coverage, export, questions in SQL, serving.")

_RANGES_SHOWN = 20


def ingest(
    symbol: Annotated[
        str | None,
        typer.Argument(metavar="[SYMBOL]", callback=upper, help="Symbol, such as BTCUSDT."),
    ] = None,
    interval: Interval = None,
    start: Start = None,
    end: End = None,
    market: Market = None,
    files: Annotated[
        Path | None, typer.Option("--from", help="Import files: CSV or zip, a folder or a glob.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite stored bars that differ.")
    ] = False,
) -> None:
    """Download a symbol's bars from the public archive, or import files of your own.

    Tells how complete the series is afterwards. What is there already is not stored twice.

    Examples: microstream ingest BTCUSDT --interval 1m --start 2024-01-01;
    microstream ingest --from ~/Downloads/klines --market um
    """
    from microstream_lab.ingest import import_path
    from microstream_lab.ingest import ingest as download

    settings = load_settings()
    store, market = open_store(settings), market or settings.market
    if files is not None:
        path = typed_path(files, settings)
        report = import_path(store, path, market, symbol=symbol, interval=interval, replace=replace)
    elif symbol is not None:
        series = (symbol, interval or settings.interval)
        report = download(store, *series, start, end, market, settings=settings, replace=replace)
    else:
        raise typer.BadParameter("found neither, expected a SYMBOL or --from FILES")
    typer.echo(report.summary())
    for coverage in report.coverage:
        _show_missing(coverage)


@app.command(short_help="Tell how complete the series are.")
def coverage(
    symbol: Annotated[
        str | None, typer.Argument(callback=upper, help="Symbol; every series if left out.")
    ] = None,
    interval: Interval = None,
    market: Market = None,
    start: Start = None,
    end: End = None,
) -> None:
    """Tell how complete the stored series are: expected, present, missing, zero volume apart.

    Example: microstream store coverage BTCUSDT --market um
    """
    store = open_store(load_settings())
    series = store.series()
    wanted = {"symbol": symbol, "interval": interval, "market": market}
    for name, value in wanted.items():
        series = series[series[name] == value] if value else series
    if series.empty:
        typer.echo("no such bars; microstream ingest brings some in")
    for key in zip(series["symbol"], series["interval"], series["market"], strict=True):
        found = store.coverage(*key, start, end)
        typer.echo(found.summary())
        _show_missing(found)


@app.command(short_help="Write Parquet files.")
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    table: Annotated[Literal["bars", "signals"], typer.Option(help="Which table.")] = "bars",
) -> None:
    """Write a table as Parquet, in hive partitions.

    Example: microstream store export ~/parquet --table signals
    """
    written = open_store(load_settings()).export_parquet(folder, table)
    typer.echo(f"{len(written)} files in {folder}")


@app.command(short_help="Ask a question in SQL.")
def sql(
    query: Annotated[str, typer.Argument(help="One SQL query that reads.")],
    csv: Annotated[bool, typer.Option("--csv", help="Answer as CSV.")] = False,
) -> None:
    """Ask the store a question in SQL; tables: bars, signals, gaps, runs, imports.

    Example: microstream store sql "SELECT symbol, count(*) AS n FROM bars GROUP BY ALL"
    """
    answer = open_store(load_settings()).sql(query)
    if csv:
        typer.echo(answer.to_csv(index=False), nl=False)
    else:
        show_table(list(answer.columns), answer.itertuples(index=False))


def _show_missing(coverage: Coverage) -> None:
    for hole in coverage.missing[:_RANGES_SHOWN]:
        span = f"{hole.start:%Y-%m-%d %H:%M} up to {hole.end:%Y-%m-%d %H:%M}"
        typer.echo(
            f"  missing in {coverage.symbol} {coverage.interval}: {span}, {hole.n_bars:,} bars"
        )
    if (more := len(coverage.missing) - _RANGES_SHOWN) > 0:
        typer.echo(f"  and {more:,} more missing ranges")
