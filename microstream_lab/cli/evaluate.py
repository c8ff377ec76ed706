"""``microstream evaluate``: bundles and baselines in one table, by the notebook 05_evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from microstream_lab.cli.common import (
    End,
    Interval,
    KlineFiles,
    Market,
    Start,
    Symbol,
    load_settings,
    show_table,
    typed_path,
)
from microstream_lab.cli.runs import (
    More,
    Regimes,
    Seed,
    Timeout,
    given_series,
    given_span,
    only_given,
    run_and_tell,
    series_of_files,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["evaluate"]


def evaluate(
    symbol: Symbol = None,
    market: Market = None,
    interval: Interval = None,
    start: Start = None,
    end: End = None,
    data_dir: KlineFiles = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help="A saved bundle, such as v0001; may be repeated."),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Train this feature set, or default; may be repeated."),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="ewma, har, seed, kmeans, peers; may be repeated."),
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Refit everything as often as this, such as 30D."),
    ] = None,
    events: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Known crises to judge alarms by.")
    ] = None,
    regimes: Regimes = None,
    seed: Seed = None,
    parameter: More = None,
    timeout: Timeout = 3600.0,
) -> None:
    """Judge bundles beside baselines by the coming hour, and leave a report and its tables.

    Bars before --start train what is trained; those from --start on are judged. Saved bundles must
    have been trained before it.

    Examples: microstream evaluate --symbol BTCUSDT --market um --start 2022-05-01;
    microstream evaluate --from data/btc --bundle v0001 --baseline ewma --baseline har
    """
    settings = load_settings()
    options = {
        **given_series(settings, symbol, market, interval),
        **given_span(start, end),
        **only_given(
            versions=bundle,
            recipes=[] if bundle and recipe is None else recipe,
            baselines=baseline,
            refit=refit,
            n_regimes=regimes,
            seed=seed,
        ),
    }
    if data_dir is not None:
        files = typed_path(data_dir, settings)
        options |= series_of_files(files, symbol, interval)
        options |= {"market": market or settings.market, "data_dir": str(files)}
    if events is not None:
        options["events"] = str(typed_path(events, settings))
    folder = run_and_tell("05_evaluate", options, parameter, settings, timeout)
    for file in sorted(folder.glob("*.csv")):
        _show(file)


def _show(file: Path) -> None:
    """Print a recorded table: the evaluation by topic, any other as it is."""
    import pandas as pd

    from microstream_lab.research.figures import by_topic

    table = pd.read_csv(file)
    if {"estimate", "figure", "value", "low", "high"} <= set(table.columns):
        for title, part in by_topic(table.set_index(["estimate", "figure"])).items():
            _print(title, part.rename_axis("estimate").reset_index())
        return
    _print(file.stem.replace("_", " "), table.map(_rounded))


def _print(title: str, table: pd.DataFrame) -> None:
    typer.echo(f"\n{title}")
    show_table(list(table.columns), table.itertuples(index=False, name=None))


def _rounded(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
