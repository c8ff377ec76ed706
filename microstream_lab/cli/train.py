"""``microstream train``: the training notebook as a command, for one series or those asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from microstream_lab.cli.common import End, Interval, Market, Start, Symbol, load_settings
from microstream_lab.cli.runs import (
    Contamination,
    FeatureSet,
    More,
    Regimes,
    Seed,
    Timeout,
    given_series,
    given_span,
    model_options,
    only_given,
    run_and_tell,
)

if TYPE_CHECKING:
    from microstream_lab.settings import Settings

__all__ = ["train"]

_WAYS = ("auto", "always", "never")


def _known_promotion(way: str | None) -> str | None:
    """Refuse what is no way to promote before anything starts."""
    if way is not None and way not in _WAYS:
        raise typer.BadParameter(f"found {way!r}, expected one of {' '.join(_WAYS)}")
    return way


Promotion = Annotated[
    str | None,
    typer.Option(
        "--promote",
        metavar="WHEN",
        callback=_known_promotion,
        help="auto: if the gate lets it pass; always; never.",
    ),
]
Requested = Annotated[
    bool, typer.Option("--requested", help="Train the series for which a drift alarm has asked.")
]


def train(
    symbol: Symbol = None,
    market: Market = None,
    interval: Interval = None,
    start: Start = None,
    end: End = None,
    feature_set: FeatureSet = None,
    regimes: Regimes = None,
    contamination: Contamination = None,
    seed: Seed = None,
    promote: Promotion = None,
    requested: Requested = False,
    parameter: More = None,
    timeout: Timeout = 3600.0,
) -> None:
    """Train a bundle with the notebook 02_train, and leave a report.

    The new bundle is judged beside the current one on the newest bars, which it has not seen, and
    takes its place only if it is fit to; see docs/models.md. What is not given is as in your
    settings, else as in the notebook's parameters cell, which trains on the built-in simulated
    market.

    Example: microstream train --symbol BTCUSDT --market um --start 2022-01-01 --end 2022-05-01
    """
    settings = load_settings()
    options = {
        **model_options(settings, feature_set, regimes, contamination, seed),
        **given_span(start, end),
        **only_given(promote=promote),
    }
    if requested:
        _train_requested(options, parameter, settings, timeout)
        return
    series = given_series(settings, symbol, market, interval)
    run_and_tell("02_train", {**series, **options}, parameter, settings, timeout)


def _train_requested(
    options: dict[str, Any], more: list[str] | None, settings: Settings, timeout_s: float
) -> None:
    from microstream_lab.schedule.requests import pending, withdraw

    asked = [(each, each.series) for each in pending(settings)]
    trainings = [(request, series) for request, series in asked if series is not None]
    if not trainings:
        typer.echo("no training is asked for")
    for request, series in trainings:
        typer.echo(f"{' '.join(series)}: {request.reason}")
        named = dict(zip(("market", "symbol", "interval"), series, strict=True))
        try:
            run_and_tell("02_train", {**named, **options}, more, settings, timeout_s)
        finally:  # one that fails is not tried for ever; the next alarm asks again
            withdraw(settings, request)
