"""``microstream exchange``: a local Binance to try things on."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from microstream_lab.cli.common import load_settings, typed_path

if TYPE_CHECKING:
    from microstream_lab.market.exchange import Faults, LocalExchange

__all__ = ["exchange"]

_FASTEST = "max"


def exchange(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Recorded trades to play; a simulated market if none are given."),
    ] = None,
    symbols: Annotated[str, typer.Option(help="Simulated symbols, comma-separated.")] = "SIMUSDT",
    speed: Annotated[
        str, typer.Option(help="Times real time, or max: as fast as clients take it.")
    ] = "1",
    port: Annotated[int, typer.Option(help="Port; 0 is any that is free.")] = 9443,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than the default open it to others.")
    ] = "127.0.0.1",
    history_days: Annotated[
        float, typer.Option(min=0, help="Days that have traded when a simulated market opens.")
    ] = 1.0,
    regimes: Annotated[int, typer.Option(help="Regimes of a simulated market.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the market and of the faults.")] = 0,
    faults: Annotated[
        str, typer.Option(help="What goes wrong how often: drop=0.001,cut=0.0001.")
    ] = "",
) -> None:
    """Serve streams, REST and archive as Binance does, on this machine only.

    Example: microstream exchange --symbols SIMUSDT --speed 60

    Example: microstream exchange BTCUSDC-aggTrades-2025-10-08.zip --faults cut=0.0001
    """
    from microstream_lab.market.exchange import LocalExchange

    source, options = (
        ([typed_path(file, load_settings()) for file in files], {})
        if files
        else _simulated(symbols, history_days, regimes, seed)
    )
    local = LocalExchange(
        source, _factor(speed), _faults(faults), seed, host=host, port=port, **options
    )
    asyncio.run(_serve(local))


def _simulated(
    symbols: str, history_days: float, regimes: int, seed: int
) -> tuple[Any, dict[str, Any]]:
    """A market whose clock is now, and which has a past."""
    import pandas as pd

    from microstream_lab.market.exchange import EndlessMarket

    def now() -> pd.Timestamp:
        return pd.Timestamp.now("UTC")

    start = (now() - pd.Timedelta(days=history_days)).floor("min")
    names = [name.strip().upper() for name in symbols.split(",") if name.strip()]
    return EndlessMarket(names, start, n_regimes=regimes, seed=seed), {"play_from": now}


def _factor(speed: str) -> float | None:
    if speed == _FASTEST:
        return None
    try:
        return float(speed)
    except ValueError:
        found = f"found {speed!r}, expected a factor such as 60, or {_FASTEST}"
        raise typer.BadParameter(found, param_hint="--speed") from None


def _faults(text: str) -> Faults:
    from dataclasses import fields

    from microstream_lab.market.exchange import Faults

    known = {field.name for field in fields(Faults)} - {"script"}
    rates: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if name not in known or number != number:
            found = f"found {part!r}, expected one such as drop=0.001; {', '.join(sorted(known))}"
            raise typer.BadParameter(found, param_hint="--faults")
        rates[name] = int(number) if number.is_integer() and number > 1 else number
    return Faults(**rates)


async def _serve(local: LocalExchange) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        async with local:
            typer.echo(f"trading {' '.join(local.symbols)}; Ctrl-C ends it. For .env:")
            typer.echo(f"BINANCE_WS_URL={local.ws_url}")
            typer.echo(f"BINANCE_REST_URL={local.rest_url}")
            typer.echo(f"BINANCE_ARCHIVE_URL={local.archive_url}")
            await local.until(ended)
    except OSError as error:
        raise _no_port(error) from error


def _no_port(error: OSError) -> Exception:
    from microstream_lab.errors import ExchangeError

    reason = error.strerror or str(error)
    return ExchangeError(f"exchange: found {reason}, expected a port that is free (--port 0)")
