"""``microstream backtest``: the backtest as a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from microstream_lab.cli.common import (
    End,
    Interval,
    KlineFiles,
    Market,
    Start,
    Symbol,
    load_settings,
    on_terminal,
    open_store,
    seconds_text,
    show_figures,
    typed_path,
)

if TYPE_CHECKING:
    from microstream_lab.settings import Settings

__all__ = [
    "Contamination",
    "FeatureSet",
    "More",
    "Regimes",
    "Seed",
    "Timeout",
    "backtest",
    "given_series",
    "given_span",
    "model_options",
    "only_given",
    "run_and_tell",
    "series_of_files",
]

_SETTINGS = {
    "n_regimes": "hmm_n_components",
    "contamination": "isolation_forest_contamination",
    "window": "feature_window_size",
}
"""Notebook parameters, and the settings that stand for them where the user has set them."""

FeatureSet = Annotated[str | None, typer.Option(metavar="NAME", help="Feature set, such as seed.")]
Regimes = Annotated[
    int | None, typer.Option("--regimes", "--n-regimes", metavar="K", help="How many regimes.")
]
Contamination = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Share of training bars to flag as anomalies, in (0, 0.5]."),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of everything random.")]
Timeout = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Limit of the whole run.")]
More = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter", "-p", metavar="NAME=VALUE", help="Any other parameter of the notebook."
    ),
]


def backtest(
    symbol: Symbol = None,
    market: Market = None,
    interval: Interval = None,
    start: Start = None,
    end: End = None,
    data_dir: KlineFiles = None,
    feature_set: FeatureSet = None,
    regimes: Regimes = None,
    contamination: Contamination = None,
    seed: Seed = None,
    parameter: More = None,
    timeout: Timeout = 3600.0,
) -> None:
    """Backtest an exposure per regime with the notebook 03_backtest, and leave a report.

    With --from, symbol and interval are read from the file names, and the store is not touched.

    Examples: microstream backtest --symbol BTCUSDT --market um --start 2022-05-01;
    microstream backtest --from data/btc
    """
    settings = load_settings()
    options = {
        **given_series(settings, symbol, market, interval),
        **model_options(settings, feature_set, regimes, contamination, seed),
        **given_span(start, end),
    }
    if data_dir is not None:
        files = typed_path(data_dir, settings)
        options = {**options, **series_of_files(files, symbol, interval)}
        options |= {"market": market or settings.market, "data_dir": str(files)}
    run_and_tell("03_backtest", options, parameter, settings, timeout)


def run_and_tell(
    notebook: str,
    options: dict[str, Any],
    more: list[str] | None,
    settings: Settings,
    timeout_s: float,
) -> Path:
    """Run a notebook, print its key figures and where its report is; returns the run's folder."""
    from microstream_lab.research.preflight import preflight
    from microstream_lab.research.runs import run_notebook, typed_parameters

    given = {**options, **typed_parameters(notebook, more or [], settings)}
    preflight(notebook, given, settings)
    run = run_notebook(
        notebook,
        given,
        settings=settings,
        store=open_store(settings),
        timeout_s=timeout_s,
        progress=on_terminal(),
    )
    seconds = ((run.ended_at or run.started_at) - run.started_at) / 1e6
    typer.echo(f"{run.run_id}: done in {seconds_text(seconds)}")
    show_figures(run.metrics)
    report = settings.path(run.report or "")
    typer.echo(f"report: {report}")
    return report.parent


def given_series(
    settings: Settings, symbol: str | None, market: str | None, interval: str | None
) -> dict[str, Any]:
    """The series asked for; a symbol without a market is of the one that has bars of it.

    Of the settings' market if that is not the only one.
    """
    asked = only_given(symbol=symbol, market=market, interval=interval)
    own = settings.model_fields_set & {"symbol", "market", "interval"}
    series = {name: getattr(settings, name) for name in own} | asked
    if "symbol" in series and "market" not in series:
        series["market"] = _market_of(series["symbol"], settings)
    return series


def _market_of(symbol: str, settings: Settings) -> str:
    store = open_store(settings)
    if not store.status().exists:
        return settings.market
    there = store.series().query("symbol == @symbol")["market"].unique()
    return str(there[0]) if len(there) == 1 else settings.market


def model_options(
    settings: Settings,
    feature_set: str | None,
    n_regimes: int | None,
    contamination: float | None,
    seed: int | None,
) -> dict[str, Any]:
    """What the models are to be like: as given, else as the user has set."""
    own = {
        name: getattr(settings, setting)
        for name, setting in _SETTINGS.items()
        if setting in settings.model_fields_set
    }
    return own | only_given(
        feature_set=feature_set, n_regimes=n_regimes, contamination=contamination, seed=seed
    )


def given_span(start: str | None, end: str | None) -> dict[str, Any]:
    """Start and end as parameters; refuses an end that is not after the start."""
    from microstream_lab.schema import as_micros

    if start and end and as_micros(end) <= as_micros(start):
        raise typer.BadParameter(f"found --end {end}, expected a moment after --start {start}")
    return only_given(start=start, end=end)


def only_given(**options: Any) -> dict[str, Any]:
    """The options that the user has given."""
    return {name: value for name, value in options.items() if value is not None}


def series_of_files(path: Path, symbol: str | None, interval: str | None) -> dict[str, Any]:
    """Symbol and interval by the names of kline files, unless the user has said both."""
    if symbol and interval:
        return {"symbol": symbol, "interval": interval}
    from microstream_lab.market.files import find_files
    from microstream_lab.market.names import parse_name

    names = [name for name in map(parse_name, find_files(path)) if name and name.interval]
    found = {(n.symbol, n.interval) for n in names}
    wanted = [key for key in found if symbol in (None, key[0]) and interval in (None, key[1])]
    if len(wanted) != 1:
        series = ", ".join(sorted(f"{s} {i}" for s, i in found)) or "no names that tell"
        raise typer.BadParameter(f"{path}: found {series}; say which: --symbol, --interval")
    return {"symbol": wanted[0][0], "interval": wanted[0][1]}
