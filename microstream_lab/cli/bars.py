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
)

if TYPE_CHECKING:
    from microstream_lab.store import Coverage

__all__ = ["app", "ingest"]

app = typer.Typer(help="The store: coverage, export, questions in SQL.")

_RANGES_SHOWN = 20


def ingest(
    symbol: Annotated[
        str | None, typer.Argument(metavar="[SYMBOL]", help="Symbol to download, such as BTCUSDT.")
    ] = None,
    interval: Interval = None,
    start: Start = None,
    end: End = None,
    market: Market = None,
    files: Annotated[
        Path | None, typer.Option("--from", help="Import files: CSV or zip, a folder or a glob.")
    ] = None,
) -> None:
    """Download a symbol's bars from the public archive, or import files of your own.

    Tells how complete the series is afterwards. What is there already is not stored twice.

    Examples: microstream ingest BTCUSDT --interval 1m --start 2024-01-01;
    microstream ingest --from ~/Downloads/klines --market um
    """
    from microstream_lab import ingest as work

    settings = load_settings()
    store, market = open_store(settings), market or settings.market
    if files is not None:
        path = typed_path(files, settings)
        report = work.import_path(store, path, market, symbol=symbol, interval=interval)
    elif symbol is not None:
        report = work.ingest(store, symbol.upper(), interval or settings.interval, start, end)
    else:
        raise typer.BadParameter("found neither, expected a SYMBOL or --from FILES")
    typer.echo(str(report.counts))
    for coverage in report.coverage:
        _tell(coverage)


@app.command(short_help="Tell how complete the series are.")
def coverage(
    symbol: Annotated[str | None, typer.Argument(help="Symbol; every series if left out.")] = None,
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
    wanted = {"symbol": symbol and symbol.upper(), "interval": interval, "market": market}
    for name, value in wanted.items():
        series = series[series[name] == value] if value else series
    if series.empty:
        typer.echo("no such bars; microstream ingest brings some in")
    for key in zip(series["symbol"], series["interval"], series["market"], strict=True):
        _tell(store.coverage(*key, start, end))


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


def _tell(coverage: Coverage) -> None:
    """One line, and the missing ranges below it."""
    typer.echo(coverage.summary())
    for hole in coverage.missing[:_RANGES_SHOWN]:
        typer.echo(f"  missing {hole.n_bars:,} bars: {hole.start} up to {hole.end}")
    if (more := len(coverage.missing) - _RANGES_SHOWN) > 0:
        typer.echo(f"  and {more:,} more missing ranges")
